"""/status: what it says, that nothing in it can be markup, and what it does not tell."""

from html.parser import HTMLParser

import pytest

from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import FakeView
from tests.unit.server.front import Stage
from vaylix_resp.server.http.pages import Request, Site
from vaylix_resp.server.http.status import STATUS_POLICY, status

VOID = {"meta", "link"}
SERVICES = ("checkpoint", "keyring", "history", "backups", "online_backup", "archive")
EVIL = b"<script>alert('x')</script>"


class Page(HTMLParser):
    """The elements of a page, that each is closed, and the text by the nearest id around it."""

    def __init__(self, body):
        super().__init__()
        self.elements, self.open, self.text, self.attributes = [], [], {}, []
        self.feed(body)
        assert self.open == [], self.open

    def handle_starttag(self, name, attributes):
        self.elements.append(name)
        self.attributes += attributes
        if name not in VOID:
            self.open.append((name, dict(attributes).get("id")))

    def handle_startendtag(self, name, attributes):
        self.elements.append(name)
        self.attributes += attributes

    def handle_endtag(self, name):
        assert self.open.pop()[0] == name

    def handle_data(self, data):
        for _, identity in self.open:
            if identity:
                self.text[identity] = self.text.get(identity, "") + data


@pytest.fixture
def stage():
    stage = Stage(slowlog_log_slower_than=1000)
    admin = FakeAdmin()
    for name in SERVICES:
        setattr(stage.shared, name, getattr(admin, name))
    yield stage
    stage.close()


def raw(stage, **query):
    site = Site(stage.settings)
    site.server = stage.shared
    return status(site, Request("GET", "/status", query))


def shown(stage, **query):
    found = raw(stage, **query)
    assert (found.status, found.kind) == (200, "text/html; charset=utf-8")
    return Page(found.body.decode())


def test_a_server_alone(stage):
    stage.connect().ask("SET a 1", "GET a", "GET nosuch", "INCR a", "GETRANGE a 0 x")
    page = shown(stage)
    assert page.text["ready"] == "ready"
    assert "stands alone" in page.text["cluster"]
    for said in ("on this disk before it is answered", "healthy", "any moment of the last", "AES-256-GCM, key 3",
                 "archive-command fails: b.wal: no", "none yet", "3 writes since"):  # fmt: skip
        assert said in page.text["durability"], said
    assert "getrange" in page.text["top"] and page.text["top"].startswith("commandcallsmeanp99failedshare")
    assert "None, slower than 1 ms." in page.text["slow"]
    assert page.elements.count("figure") == 6


def test_it_loads_and_runs_nothing(stage):
    page = shown(stage)
    assert not {"script", "img", "iframe", "object", "form", "input"} & set(page.elements)
    assert {value for name, value in page.attributes if name in ("href", "src")} == {
        "data:,", "?refresh=off", "/metrics", "/readyz?verbose"}  # fmt: skip
    assert not [value for name, value in page.attributes if name == "style" or name.startswith("on")]
    assert "script-src" not in STATUS_POLICY and STATUS_POLICY.startswith("default-src 'none'")
    assert raw(stage).policy == STATUS_POLICY and "unsafe" not in STATUS_POLICY


def test_it_asks_for_itself_again_unless_told_not_to(stage):
    assert ("http-equiv", "refresh") in shown(stage).attributes
    still = shown(stage, refresh="off")
    assert ("http-equiv", "refresh") not in still.attributes and ("href", "?") in still.attributes


def slow_request(stage):
    client = stage.connect().session
    client.name = EVIL
    stage.shared.lateness.request_took(client, (b"set", EVIL, b"secret value"), 0.0123)
    stage.shared.lateness.request_took(client, (b"CONFIG", b"SET", b"requirepass", b"hunter2"), 2.5)
    stage.shared.lateness.request_took(client, (b"MGET", *(b"%d" % number for number in range(400))), 0.005)


