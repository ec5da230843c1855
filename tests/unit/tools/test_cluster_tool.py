"""`vaylix cluster status`: the table, what it says when nodes cannot be asked, and what goes over the wire."""

import json
import socket
import threading

import pytest

from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import IDS, FakeView
from vaylix_resp import cli
from vaylix_resp.resp.writer import encode
from vaylix_resp.state.versions import CURRENT
from vaylix_resp.tools.cluster import Report, Unanswered, as_data, gather, plain, render, row
from vaylix_resp.tools.reach import Target

ASKED = Target("127.0.0.1", 6380)
HANG_UP = object()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in list(cli.os.environ):
        if name.startswith("VAYLIX_") or name == "REDISCLI_AUTH":
            monkeypatch.delenv(name)


def status(me, leader=1, **changes):
    """As node `me` answers RAFT STATUS."""
    view = FakeView(me, leader)
    for number, facts in changes.pop("members", {}).items():
        view.change(number, **facts)
    server = FakeAdmin()
    server.cluster = view
    found = plain(server.connect().call("RAFT", "STATUS"))
    return {**found, **changes}


def nodes(**answers):
    """What asks each node: by port of the first, or by address; an exception is raised."""

    def ask(target):
        key = "first" if target.port == ASKED.port else "n" + target.address.rpartition(".")[2]
        answer = answers[key]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def shown(report):
    return [" ".join(line.split()) for line in render(report, ASKED.where).splitlines()]


def test_each_node_speaks_for_itself():
    report = gather(ASKED, nodes(first=status(2), n1=status(1, applied=100, committed=100), n3=status(3, applied=80)))
    assert shown(report) == [
        f"cluster {'c' * 32}: led by node-1 at 10.0.0.1:6379, term 7, version 1 (not yet {CURRENT}: on its way); asked node-2 at 127.0.0.1:6380",
        "",
        "node address role term committed applied lag heard ms fsync ms state",
        "node-1 10.0.0.1:6379 leader 7 100 100 0 0 0.0 / 0.1 leader",
        "node-2 10.0.0.2:6379 follower 7 90 90 10 250 0.0 / 0.1 replicate",
        "node-3 10.0.0.3:6379 follower 7 90 80 20 500 0.0 / 0.1 replicate",
    ]
    assert report.led


def test_columns_line_up():
    report = gather(ASKED, nodes(first=status(1), n2=Unanswered("no"), n3=status(3)))
    rows = render(report, "x").splitlines()[2:6]
    at = rows[0].index("state")
    assert [line[at - 2 :].strip() for line in rows] == ["state", "leader", "replicate", "replicate"]
    assert {line[at - 2 : at] for line in rows} == {"  "}


def test_a_node_that_cannot_be_asked_is_shown_as_the_leader_sees_it():
    first = status(1, members={2: {"state": "unreachable"}, 3: {"client": None, "voter": False}})
    report = gather(ASKED, nodes(first=first, n2=Unanswered("Connection refused")))
    assert shown(report)[4:] == [
        "node-2 10.0.0.2:6379 (voter) - 90 - 10 250 - unreachable",
        "node-3 - (learner) - 80 - 20 500 - replicate",
        "",
        "node-2: not asked: Connection refused",
        "node-3: not asked: its address is not known",
    ]


def test_who_knows_most_is_believed():
    """A node on the minority side was asked; the one that leads is reached."""
    report = gather(ASKED, nodes(first=status(2, leader=None), n1=status(1), n3=Unanswered("timed out")))
    assert report.led and report.best["id"] == str(IDS[1])


def test_no_leader_is_named_when_nobody_knows_one():
    report = gather(ASKED, nodes(first=status(2, leader=None), n1=Unanswered("no"), n3=status(3, leader=None)))
    assert not report.led
    assert shown(report)[0].startswith(f"cluster {'c' * 32}: NO LEADER IS KNOWN, term 7, version 1 (not yet {CURRENT}: on its way); asked node-2")


def test_another_node_at_an_address_is_not_taken_for_it():
    """Addresses that mean something only where the nodes are lead to somebody else here."""
    report = gather(ASKED, nodes(first=status(1), n2=status(1), n3=status(3)))
    assert report.problems == {str(IDS[2]): "another node is at its address here"}


def test_a_server_alone_is_no_cluster_and_has_no_name_made_up():
    server = FakeAdmin()
    found = plain(server.connect().call("RAFT", "STATUS"))
    lines = shown(Report(found, {found["id"]: found}, {}))
    assert lines[0] == f"no cluster: the server at 127.0.0.1:6380 has no raft-port and stands alone; term {found['term']}"
    assert len(lines) == 4 and lines[3].startswith("- 127.0.0.1:6379 leader ")


@pytest.mark.parametrize("log, state", [("failed", "LOG FAILED"), ("full", "LOG FULL"), ("ok", "replicate")])
def test_a_log_that_takes_nothing_shows(log, state):
    own = status(2, log=log)
    report = Report(own, {own["id"]: own}, {})
    assert row(report, own["members"][1])[-1] == state


@pytest.mark.parametrize("asked", ["itself", "another"])
def test_a_node_whose_data_differ_shows(asked):
    """As it says itself, and as the state that all share says when it cannot be asked."""
    wrong = {2: {"state": "differs"}}
    second = status(2, members=wrong, data="differs") if asked == "itself" else Unanswered("no")
    lines = shown(gather(ASKED, nodes(first=status(1, members=wrong), n2=second, n3=status(3, members=wrong))))
    assert lines[4].endswith(" DATA DIFFERS") and lines[5].endswith("replicate")
    assert lines[7].startswith("node-2: its data differ from the others'")


