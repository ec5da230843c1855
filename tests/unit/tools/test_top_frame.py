"""Screens of `vaylix top`, as they are drawn. A row begins with what kind it is: `#` a head, `!` bad, `.` soft."""

from dataclasses import fields

import pytest

from vaylix_resp.tools.top_figures import Command, Figures, Sample
from vaylix_resp.tools.top_frame import Node, View, frame

MARKS = {"": " ", "head": "#", "bad": "!", "soft": "."}
NOTHING = Figures(**{one.name: None for one in fields(Figures)} | {"commands": ()})


def figures(**known):
    return Figures(**{one.name: getattr(NOTHING, one.name) for one in fields(Figures)} | known)


BUSY = figures(
    requests_s=12_345.0, errors_s=0.5, hit_rate=0.973, cpu=0.82, executed_p50_us=8.0, executed_p99_us=95.0,
    fsync_p50_us=300.0, fsync_p99_us=1200.0, commit_p99_us=1400.0, batches_s=412.0, writes_per_batch=30.5,
    received_s=1_258_291.0, sent_s=3_565_158.0, clients=120, blocked=2, memory=432_013_312.0, memory_limit=1 << 30,
    keys=1_234_567, expired_s=3.0, evicted_s=0.0, log_size=1.3e9, disk_free=2.2e10, snapshot_age_s=725.0,
    restore_s=3600.0, uptime_s=273_600.0,
    commands=(Command("del", 10.0, 0.001, 100.0, 9.0), Command("get", 9000.0, 0.045, 5.0, 0.0),
              Command("set", 3000.0, 0.24, 80.0, 0.5)),
)  # fmt: skip
CLIENTS = [
    {"id": "7", "addr": "10.0.0.9:50000", "name": "worker", "user": "app", "db": "0", "cmd": "set", "idle": "0", "age": "90",
     "qbuf": "0", "omem": "2048", "tot-mem": "4096"},
    {"id": "8", "addr": "10.0.0.9:50001", "name": "", "user": "default", "db": "3", "cmd": "subscribe", "idle": "3700",
     "age": "86500", "qbuf": "0", "omem": "1048576", "tot-mem": "1052672"},
]  # fmt: skip


def member(number, **facts):
    return {"id": str(number), "name": f"node-{number}", "address": f"10.0.0.{number}:6379", "voter": "true",
            "state": "replicate", "lag": 0} | facts  # fmt: skip


MEMBERS = [member(1, state="leader"), member(2, lag=31_234, state="snapshot"), member(3, state="unreachable")]


def status(number, leader="node-1", leader_id="1", **facts):
    role = "leader" if str(number) == leader_id else "follower"
    return {"id": str(number), "name": f"node-{number}", "role": role, "leader": leader, "leader-id": leader_id,
            "members": MEMBERS, "log": "ok", "data": "ok"} | facts  # fmt: skip


def alone(known=BUSY, clients=CLIENTS):
    found = {"name": "", "role": "leader", "leader": "", "leader-id": "1", "id": "1", "members": [member(1)]}
    return Node(Sample("127.0.0.1:6379", "127.0.0.1:6379", 0.0, status=found, clients=clients), known)


def node(number, known=BUSY, problem="", **facts):
    sample = Sample(f"node-{number}", f"10.0.0.{number}:6379", 0.0, status={} if problem else status(number, **facts), problem=problem)
    return Node(sample, None if problem else known)


def shown(nodes, width=80, height=24, **how):
    return "\n".join(
        f"{MARKS[row.kind]}{row.text}".rstrip() for row in frame(nodes, View(width, height, clock="15:04:05", **how))
    )


def test_a_server_alone():
    assert shown([alone()]) == """\
#127.0.0.1:6379, up 3 d 4 h                                   15:04:05  every 2 s
 requests  12.3k/s   errors 0.5/s   hit rate 97 %   cpu 82 %
 latency   p50 8 µs   p99 95 µs   of execution alone
 writes    fsync p50 300 µs   p99 1.2 ms   commit p99 1.4 ms
 batches   412/s   30 writes each
 network   in 1.2 MiB/s   out 3.4 MiB/s   clients 120   blocked 2
 memory    412 MiB of 1 GiB   keys 1.2M   expired 3/s   evicted 0/s
 disk      log 1.2 GiB   free 20.5 GiB   snapshot 12 min 5 s ago   restore 1 h

#COMMAND    CALLS    TIME    MEAN  FAILED
 set      3,000/s  24.0 %   80 µs   0.5/s
 get      9,000/s   4.5 %    5 µs     0/s
 del         10/s   0.1 %  100 µs     9/s

#CLIENT          LAST            IDLE  MEMORY  INPUT  OUTPUT         AGE  DB  USE
 10.0.0.9:50001  subscribe  1 h 1 min   1 MiB    0 B   1 MiB         1 d   3  def
 10.0.0.9:50000  set              0 s   4 KiB    0 B   2 KiB  1 min 30 s   0  app

.q quit   space pause   s sort commands (by time)"""


