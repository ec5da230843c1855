"""The predefined roles: what each may do, and that none leads to more."""

from types import SimpleNamespace

import pytest

from tests.unit.acl_server import CATALOG, new_accounts
from vaylix_resp.commands.acl_operations import apply
from vaylix_resp.commands.acl_roles import PREDEFINED, install


@pytest.fixture(scope="module")
def accounts():
    accounts = new_accounts()
    for entry in install(CATALOG):
        apply(SimpleNamespace(world=SimpleNamespace(accounts=accounts)), entry)
    for name in PREDEFINED:
        accounts.set_user(name, [b"on", b"nopass", b"role=" + name.encode()])
    return accounts


@pytest.mark.parametrize("role, may, may_not", [
    ("read-only", "GET a|MGET a b|EXISTS a|SCAN 0|TTL a|PING|SELECT 1|MULTI|EXEC|INFO|CLIENT SETNAME x",
     "SET a 1|DEL a|KEYS *|FLUSHALL|PUBLISH c m|SUBSCRIBE c|CONFIG GET x|CLIENT LIST|MONITOR|GETDEL a|SORT a"),
    ("read-write", "GET a|SET a 1|DEL a|GETDEL a|MSET a 1|PUBLISH c m|PSUBSCRIBE *|WATCH a|INFO|RENAME a b",
     "FLUSHALL|FLUSHDB|KEYS *|SWAPDB 0 1|CONFIG GET x|CLIENT KILL x|DEBUG OBJECT a|SAVE|SHUTDOWN|MONITOR"),
    ("operator", "INFO|CLIENT LIST|CLIENT KILL x|SLOWLOG GET|LATENCY LATEST|SAVE|SHUTDOWN|CONFIG RESETSTAT|ACL LOG|BACKUP LIST",
     "GET a|SET a 1|CONFIG GET x|CONFIG SET x y|CONFIG REWRITE|MONITOR|DEBUG OBJECT a|ACL LIST|ACL GETUSER x|BACKUP RESTORE x|FLUSHALL"),
    ("auditor", "ACL LIST|ACL GETUSER x|ACL LOG|CLIENT LIST|SLOWLOG GET|ACL DRYRUN u GET a|INFO|PING",
     "GET a|SET a 1|CONFIG GET x|CLIENT KILL x|ACL LOAD|SLOWLOG RESET|MONITOR|SAVE"),
    ("backup", "BACKUP LIST|BACKUP TO x|SAVE|BGSAVE|LASTSAVE|INFO", "GET a|BACKUP RESTORE x|FLUSHALL|CONFIG GET x|SHUTDOWN"),
])  # fmt: skip
def test_what_each_may_do(accounts, role, may, may_not):
    def allowed(line):
        argv = line.encode().split()
        return accounts.grants(role).check(CATALOG.request(CATALOG.find(argv), argv, 0)) is None

    assert [line for line in may.split("|") if not allowed(line)] == []
    assert [line for line in may_not.split("|") if allowed(line)] == []


WATCHING = ("slowlog", "commandlog", "latency", "trace", "metrics")
OBSERVED = [spec.name for spec in CATALOG.all() if spec.name.partition("|")[0] in WATCHING and spec.name not in WATCHING[:4]]


@pytest.mark.parametrize("role, sees, resets", [
    ("read-only", False, False), ("read-write", False, False), ("backup", False, False), ("auditor", True, False),
    ("operator", True, True),
])  # fmt: skip
def test_who_sees_slow_requests_sees_all_that_tells_why(accounts, role, sees, resets):
    assert len(OBSERVED) > 15 and {"metrics", "trace|get", "latency|histogram", "commandlog|reset"} <= {*OBSERVED}
    for name in OBSERVED:
        may = accounts.grants(role).check(CATALOG.probe(name)) is None
        assert may == (resets if name.endswith("|reset") else sees), name


@pytest.mark.parametrize("role", PREDEFINED)
@pytest.mark.parametrize("name", ["acl|setuser", "acl|deluser", "acl|setrole", "acl|delrole", "acl|load", "acl|save",
                                  "config|get", "config|set", "config|rewrite", "debug", "monitor"])  # fmt: skip
def test_none_leads_to_more(accounts, role, name):
    assert accounts.grants(role).check(CATALOG.probe(name)) is not None


def test_what_is_not_there_yet_is_left_out():
    class Few:
        everything = 1
        category = staticmethod(CATALOG.category)

        @staticmethod
        def command(name):
            return None if name.startswith("backup") else CATALOG.command(name)

    entries = {entry[2]: entry[3:] for entry in install(Few())}
    assert b"+backup" not in entries[b"backup"] and b"+save" in entries[b"backup"]
