"""The nodes' certificates are taken over when they have changed, whole or not at all, and somebody hears of it."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from types import SimpleNamespace

import pytest

from tests.unit.peers.test_peers_tls import issued, options
from tests.unit.security import pki
from vaylix_resp.peers import renewal as module
from vaylix_resp.peers.renewal import Renewal
from vaylix_resp.peers.tls import ClusterTls
from vaylix_resp.security.tls import TlsError, stamp_of


class Stage:
    def __init__(self, path):
        self.path, self.told, self.said = path, [], []
        self.clock = SimpleNamespace(now=pki.NOW, wall_ms=lambda: int(self.clock.now.timestamp() * 1000))
        self.tls = ClusterTls(options(path, "node-1", issued("node-1")), self.clock)
        self.renewal = Renewal(self.tls, self.reload, lambda: 5)
        self.renewal.on_reload = lambda why, taken: self.told.append((why, taken))
        self.settled = stamp_of(self.tls.options)

    def reload(self, why):
        """As `Peers.reload_tls`."""
        try:
            self.tls.reload()
        except TlsError:
            return False
        return True

    def look(self):
        """What was said because of it."""
        self.settled = asyncio.run(self.renewal.look(self.settled))
        told, self.told = self.told, []
        return told

    def put(self, pair):
        pki.put(self.path, "node-1", pair)


CHANGED = "the files have changed"


def test_a_change_is_taken_over_when_the_files_have_come_to_rest(tmp_path):
    stage = Stage(tmp_path)
    before = stage.tls.pair
    assert stage.look() == [] and stage.look() == []
    stage.put(issued("node-1"))
    assert stage.look() == [] and stage.tls.pair is before, "more of them may be on their way"
    assert stage.look() == [(CHANGED, True)]
    assert stage.tls.pair.certificate != before.certificate
    assert stage.look() == []


def test_files_that_cannot_be_used_are_tried_once_and_change_nothing(tmp_path):
    stage = Stage(tmp_path)
    before = stage.tls.pair
    stage.put((issued("node-1")[0], issued("node-1")[1]))  # another's key
    stage.look()
    assert stage.look() == [(CHANGED, False)]
    assert stage.look() == [] and stage.tls.pair is before
    stage.put(issued("node-1"))
    stage.look()
    assert stage.look() == [(CHANGED, True)]


def test_files_that_are_gone_are_no_certificate(tmp_path):
    stage = Stage(tmp_path)
    before = stage.tls.pair
    os.unlink(stage.tls.options.key_file)
    stage.look()
    assert stage.look() == [(CHANGED, False)] and stage.tls.pair is before


def test_whoever_asks_has_it_at_once(tmp_path):
    stage = Stage(tmp_path)
    before = stage.tls.pair
    stage.put(issued("node-1"))
    assert stage.renewal.now("SIGHUP") and stage.told == [("SIGHUP", True)]
    assert stage.tls.pair.certificate != before.certificate
    stage.put((b"nothing", b"at all"))
    assert not stage.renewal.now("SIGHUP") and stage.told[1:] == [("SIGHUP", False)]


def test_the_job_looks_at_its_interval_and_warns_of_the_end(tmp_path, monkeypatch):
    """Ten days are left at first. Takes no time: nobody sleeps."""
    said, stage = [], Stage(tmp_path)
    monkeypatch.setattr(module, "log", SimpleNamespace(warning=said.append))
    steps = iter([timedelta(), timedelta(days=4), timedelta(days=4), timedelta(days=9, hours=1), timedelta(days=11)])
    now_s, begin = [0.0], stage.clock.now

    async def sleep(seconds):
        now_s[0] += 3.0
        step = next(steps, None)
        if step is None:
            raise asyncio.CancelledError
        stage.clock.now = begin + step

    looks = []

    async def look(settled):
        looks.append(now_s[0])
        return settled

    async def job():
        monkeypatch.setattr(asyncio, "sleep", sleep)
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now_s[0])
        stage.renewal.look = look
        await stage.renewal.run()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(job())
    assert looks == [6.0, 12.0]
    assert ["6 days left" in said[0], "0 days left" in said[1], "has expired" in said[2], len(said)] == [True] * 3 + [3]
