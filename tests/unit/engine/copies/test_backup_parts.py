"""Users, roles, maintenance mode, audit heads in a logical backup: as they were, readable, and refused if they are anything else."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from tests.sim.disk.simdisk import SimDisk
from tests.unit.engine.copies.test_backup_state import MASTER, PATH, a_keyring, save_it
from vaylix_resp.commands import acl_operations
from vaylix_resp.commands.audit_operations import head_entry
from vaylix_resp.engine.boot import new_machine
from vaylix_resp.engine.copies.backup_parts import parts_of, take
from vaylix_resp.engine.copies.backup_state import load
from vaylix_resp.engine.keys import SealedKeys
from vaylix_resp.errors import EX_CONFIG
from vaylix_resp.state import image
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.state.versions import CURRENT, TooNew
from vaylix_resp.storage.copies.backup_sidecar import encode_sidecar
from vaylix_resp.storage.errors import Corrupt
from vaylix_resp.storage.sealing import CLEAR

FORM = "argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43
OLDER = FORM.replace("AAAA$", "BAAA$", 1)


def some_users() -> StateMachine:
    """Names and rules of any bytes, a password that was, selectors, roles, a mode, and keys."""
    machine = new_machine(3)
    machine.begin_batch(1_700_000_000_000, 1)
    odd = "n\udcff\udc80é\u2028"  # two bytes that are no UTF-8
    entries = (
        acl_operations.set_role("r", [b"~a", b"+@read"]),
        acl_operations.set_user(odd, [b"on", f"#{OLDER}".encode(), b"~\xff", b"role=r", b"(+get", b"~b)"]),
        acl_operations.set_user(odd, [f"!{OLDER}".encode(), f"#{FORM}".encode(), b"expireat", b"2000000000"]),
        (b"@maintenance", b"on", b"back at \xff"),
        head_entry("0f" * 16, 12, "ab" * 32),
        (b"SET", b"k", b"v"),
    )
    for entry in entries:
        (reply,) = machine.apply_all([entry])
        assert not isinstance(reply, Exception), reply
    assert machine.world.accounts.users[odd].history == [OLDER]
    return machine


@pytest.mark.parametrize("sealed", [True, False])
def test_they_come_back_as_they_were(sealed: bool) -> None:
    disk, machine = SimDisk(), some_users()
    save_it(disk, machine, SealedKeys(a_keyring(disk)) if sealed else CLEAR)
    found = load(disk, PATH, lambda: CLEAR, lambda: MASTER).machine
    assert [*image.dump(found)] == [*image.dump(machine)]
    assert digest_hex(found) == digest_hex(machine)
    assert (b"expireat" in disk.files()[PATH]) is not sealed


def test_every_part_that_is_no_key_has_a_name() -> None:
    machine = some_users()
    machine.apply([b"@version", b"2"])
    kinds = {kind for kind, _ in image.dump(machine)} - {image.META, image.ITEMS}
    assert kinds == set(image.PARTS)


def test_a_new_machine_has_none() -> None:
    assert [*parts_of(new_machine(1))] == []


def edited(disk: SimDisk, lines: list[bytes]) -> None:
    """Put a backup in the clear whose sidecar fits the file."""
    sidecar = save_it(disk, some_users(), CLEAR)
    raw = b"".join(lines)
    digest, size = sha256(raw).hexdigest(), len(raw)
    sidecar = replace(sidecar, sha256=digest, plain_sha256=digest, bytes=size, plain_bytes=size)
    disk.put(PATH, raw)
    disk.put("./b.json", encode_sidecar(sidecar))


def lines_of(machine: StateMachine) -> list[bytes]:
    disk = SimDisk()
    save_it(disk, machine, CLEAR)
    return disk.files()[PATH].splitlines(keepends=True)


def as_line(obj: Any) -> bytes:
    return json.dumps(obj, separators=(",", ":")).encode() + b"\n"


def part(name: Any, value: Any) -> bytes:
    return as_line({"part": name, "value": value})


HEAD, ACCOUNTS, MAINTENANCE, AUDIT, KEY, TAIL = lines_of(some_users())


@pytest.mark.parametrize("lines, said", [
    ([HEAD, ACCOUNTS, AUDIT, KEY, TAIL], "a state with digest"),
    ([HEAD, MAINTENANCE, AUDIT, KEY, TAIL], "a state with digest"),
    ([HEAD, ACCOUNTS, MAINTENANCE, KEY, TAIL], "a state with digest"),
    ([HEAD, ACCOUNTS, ACCOUNTS, MAINTENANCE, KEY, TAIL], "each part of the state once"),
    ([HEAD, ACCOUNTS, KEY, MAINTENANCE, TAIL], "or the last line"),
    ([HEAD, ACCOUNTS, MAINTENANCE, KEY, TAIL, ACCOUNTS], "nothing behind the last line"),
    ([HEAD, part("future", []), KEY, TAIL], "parts of the state that this version knows, found 'future'"),
    ([HEAD, part(7, []), KEY, TAIL], "each part of the state once, with its name"),
    ([HEAD, as_line({"part": "accounts"}), KEY, TAIL], "or the last line"),
    ([HEAD, ACCOUNTS.replace(b"+@read", b"+@later"), MAINTENANCE, KEY, TAIL], "users and roles that this version knows"),
    ([HEAD.replace(b'"format":2', b'"format":1'), ACCOUNTS, KEY, TAIL], "or the last line"),
    ([HEAD.replace(b'"format":2', b'"format":3'), ACCOUNTS, KEY, TAIL], "a first line of backup format 2"),
])  # fmt: skip
def test_other_lines_are_refused(lines: list[bytes], said: str) -> None:
    disk = SimDisk()
    edited(disk, lines)
    with pytest.raises(Corrupt, match=said):
        load(disk, PATH, lambda: CLEAR, lambda: None)


@pytest.mark.parametrize("name, value", [
    ("accounts", []), ("accounts", {}), ("accounts", None), ("accounts", 1.5), ("accounts", "text"),
    ("accounts", [1, [], [["u", "on", 3, []]]]), ("accounts", [1, [["r"]], []]), ("accounts", [1, [], [["u", [7], 3, []]]]),
    ("accounts", [-1, [], [["u", ["on"], {"text": {}}, []]]]),
    ("accounts", [1, [], [["u", ["\ud800"], 3, []]]]), ("accounts", [1, [], [["u", ["on"], 3, [None]]]]),
    ("accounts", [1, [], [["u", ["on"], 3, 9]]]),
    ("maintenance", []), ("maintenance", [1, 2]), ("maintenance", ["m", 1]), ("maintenance", [-1, "m"]),
    ("audit_heads", [["n", 1, "h"]]), ("audit_heads", [["n", "1", "h", 1]]), ("audit_heads", [[{}, 1, "h", 1]]),
    ("audit_heads", [[{"text": "n"}, 1, "h", 1]]), ("audit_heads", {"text": "n"}),
    ("cluster_version", []), ("cluster_version", ["2"]), ("cluster_version", [1]), ("cluster_version", 2),
    ("maintenance", [1, "m", "m"]), ("maintenance", [1, {"text": "m"}]), ("maintenance", [1 << 80, "m"]),
])  # fmt: skip
def test_parts_of_another_shape_are_refused(name: str, value: Any) -> None:
    with pytest.raises(Corrupt, match=f"{name} as this program writes them"):
        take(new_machine(1), {name: value}, PATH)


def test_a_backup_of_format_1_has_no_parts_and_is_read() -> None:
    disk, machine = SimDisk(), new_machine(1)
    machine.apply([b"SET", b"k", b"v"])
    sidecar = save_it(disk, machine, CLEAR)
    raw = disk.files()[PATH].replace(b'"format":2', b'"format":1')
    digest = sha256(raw).hexdigest()
    disk.put(PATH, raw)
    disk.put("./b.json", encode_sidecar(replace(sidecar, sha256=digest, plain_sha256=digest)))
    assert digest_hex(load(disk, PATH, lambda: CLEAR, lambda: None).machine) == sidecar.state_digest


def test_a_backup_of_a_newer_cluster_version_is_refused() -> None:
    machine = some_users()
    machine.apply([b"@version", b"2"])
    assert lines_of(machine)[1] == part("cluster_version", [2]), "in front of all that may need it"
    disk = SimDisk()
    edited(disk, [HEAD, part("cluster_version", [CURRENT + 1]), ACCOUNTS, MAINTENANCE, AUDIT, KEY, TAIL])
    with pytest.raises(TooNew, match=f"cluster version {CURRENT + 1} is in force in this data.*start a newer version") as refused:
        load(disk, PATH, lambda: CLEAR, lambda: None)
    assert refused.value.exit_code == EX_CONFIG
