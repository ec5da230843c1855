"""Directives of replication: their values, what they say together, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.config import ConfigError, load
from vaylix_resp.config_cluster import (
    PEERS_MAX,
    Advertised,
    ClusterMode,
    NodeName,
    PeerAddress,
    PeerList,
    is_loopback,
    split_address,
)
from vaylix_resp.config_values import BadValue
from vaylix_resp.directives_cluster_rules import own_peer, raft_hosts, raft_port

THREE = "node-1@10.0.0.1:7379,node-2@host-2.example.org:7379,node-3@[fe80::1]:7380"
SECRET = "0123456789abcdef"


def take(**directives):
    words = []
    for name, value in directives.items():
        words += ["--" + name.replace("_", "-"), value]
    return load(options=words)


def refused(**directives):
    with pytest.raises(ConfigError) as caught:
        take(**directives)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_list_of_nodes_is_read_with_commas_or_spaces_and_printed_as_it_was_meant():
    nodes = take(node_id="node-1", cluster_peers=THREE, cluster_secret=SECRET).cluster_peers
    assert nodes == (
        PeerAddress("node-1", "10.0.0.1", 7379),
        PeerAddress("node-2", "host-2.example.org", 7379),
        PeerAddress("node-3", "fe80::1", 7380),
    )
    assert PeerList().render(nodes) == THREE
    assert PeerList().parse(THREE.split(","), (), False) == nodes
    assert PeerList().parse([THREE.replace(",", " , ")], (), False) == nodes
    assert PeerList().parse([""], nodes, False) == ()


@pytest.mark.parametrize(
    "words, problem",
    [
        ("node-1", "NAME@HOST:PORT"),
        ("@h:1", "NAME@HOST:PORT"),
        ("no de@h:1", "NAME@HOST:PORT"),
        ("-x@h:1", "NAME@HOST:PORT"),
        ("n" * 64 + "@h:1", "NAME@HOST:PORT"),
        ("a@h", ":PORT"),
        ("a@h:0", ":PORT"),
        ("a@h:+1", ":PORT"),
        ("a@h:01", ":PORT"),
        ("a@h:65536", ":PORT"),
        ("a@h:٣", ":PORT"),
        ("a@:1", "must name a host"),
        ("a@::1:1", "must name a host"),
        ("a@h/x:1", "must name a host"),
        ("a@" + "h" * 254 + ":1", "must name a host"),
        ("a@[::g]:1", "between its brackets"),
        ("a@h:1,A@g:1", "same name twice"),
        ("a@h:1,b@H:1", "same address twice"),
        (",".join(f"n{i}@h{i}:1" for i in range(PEERS_MAX + 1)), f"more than {PEERS_MAX}"),
    ],
)
def test_a_list_that_could_mean_two_things_is_refused(words, problem):
    with pytest.raises(BadValue, match=problem):
        PeerList().parse([words], (), False)


@given(st.text(max_size=40))
def test_any_word_is_an_address_or_a_bad_value(word):
    for kind in (PeerList(), Advertised(), NodeName()):
        try:
            value = kind.parse([word], (), False)
        except BadValue:
            continue
        assert kind.parse([kind.render(value)], (), False) == value


@pytest.mark.parametrize(
    "word, ok",
    [
        ("", True),
        ("h", True),
        ("h:1", True),
        ("[::1]", True),
        ("[::1]:1", True),
        ("::1", False),
        ("h:", False),
        ("a b", False),
    ],
)
def test_what_clients_are_told_is_a_host_with_or_without_a_port(word, ok):
    try:
        assert Advertised().parse_word(word) == word and ok
    except BadValue:
        assert not ok


def test_an_address_is_split_at_its_last_colon():
    assert split_address("[::1]:80") == ("::1", 80)
    assert split_address("[0:0::1]:80") == ("::1", 80)
    assert split_address("a.b:80") == ("a.b", 80)


@pytest.mark.parametrize("word, mode", [("yes", "emulate"), ("EMULATE", "emulate"), ("no", "no")])
def test_redis_yes_asks_for_what_emulate_gives(word, mode):
    assert ClusterMode().parse_word(word) == mode


@pytest.mark.parametrize(
    "host, loopback",
    [("127.0.0.1", True), ("-127.9.9.9", True), ("::1", True), ("LocalHost", True), ("0.0.0.0", False), ("*", False),
     ("10.0.0.1", False), ("loopback.example.org", False), ("", False)],
)  # fmt: skip
def test_only_what_cannot_be_reached_from_elsewhere_is_loopback(host, loopback):
    assert is_loopback(host) is loopback


def test_our_own_entry_gives_the_port_unless_raft_port_says_otherwise():
    alone = take()
    assert (own_peer(alone), raft_port(alone), raft_hosts(alone)) == (None, 0, ("127.0.0.1",))
    one = take(node_id="node-3", cluster_peers=THREE)
    assert own_peer(one) == PeerAddress("node-3", "fe80::1", 7380)
    assert (raft_port(one), raft_hosts(one)) == (7380, ("127.0.0.1",))
    behind = take(node_id="node-3", cluster_peers=THREE, raft_port="9", raft_bind="127.0.0.2")
    assert (raft_port(behind), raft_hosts(behind)) == (9, ("127.0.0.2",))


@pytest.mark.parametrize(
    "given, problem",
    [
        ({"cluster_peers": THREE}, "needs node-id"),
        ({"cluster_peers": THREE, "node_id": "node-4"}, "node-4 is not in cluster-peers"),
        ({"raft_port": "6379"}, "port and raft-port are both 6379"),
        ({"raft_port": "7", "sentinel_port": "7"}, "sentinel-port and raft-port are both 7"),
        ({"sentinel_port": "6379"}, "port and sentinel-port are both 6379"),
        ({"tls_port": "7", "raft_port": "7"}, "tls-port and raft-port are both 7"),
        ({"node_id": "node-1", "cluster_peers": "node-1@h:6379"}, "port and raft-port are both 6379"),
        ({"election_timeout": "499"}, "election-timeout 499 is less than 5 times"),
        ({"cluster_secret": "short"}, "shorter than 16"),
        ({"tls_cluster": "yes"}, "needs tls-cluster-cert-file"),
        ({"tls_cluster": "yes", "tls_cert_file": "c"}, "needs tls-cluster-ca-cert-file"),
        ({"raft_port": "7", "bind": "0.0.0.0"}, "strangers"),
        ({"raft_port": "7", "raft_bind": "127.0.0.1 10.0.0.1"}, "strangers"),
        ({"raft_port": "7", "bind": "*", "raft_bind": "localhost.example.org"}, "strangers"),
    ],
)
def test_what_does_not_fit_together_stops_the_start(given, problem):
    text = refused(**given)
    assert problem in text
    assert "short" not in text or "shorter" in text  # never the secret


@pytest.mark.parametrize(
    "given",
    [
        {"raft_port": "7", "bind": "0.0.0.0", "cluster_secret": SECRET},
        {"raft_port": "7", "bind": "0.0.0.0", "raft_bind": "::1"},
        {"raft_port": "7", "bind": "0.0.0.0", "tls_cluster": "yes", "tls_cert_file": "c", "tls_ca_cert_file": "d"},
        {"raft_port": "7", "bind": "0.0.0.0", "tls_cluster": "yes", "tls_cluster_cert": "c", "tls_cluster_ca": "d"},
        {"bind": "0.0.0.0"},
        {"node_id": "node-1"},
        {"election_timeout": "500"},
    ],
)
def test_what_keeps_strangers_out_is_taken_without_a_warning(given):
    on_the_command_line = "ps shows it to everybody"  # of a secret that stands there
    assert [warning for warning in take(**given).warnings if on_the_command_line not in warning] == []


@pytest.mark.parametrize(
    "given, warning",
    [
        ({"raft_port": "7", "bind": "0.0.0.0", "cluster_insecure": "yes"}, "cluster-insecure"),
        ({"write_ack_mode": "local"}, "write-ack-mode local means majority here"),
        ({"write_ack_mode": "all"}, "while one voter is away"),
    ],
)
def test_what_costs_something_is_said(given, warning):
    (text,) = take(**given).warnings
    assert warning in text


def test_whom_a_new_node_asks():
    one = take(raft_port="7", cluster_join="10.0.0.1:7379, [::1]:7380")
    assert one.cluster_join == ("10.0.0.1:7379", "[::1]:7380")
    assert "cluster-join needs raft-port" in refused(cluster_join="10.0.0.1:7379")
    assert "must end in :PORT" in refused(raft_port="7", cluster_join="10.0.0.1")
    assert "must not name more than" in refused(raft_port="7", cluster_join=" ".join(["h:1"] * 16))


def test_the_secret_may_come_from_a_file_and_is_never_shown():
    environ = {"VAYLIX_CLUSTER_SECRET_FILE": "f"}
    assert load(environ=environ, read_text=lambda _: SECRET + "\n").cluster_secret == SECRET
    assert (
        refused(cluster_secret="a\0b")
        == "command line: cluster-secret (secret): argument must not contain a NUL byte; give a secret"
    )
