"""`@acl` entries: what the proposer tried is decided again, and a refusal changes nothing."""

from types import SimpleNamespace

import pytest

from tests.unit.acl_server import new_accounts
from vaylix_resp.commands.acl_operations import (
    ERROR_BYTES_MAX,
    OPERATIONS,
    delete_roles,
    delete_users,
    load,
    set_role,
    set_user,
)
from vaylix_resp.errors import CommandError
from vaylix_resp.resp.reply import OK


@pytest.fixture
def accounts():
    return new_accounts()


def apply(accounts, entry):
    try:
        return OPERATIONS[entry[0]](SimpleNamespace(world=SimpleNamespace(accounts=accounts)), entry)
    except CommandError as refused:
        return refused.text


def test_entries_in_order(accounts):
    steps = [
        (set_role("r", [b"+get"]), OK),
        (set_user("u", [b"on", b"role=r"]), OK),
        (delete_roles(["r"]), "ERR Role 'r' is assigned to one or more users. Remove it from them first."),
        (delete_users(["u", "v"]), 1),
        (delete_roles(["r", "s"]), 1),
        (load([b"role q +set", b"user w on nopass +@all", b"user default off"]), OK),
    ]
    assert [apply(accounts, entry) for entry, _ in steps] == [reply for _, reply in steps]
    assert accounts.lines() == [
        "role q resetchannels -@all +set",
        "user default off sanitize-payload resetchannels -@all",
        "user w on nopass sanitize-payload resetchannels +@all",
    ]


@pytest.mark.parametrize("entry", [
    set_user("u", [b"on", b"bogus"]), set_user("a b", []), set_role("r", [b"on"]), set_role("a,b", []),
    delete_users(["default"]), load([b"user u +nosuch"]), load([b"user default off"]), load([b"user u >clear"]),
    set_user("u", [b"role=gone"]),
])  # fmt: skip
def test_a_refusal_changes_nothing(accounts, entry):
    before = accounts.dump()
    assert apply(accounts, entry).startswith("ERR ")
    assert accounts.dump() == before


def test_a_refusal_fits_on_a_line(accounts):
    text = apply(accounts, set_user("u", [b"bo\ngus" + b"x" * 10**6]))
    assert "\n" not in text and len(text) < ERROR_BYTES_MAX + 10


def test_two_replicas_agree(accounts):
    other = new_accounts()
    entries = [set_user(f"u{n % 7}", [b"~k%d" % n, b"+get" if n % 2 else b"-@all"]) for n in range(30)]
    entries += [delete_users(["u3"]), set_user("u3", []), set_user("u1", [b"bogus"])]
    assert [apply(accounts, entry) for entry in entries] == [apply(other, entry) for entry in entries]
    assert accounts.dump() == other.dump()
