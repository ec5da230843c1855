"""Which user a client's certificate stands for, and as whom its connection begins."""

from types import SimpleNamespace

import pytest

from tests.unit.server.front import Peer, Stage, Wire


class Shown(Wire):
    """A connection over TLS whose client has shown a certificate with these names."""

    names: tuple[bytes, ...] = ()

    def get_extra_info(self, name, default=None):
        return SimpleNamespace(names=self.names) if name == "peer" else super().get_extra_info(name, default)


@pytest.fixture
def stage():
    stage = Stage(requirepass="swordfish", tls_auth_clients_user="URI")
    now_s = stage.clock.ms // 1000
    admin = stage.connect("AUTH swordfish")
    replies = admin.ask(
        "ACL SETUSER alice on ~* +@read +acl|whoami", "ACL SETUSER off off", f"ACL SETUSER past on expireat {now_s + 5}",
        f"ACL SETUSER soon on ~* +acl|whoami expireat {now_s + 60}", "ACL LOG RESET",
    )  # fmt: skip
    assert replies == ["+OK"] * 5
    stage.wait(10)
    yield stage
    stage.close()


def shown(stage, *names):
    wire = Shown(stage)
    wire.names = names
    client = Peer(stage, wire)
    stage.peers.append(client)
    return client


@pytest.mark.parametrize(
    "names, user",
    [
        ([b"alice"], "alice"),
        ([b"soon"], "soon"),
        ([b"default"], "default"),
        ([b"unknown", b"off", b"alice", b"default"], "alice"),
        ([], None),
        ([b"Alice"], None),
        ([b"off"], None),
        ([b"past"], None),
    ],
)
def test_the_user_is_the_first_that_may_log_in(stage, names, user):
    client = shown(stage, *names)
    if user is not None:
        assert client.ask("ACL WHOAMI") == [user]
        assert stage.shared.stats.acl_access_denied_tls_cert == 0
        return
    assert client.ask("ACL WHOAMI") == ["-NOAUTH Authentication required."]
    assert stage.shared.stats.acl_access_denied_tls_cert == 1
    assert client.ask("AUTH swordfish", "ACL WHOAMI") == ["+OK", "default"]
    (entry,) = client.ask("ACL LOG")
    assert "reason tls-cert" in entry and ("username " + (names[0].decode() if names else "")) in entry


def test_it_has_the_rights_of_that_user(stage):
    client = shown(stage, b"alice")
    assert client.ask("GET a", "SET a 1") == ["_", "-NOPERM User alice has no permissions to run the 'set' command"]


def test_reset_is_the_default_user_as_for_everybody(stage):
    """As in Redis: the certificate counts when a connection begins, and a pool may rely on what RESET leaves behind."""
    client = shown(stage, b"alice")
    assert client.ask("RESET", "GET a") == ["+RESET", "-NOAUTH Authentication required."]
    assert client.ask("AUTH swordfish", "ACL WHOAMI") == ["+OK", "default"]
    stage.peers[0].ask("ACL SETUSER default nopass")
    client = shown(stage, b"alice")
    assert client.ask("ACL WHOAMI", "RESET", "ACL WHOAMI") == ["alice", "+RESET", "default"]


def test_names_count_for_nothing_unless_asked_for(stage):
    stage.settings.tls_auth_clients_user = "off"
    assert shown(stage, b"alice").ask("GET a") == ["-NOAUTH Authentication required."]
