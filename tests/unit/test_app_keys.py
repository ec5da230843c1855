"""Encryption at rest as a whole: a server in this process, its children, a real disk."""

import asyncio
import os
from random import Random

import pytest

from tests.unit.test_app import Running, collector, settings
from vaylix_resp.cli import main
from vaylix_resp.engine import keyring as module
from vaylix_resp.errors import EX_CONFIG, EX_OK
from vaylix_resp.security.master_key import KeyringError
from vaylix_resp.storage.disk import RealDisk
from vaylix_resp.storage.upkeep.rewrap import CLEAR_FILE, key_ids

__all__ = ["collector", "settings"]  # fixtures

HEX, OTHER = Random(1).randbytes(32).hex(), Random(2).randbytes(32).hex()
MARKER = b"a-value-that-nobody-else-writes"


@pytest.fixture
def start(settings, monkeypatch):
    settings.pitr_window = 0

    def start(**changes):
        for name, value in changes.items():
            setattr(settings, name, value)
        return Running(settings, monkeypatch)

    return start


async def stop(client, server):
    await client.ask("SHUTDOWN NOSAVE")
    assert await server.end() == EX_OK


def files(root):
    """Everything but the lock, which whoever tries to start writes its number into."""
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            if name != "LOCK":
                path = os.path.join(directory, name)
                with open(path, "rb") as file:
                    found[path] = file.read()
    return found


def holding(root, marker):
    return [path for path, content in files(root).items() if marker in content]


async def test_a_rotation_ends_with_the_old_key_destroyed(start, settings, monkeypatch):
    monkeypatch.setattr(module, "PERIOD_S", 0.05)
    server = start()
    client = await server.connect()
    await client.ask(f"SET a {MARKER.decode()}")
    assert await client.ask("KEYRING ROTATE") == ["+OK"]
    for _ in range(600):
        (info,) = await client.ask("INFO encryption")
        if "keyring_retired_keys:0" in info:
            break
        await asyncio.sleep(0.05)
    assert "keyring_active_key:2" in info and "keyring_keys:1" in info
    assert await client.ask("SET b 2", "GET a") == ["+OK", MARKER.decode()]
    await stop(client, server)
    assert set(key_ids(RealDisk(), settings.dir).values()) == {2}
    assert holding(settings.dir, MARKER) == []
    server = start()
    client = await server.connect()
    assert await client.ask("GET a", "GET b") == [MARKER.decode(), "2"]
    await stop(client, server)


async def test_the_master_key_is_not_shown_and_not_handed_on(start, settings, monkeypatch):
    monkeypatch.setenv("VAYLIX_MASTER_KEY", HEX)
    server = start(master_key=HEX, sources={"master-key": "VAYLIX_MASTER_KEY"})
    client = await server.connect()
    shown = await client.ask("CONFIG GET *", "INFO everything", "KEYRING STATUS")
    assert HEX not in str(shown) and "VAYLIX_MASTER_KEY" in str(shown[2])
    assert "VAYLIX_MASTER_KEY" not in os.environ
    assert await client.ask("SAVE") == ["+OK"], "the child gets it another way"
    await stop(client, server)
    assert not os.path.exists(os.path.join(settings.dir, "master.key"))


async def test_a_wrong_or_missing_master_key_changes_nothing(start, settings):
    server = start(master_key=HEX)
    client = await server.connect()
    await client.ask("SET a 1", "SAVE", "SET b 2")
    await stop(client, server)
    before = files(settings.dir)
    for key, problem in ((OTHER, "is not the one of this keyring"), ("", "the master key is not there")):
        server = start(master_key=key)
        with pytest.raises(KeyringError, match=problem) as refused:
            await server.end()
        assert refused.value.exit_code == EX_CONFIG
        assert files(settings.dir) == before
    server = start(master_key=HEX)
    client = await server.connect()
    assert await client.ask("GET a", "GET b") == ["1", "2"]
    await stop(client, server)


async def test_encryption_off_and_on_and_what_each_leaves_on_disk(start, settings):
    """Clear, then sealed, then clear again: all of it stays readable, and the search finds what lies open."""
    said = []
    for encryption, word in (
        (False, b"first-clear-marker"),
        (True, b"then-sealed-marker"),
        (False, b"again-clear-marker"),
    ):
        server = start(encryption=encryption)
        client = await server.connect()
        for key, value in said:
            assert await client.ask(f"GET {key}") == [value.decode()]
        key = f"k{len(said)}"
        assert await client.ask(f"SET {key} {word.decode()}") == ["+OK"]
        said.append((key, word))
        kinds = set(key_ids(RealDisk(), settings.dir).values())
        assert (1 in kinds) == (len(said) > 1) and (encryption or CLEAR_FILE in kinds)
        await stop(client, server)
    assert holding(settings.dir, b"first-clear-marker") and holding(settings.dir, b"again-clear-marker")
    assert holding(settings.dir, b"then-sealed-marker") == []


async def test_files_in_the_clear_cannot_take_the_place_of_sealed_ones(start, settings, tmp_path):
    server = start()
    client = await server.connect()
    await client.ask("SET a 1")
    await stop(client, server)
    sealed = settings.dir
    server = start(dir=str(tmp_path / "clear"), encryption=False)
    client = await server.connect()
    await client.ask("SET a 666")
    await stop(client, server)
    for name in ("manifest.json", "wal"):
        os.rename(os.path.join(sealed, name), os.path.join(tmp_path, name))
        os.rename(os.path.join(tmp_path, "clear", name), os.path.join(sealed, name))
    server = start(dir=sealed, encryption=True)
    with pytest.raises(KeyringError, match="expected a sealed file"):
        await server.end()


def test_a_refusal_is_one_line_and_a_code(settings, capsys, monkeypatch):
    monkeypatch.delenv("VAYLIX_MASTER_KEY", raising=False)
    words = ["serve", "--dir", settings.dir, "--port", str(settings.port), "--master-key-file", "/nowhere/k"]
    assert main(words) == EX_CONFIG
    err = capsys.readouterr().err.splitlines()
    assert [line for line in err if line.startswith("vaylix: ")] == [
        "vaylix: /nowhere/k: the master key is not there; to continue: put it back, or name its place with "
        "master-key-file, master-key-command or VAYLIX_MASTER_KEY"
    ]
    assert os.listdir(settings.dir) == ["LOCK"]
