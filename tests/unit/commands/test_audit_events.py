"""What the audit says of each command: which are recorded, and that no word of a request gets in unless it is known."""

from __future__ import annotations

import json

import pytest

from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import IDS, FakeView
from vaylix_resp.commands.audit_events import (
    ALWAYS,
    BY_THEMSELVES,
    COMMAND,
    ITEMS_MAX,
    QUIET,
    UNKNOWN,
    action_of,
    rule_shown,
)
from vaylix_resp.commands.registry import COMMANDS
from vaylix_resp.commands.spec import CATEGORIES
from vaylix_resp.directives_audit import AUDIT_CATEGORIES

SECRET = "correct-horse-battery"


def declared():
    for spec in COMMANDS.values():
        yield from spec.subcommands.values()
        if not spec.subcommands:
            yield spec


SPECS = {spec.name: spec for spec in declared()}


def test_every_command_named_here_exists():
    assert set(ALWAYS) <= set(SPECS) and set(QUIET) <= set(SPECS) and set(BY_THEMSELVES) <= set(SPECS)
    assert not set(ALWAYS) & set(QUIET)


def test_every_command_of_an_administrator_is_always_recorded_or_is_a_question():
    admin = {name for name, spec in SPECS.items() if "admin" in spec.categories}
    assert admin - set(ALWAYS) - set(QUIET) == set(), "decide what the audit does with it"


def test_the_directive_knows_the_categories_of_acl():
    assert (*CATEGORIES, "all") == AUDIT_CATEGORIES


@pytest.mark.parametrize(
    "name, wanted, action",
    [
        ("get", (), None),
        ("get", ("write",), None),
        ("get", ("read", "write"), COMMAND),
        ("get", ("all",), COMMAND),
        ("flushall", (), ALWAYS["flushall"]),
        ("flushall", ("all",), ALWAYS["flushall"]),
        ("config|get", (), None),
        ("config|get", ("admin",), COMMAND),
        ("auth", ("all",), None),
        ("hello", ("connection",), None),
    ],
)
def test_what_is_recorded(name, wanted, action):
    assert action_of(name, SPECS[name].categories, wanted) is action


@pytest.fixture
def client():
    server = FakeAdmin()
    server.cluster = FakeView()
    server.accounts.set_user("bob", [b"on"])
    server.accounts.set_role("reader", [b"+get"])
    return server.connect()


@pytest.mark.parametrize(
    "rule, shown",
    [
        ("on", "on"),
        ("RESETPASS", "resetpass"),
        (">" + SECRET, ">(password)"),
        ("<" + SECRET, "<(password)"),
        ("#" + "ab" * 32, "#(hash)"),
        ("!" + "ab" * 32, "!(hash)"),
        ("~" + SECRET, "~(keys)"),
        ("%R~" + SECRET, "%(keys)"),
        ("&" + SECRET, "&(channels)"),
        ("(+get ~x)", "(selector)"),
        ("+get", "+get"),
        ("-CONFIG|SET", "-config|set"),
        ("+@read", "+@read"),
        ("+@all", "+@all"),
        ("+" + SECRET, "+" + UNKNOWN),
        ("-@" + SECRET, "-" + UNKNOWN),
        ("role=reader," + SECRET, "role=reader," + UNKNOWN),
        ("db=0,3", "db=0,3"),
        ("db=" + SECRET, "(rule)"),
        ("expireat=1790000000", "expireat=1790000000"),
        (SECRET, "(rule)"),
        ("1790000000", "(rule)"),
        ("", "(rule)"),
    ],
)
def test_rules(client, rule, shown):
    assert rule_shown(client, rule.encode()) == shown


def details(client, line, ok=True):
    argv = [word.encode() for word in line.split()]
    name = line.lower().split()[0]
    if name not in ALWAYS:
        name = "|".join(line.lower().split()[:2])
    return ALWAYS[name].details(client, argv, ok)


