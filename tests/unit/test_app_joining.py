"""Where other nodes are told to find this one."""

import pytest

from vaylix_resp.app_joining import own_place
from vaylix_resp.config import load

PEERS = "--cluster-peers n1@10.0.0.7:7001,n2@10.0.0.8:7001 --node-id n1"


@pytest.mark.parametrize(("words", "host"), [
    ("", "127.0.0.1"),
    ("--bind 10.0.0.1", "10.0.0.1"),
    ("--bind 127.0.0.1 10.0.0.1", "10.0.0.1"),  # an address of the machine's own says nothing to others
    ("--bind 10.0.0.1 --raft-bind 10.1.0.1", "10.1.0.1"),
    ("--bind * -::*", ""),  # where it is seen to come from
    ("--bind 0.0.0.0 --advertise-addr 10.0.0.2:6379", "10.0.0.2"),
    ("--bind 127.0.0.1 0.0.0.0 --advertise-addr 10.0.0.2", "10.0.0.2"),
    ("--bind 127.0.0.1 --advertise-addr 10.0.0.2", "127.0.0.1"),  # nobody else could connect to it there
    ("--bind 10.0.0.1 --advertise-addr 10.0.0.2", "10.0.0.1"),
    (PEERS + " --bind *", "10.0.0.7"),
])  # fmt: skip
def test_where_others_find_it(words, host):
    options = f"{words} --raft-port 7001 --cluster-secret 0123456789abcdef".split()
    assert own_place(load(options=options)) == (host, 7001)