def test_slow_requests_keep_their_arguments_to_themselves(stage):
    slow_request(stage)
    text = shown(stage).text["slowlog"]
    assert "12.3 ms" in text and "SET, 2 arguments" in text and "2.5 s" in text and "CONFIG SET, 2 arguments" in text
    body = raw(stage).body
    assert not [word for word in (b"secret", b"alert", b"hunter2", b"127.0.0.1:5") if word in body]


def test_slow_requests_with_their_arguments_if_the_configuration_says_so(stage):
    stage.settings.http_status_slowlog = True
    slow_request(stage)
    text = shown(stage).text["slowlog"]
    assert "set <script>alert('x')</script> secret value" in text and "127.0.0.1:50001" in text
    assert "hunter2" not in text  # redacted before it was noted
    assert "MGET 0 1 2" in text and " 29 ... (" in text


def test_names_from_elsewhere_are_text(stage):
    view = stage.shared.cluster = FakeView()
    view.name = "<script>me"
    view.change(2, name="<script>")
    stage.shared.checkpoint.last_ok, stage.shared.checkpoint.last_error = False, "<b>/path</b>"
    page = shown(stage)
    assert "<script>" in page.text["members"] and "the last one failed: <b>/path</b>" in page.text["durability"]
    assert "script" not in page.elements and "b" in page.elements


def test_a_leader_and_its_followers(stage):
    view = stage.shared.cluster = FakeView()
    view.change(2, state="unreachable", last_contact_s=60.0)
    view.change(3, state="snapshot", lag=31_234, last_contact_s=0.25)
    text = shown(stage).text
    assert "led by node-1 · term 7 · committed 90 · applied 90" in text["cluster"]
    assert "node-110.0.0.1:6379leader0this oneleads" in text["members"]
    assert "unreachable" in text["members"] and "31.2k250 mssnapshot" in text["members"]
    assert "on a majority of the nodes' diskswrite-ack-mode majority" in text["durability"].replace(" before it is answered", "")
    stage.settings.write_ack_mode = "all"
    assert "on the disks of all nodes with a vote" in shown(stage).text["durability"]


def test_a_follower_says_who_knows_more(stage):
    stage.shared.cluster = FakeView(me=2)
    assert "known to the leader" in shown(stage).text["cluster"]


def test_a_node_without_a_leader_says_why_it_is_not_ready(stage):
    view = stage.shared.cluster = FakeView(me=2)
    view.lead(None)
    page = shown(stage)
    assert page.text["ready"] == "not ready" and "no leader is known" in page.text["cluster"]
    assert "a majority of the nodes has not been heard" in raw(stage).body.decode()


def test_what_is_wrong_with_the_log(stage):
    stage.shared.node.appendfsync = "everysec"
    text = shown(stage).text["durability"]
    assert "a power cut loses about a second" in text and "appendfsync everysec" in text
    stage.shared.node.full = True
    assert "the disk is full" in shown(stage).text["durability"]
    stage.shared.node.failure = "fsync: <EIO>"
    assert "failed: fsync: <EIO>" in shown(stage).text["durability"]
    stage.shared.node.failure, stage.shared.node.full = None, False


def test_charts_have_the_points(stage):
    client = stage.connect()
    for _ in range(3):
        client.ask("SET a 1")
        stage.clock.ms += 5000
        stage.shared.recent.take()
    points = [int(value) for name, value in shown(stage).attributes if name == "data-points"]
    assert points == [3, 3, 6, 6, 3, 3]


@pytest.mark.parametrize("settings, name", [({"port": 0, "unixsocket": "/run/v"}, "/run/v"), ({"bind": ("::1",)}, "[::1]:6379")])
def test_its_name_without_a_cluster(stage, settings, name):
    for one, value in settings.items():
        setattr(stage.settings, one, value)
    assert f"<h1>{name}</h1>" in raw(stage).body.decode()