def test_a_cluster_as_the_leader_sees_it():
    nodes = [node(2, known=BUSY), node(1), node(3, problem="Connection refused")]
    assert shown(nodes, width=100, height=16).splitlines()[:13] == """\
#node-2 at 10.0.0.2:6379, follower, led by node-1, up 3 d 4 h                     15:04:05  every 2 s
 requests  12.3k/s   errors 0.5/s   hit rate 97 %   cpu 82 %
 latency   p50 8 µs   p99 95 µs   of execution alone
 writes    fsync p50 300 µs   p99 1.2 ms   commit p99 1.4 ms
 batches   412/s   30 writes each
 network   in 1.2 MiB/s   out 3.4 MiB/s   clients 120   blocked 2
 memory    412 MiB of 1 GiB   keys 1.2M   expired 3/s   evicted 0/s
 disk      log 1.2 GiB   free 20.5 GiB   snapshot 12 min 5 s ago   restore 1 h

#NODE    ROLE        LAG  REQUESTS    P99   FSYNC  COMMIT   MEMORY  STATE
 node-2  follower  31.2k   12.3k/s  95 µs  1.2 ms  1.4 ms  412 MiB  snapshot
 node-1  leader        0   12.3k/s  95 µs  1.2 ms  1.4 ms  412 MiB  leader
!node-3  -             -         -      -       -       -        -  Connection refused
""".splitlines()  # fmt: skip


def test_a_cluster_without_a_leader_and_a_node_that_is_wrong():
    lost = {"leader": None, "leader_id": None}
    text = shown([node(1, **lost), node(2, data="differs", **lost)], width=120, height=40)
    assert "node-1 at 10.0.0.1:6379, follower, NO LEADER IS KNOWN" in text
    assert "!node-2" in text and "log ok, data differs" in text


def test_before_the_first_rates_and_while_it_stands_still():
    text = shown([alone(None, [])], paused=True)
    assert text.splitlines() == ["#127.0.0.1:6379                                       15:04:05  every 2 s  PAUSED",
                                 ".measuring ...", "", ".q quit   space go on   s sort commands (by time)"]  # fmt: skip


def test_a_long_name_does_not_hide_that_it_stands_still():
    long = Node(Sample("n" * 70, "10.0.0.1:6379", 0.0, status=status(1)), None)
    assert shown([long], paused=True).splitlines()[0] == "#" + "n" * 51 + "  15:04:05  every 2 s  PAUSED"


def test_a_server_that_has_gone_is_shown_as_it_was():
    lines = shown([alone()], problem="no answer from 127.0.0.1:6379: Connection refused").splitlines()
    assert lines[1].startswith(" requests  12.3k/s") and lines[8] == "!no answer from 127.0.0.1:6379: Connection refused"


@pytest.mark.parametrize("sort, first", [("time", "set"), ("calls", "get"), ("mean", "del"), ("failed", "del")])
def test_commands_are_in_the_order_that_was_asked_for(sort, first):
    lines = shown([alone()], sort=sort).splitlines()
    assert lines[next(at for at, line in enumerate(lines) if "COMMAND" in line) + 1].split()[0] == first


@pytest.mark.parametrize("width, height", [(w, h) for w in (1, 20, 80, 300) for h in (1, 5, 11, 12, 15, 24, 60)])
def test_it_fits(width, height):
    commands = tuple(Command(f"command-{n}", 1.0, 0.01, 5.0, 0.0) for n in range(50))
    nodes = [Node(node(1).sample, figures(commands=commands)), node(2), node(3, problem="no")]
    nodes[0] = Node(Sample("n", "h:1", 0.0, status=status(1), clients=CLIENTS * 40), nodes[0].figures)
    rows = frame(nodes, View(width, height))
    assert len(rows) <= height and all(len(row.text) <= width for row in rows)
    if height >= 24:
        assert len(rows) == height  # and nothing is left empty
        assert [row.text.split()[0][:width] for row in rows if row.kind == "head"][1:] == [
            word[:width] for word in ("NODE", "COMMAND", "CLIENT")]  # fmt: skip


def test_names_of_clients_do_not_move_the_cursor():
    client = CLIENTS[0] | {"name": "\x1b[2Jgone\r\n"}
    text = "".join(row.text for row in frame([alone(clients=[client])], View(200, 40)))
    assert "\x1b" not in text and "\r" not in text and "?[2Jgone??" in text