def test_json_has_all_of_it():
    data = as_data(gather(ASKED, nodes(first=status(2), n1=status(1), n3=Unanswered("no"))))
    assert (data["leader"], data["term"], len(data["nodes"])) == ("node-1", 7, 3)
    one, _, three = data["nodes"]
    assert one["leader"] is one["voter"] is True and one["status"]["role"] == "leader" and one["problem"] is None
    assert three["leader"] is False and three["status"] is None and three["problem"] == "no"
    json.dumps(data)


# The program.


@pytest.fixture
def server():
    """On loopback; answers each request with the next of `answers` and keeps what was asked.

    None: closes instead of an answer. HANG_UP: closes behind the last one."""
    listener = socket.create_server(("127.0.0.1", 0))
    answers, received = [], []

    def serve():
        connection, _ = listener.accept()
        with connection:
            for answer in answers:
                if answer is HANG_UP:
                    return
                received.append(connection.recv(4096))
                if answer is None:
                    return
                for at in range(0, len(answer), 7):  # in pieces
                    connection.sendall(answer[at : at + 7])
            connection.recv(1)

    thread = threading.Thread(target=serve)
    yield listener.getsockname()[1], answers, received, thread.start
    listener.close()
    if thread.ident:
        thread.join(20)


def one_node():
    view = FakeView()
    view.members = view.members[:1]
    admin = FakeAdmin()
    admin.cluster = view
    return encode(admin.connect(3).call("RAFT", "STATUS"), 3)


def run(capsys, *words):
    code = cli.main(["cluster", "status", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_it_asks_and_prints(server, capsys):
    port, answers, received, start = server
    answers += [b"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n", one_node()]
    start()
    code, out, err = run(capsys, "--host", "127.0.0.1", "--port", str(port))
    assert (code, err) == (0, "") and "led by node-1 at 10.0.0.1:6379" in out
    assert received == [b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n", b"*2\r\n$4\r\nRAFT\r\n$6\r\nSTATUS\r\n"]


def test_credentials_come_from_the_environment(server, capsys, monkeypatch):
    port, answers, received, start = server
    answers += [b"+OK\r\n", one_node()]
    start()
    monkeypatch.setenv("REDISCLI_AUTH", "s3cret")
    code, out, _ = run(capsys, "--host", "127.0.0.1", "--port", str(port), "--user", "ops", "--json")
    assert code == 0 and json.loads(out)["leader"] == "node-1"
    assert received[0] == b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$3\r\nops\r\n$6\r\ns3cret\r\n"


@pytest.mark.parametrize(
    "given, told",
    [
        ([b"-NOAUTH HELLO must be called\r\n"], "NOAUTH HELLO must be called"),
        ([b"+OK\r\n", b"-ERR unknown command 'RAFT'\r\n"], "ERR unknown command 'RAFT'"),
        ([None], "closed the connection"),
        ([b"+OK\r\n", b"*5\r\n$1", HANG_UP], "closed the connection"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_1(server, capsys, given, told):
    port, answers, _, start = server
    answers += given
    start()
    code, out, err = run(capsys, "--host", "127.0.0.1", "--port", str(port))
    assert (code, out) == (1, "") and err.startswith(f"vaylix: 127.0.0.1:{port}: ") and len(err.splitlines()) == 1
    assert told in err


def test_nobody_there(capsys, unused_tcp_port):
    code, _, err = run(capsys, "--host", "127.0.0.1", "--port", str(unused_tcp_port))
    assert code == 1 and "Connection refused" in err


def test_a_cluster_without_a_leader_is_exit_code_1(server, capsys):
    port, answers, _, start = server
    admin = FakeAdmin()
    admin.cluster = FakeView(me=1, leader=None)
    admin.cluster.members = admin.cluster.members[:1]
    answers += [b"+OK\r\n", encode(admin.connect(3).call("RAFT", "STATUS"), 3)]
    start()
    code, out, _ = run(capsys, "--host", "127.0.0.1", "--port", str(port))
    assert code == 1 and "NO LEADER IS KNOWN" in out


@pytest.mark.parametrize(("facts", "changes", "says"), [
    ({}, {"cluster-version": CURRENT}, f"version {CURRENT}"),
    ({}, {}, f"version 1 (not yet {CURRENT}: on its way)"),
    ({2: {"understands": 1}, 3: {"understands": None}}, {}, f"version 1 (not yet {CURRENT}: node-2 (1), node-3 (?))"),
])  # fmt: skip
def test_the_cluster_version_and_who_holds_it_back(facts, changes, says):
    report = gather(ASKED, nodes(first=status(1, members=facts, **changes), n2=Unanswered("no"), n3=Unanswered("no")))
    assert shown(report)[0].endswith(f"term 7, {says}; asked node-1 at 127.0.0.1:6380")
    assert as_data(report)["cluster-version"] == report.best["cluster-version"]


def test_a_node_of_the_first_version_says_nothing_of_it():
    first = {name: value for name, value in status(1).items() if name not in ("cluster-version", "understands")}
    report = gather(ASKED, nodes(first=first, n2=Unanswered("no"), n3=Unanswered("no")))
    assert "term 7, version 1;" in shown(report)[0] and as_data(report)["cluster-version"] == 1