@pytest.mark.parametrize(
    "line, ok, found",
    [
        ("ACL SETUSER bob on >pw", True, {"target": "bob", "rules": ["on", ">(password)"]}),
        ("ACL SETUSER pw on", False, {"target": UNKNOWN, "rules": ["on"]}),
        ("ACL SETROLE reader +get", True, {"target_role": "reader", "rules": ["+get"]}),
        ("ACL DELUSER bob pw", True, {"targets": ["bob", UNKNOWN]}),
        ("ACL DELROLE reader pw", True, {"target_roles": ["reader", UNKNOWN]}),
        ("ACL SETPASS pw pw2", True, {"target": "default"}),
        ("ACL LOG RESET", True, {"words": ["RESET"]}),
        ("ACL LOG pw", True, {"words": [UNKNOWN]}),
        ("ACL UNLOCK ALL", True, {"kind": "ALL"}),
        ("ACL UNLOCK USER bob", True, {"kind": "USER", "target": "bob"}),
        ("ACL UNLOCK USER pw", True, {"kind": "USER", "target": UNKNOWN}),
        ("ACL UNLOCK ADDR 10.0.0.1", True, {"kind": "ADDR", "target": "10.0.0.1"}),
        ("ACL UNLOCK ADDR pw", True, {"kind": "ADDR", "target": UNKNOWN}),
        ("CONFIG SET maxclients 77", True, {"set": {"maxclients": "10000"}}),
        ("CONFIG SET maxclients 77", False, {"set": {"maxclients": "(not shown)"}}),
        ("CONFIG SET requirepass pw", True, {"set": {"requirepass": "(not shown)"}}),
        ("CONFIG SET tls-key-file-pass pw", True, {"set": {"tls-key-file-pass": "(not shown)"}}),
        ("CONFIG SET tls-cert-file pw", True, {"set": {"tls-cert-file": "(not shown)"}}),
        ("CONFIG SET pw pw2", False, {"set": {UNKNOWN: ""}}),
        ("BACKUP TO nightly PLAIN", True, {"backup": "nightly", "plain": True}),
        ("BACKUP TO ../pw", True, {"backup": UNKNOWN}),
        ("BACKUP TO pw", False, {"backup": UNKNOWN}),
        ("BACKUP START", True, {}),
        ("FLASHBACK RESTORE pw -5m", True, {"database": 0, "point": "-5m"}),
        ("FLASHBACK RESTORE pw pw", True, {"database": 0, "point": UNKNOWN}),
        ("FLASHBACK GET pw seq:12", True, {"database": 0, "point": "seq:12"}),
        ("FLUSHDB ASYNC", True, {"database": 0}),
        ("SHUTDOWN NOSAVE pw", True, {"words": ["NOSAVE"]}),
        ("SHUTDOWN", True, {}),
        ("DEBUG SLEEP pw", True, {"words": ["SLEEP"]}),
        ("CLIENT KILL USER pw ID 3", True, {"words": ["USER", "ID"]}),
        ("MAINTENANCE ON pw", True, {}),
        ("CLUSTER JOIN 10.0.0.4:16379 [::1]:7", True, {"addresses": ["10.0.0.4 16379", "::1 7"]}),
        ("CLUSTER JOIN pw:1 pw 10.0.0.4:pw", True, {"addresses": [UNKNOWN] * 3}),
        ("CLUSTER REMOVE node-2 FORCE pw", True, {"node": "node-2"}),
        ("CLUSTER PROMOTE pw", True, {"node": UNKNOWN}),
        ("RAFT SERVER LIST", True, {"words": ["LIST"]}),
        ("RAFT SERVER REMOVE node-3", True, {"words": ["REMOVE"], "node": "node-3"}),
        ("RAFT SERVER ADD 10.0.0.4:1", True, {"words": ["ADD"], "addresses": ["10.0.0.4 1"]}),
        ("RAFT SERVER pw pw", False, {"words": [UNKNOWN]}),
        ("RAFT TRANSFER", True, {}),
        ("RAFT.NODE ADD 0 10.0.0.4:1", True, {"addresses": ["10.0.0.4 1"]}),
        (f"RAFT.TRANSFER_LEADER {IDS[3]}", True, {"node": "node-3"}),
    ],
)
def test_details(client, line, ok, found):
    assert details(client, line, ok) == found


@pytest.mark.parametrize("name", sorted(ALWAYS))
@pytest.mark.parametrize("words", range(5))
def test_whatever_stands_in_a_request_no_unknown_word_is_shown(client, name, words):
    argv = [*name.split("|"), *[SECRET] * words]
    if not SPECS[name].arity_ok(len(argv)):
        return
    for ok in (True, False):
        if ALWAYS[name].event in ("backup", "restore") and ok:
            continue  # then it is the name of a backup that there is
        shown = ALWAYS[name].details(client, [word.encode() for word in argv], ok)
        assert SECRET not in json.dumps(shown)


def test_lists_are_bounded(client):
    found = details(client, "ACL DELUSER " + "x " * 100)
    assert len(found["targets"]) == ITEMS_MAX + 1 and found["targets"][-1] == "(and 68 more)"


CHANGES = {"cluster|join", "cluster|promote", "cluster|remove", "raft|server", "raft.cluster|join", "raft.node|add", "raft.node|remove"}


def test_a_change_of_the_membership_waits_for_its_record_and_a_hand_over_for_nothing():
    membership = {name: action for name, action in ALWAYS.items() if action.event == "membership"}
    assert {name for name, action in membership.items() if action.security} == CHANGES
    assert all(membership[name].keeps for name in CHANGES), "it goes on when its client leaves"


@pytest.mark.parametrize("line, asks", [
    ("RAFT SERVER LIST", True), ("raft server list", True), ("RAFT SERVER REMOVE LIST", False), ("RAFT SERVER", False),
    ("CLUSTER REMOVE LIST", False),
])  # fmt: skip
def test_what_only_asks(line, asks):
    argv = [word.encode() for word in line.split()]
    assert ALWAYS["|".join(line.lower().split()[:2])].asks(argv) is asks
