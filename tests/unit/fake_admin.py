"""A server without sockets, log or disk for the commands about the server: facts are given, time is turned by hand.

    server = FakeAdmin(enable_debug_command="yes")
    client = server.connect()
    client.call("LATENCY", "LATEST")       the reply; an error as its text
    server.advance(0.5)                    half a second passes, timers run
    server.checkpoint.end()                the running snapshot is done

Proposed entries are applied at once, as if the disk were infinitely fast.
"""

from random import Random
from types import SimpleNamespace

from tests.unit.fake_server import FakeServer
from vaylix_resp.commands.ports import Later
from vaylix_resp.commands.registry import COMMANDS, apply_table
from vaylix_resp.engine.history.retention import Plan, Wanted
from vaylix_resp.errors import CommandError
from vaylix_resp.observability.latency import LatencyMonitor
from vaylix_resp.observability.process import CpuSeconds, Memory
from vaylix_resp.observability.slowlog import large_replies, large_requests, slow
from vaylix_resp.observability.traces import Traces
from vaylix_resp.resp.reply import OK
from vaylix_resp.server import info
from vaylix_resp.state.machine import StateMachine

MIB = 1 << 20


class FakeProcess:
    """A process that uses 10 MiB of which 2 were there at its start."""

    startup = 2 * MIB
    supervised = "no"
    pid, bits = 4711, 64
    system, executable, runtime, allocator = "Linux 6.1 x86_64", "/usr/bin/python3", "CPython 3.11.7", "pymalloc"

    def __init__(self):
        self.figures = Memory(used=10 * MIB, resident=15 * MIB, peak=20 * MIB)
        self.purged = 0

    def memory(self):
        return self.figures

    def cpu(self):
        return CpuSeconds(system=1.5, user=2.25)

    cpu_children = cpu_main_thread = cpu

    def system_memory(self):
        return 1 << 30

    def describe_allocator(self):
        return "allocator facts\n"

    def give_back(self):
        self.purged += 1
        return True


class FakeCheckpoint:
    def __init__(self):
        self.running = False
        self.started_s = self.last_duration_s = None
        self.last_ok, self.last_error = True, ""
        self.last_save_unix, self.count, self.sequence, self.progress = 1000, 0, 0, 0.0
        self.changes_since, self.log_bytes_since = 3, 100
        self.refusal = None
        self.ended = None
        self.wanted = Wanted(3_600_000)

    def retention(self):
        return Plan((), 0, 5, 400_000, 123, True)

    def start(self):
        if self.refusal is not None:
            return self.refusal
        self.running = True
        self.ended = Later(timeout_reply=OK)
        return self.ended

    def end(self, reply=OK):
        self.running = False
        self.count += 1
        self.ended.resolve(reply)


class FakeAdmin(FakeServer):
    def __init__(self, databases=16, **settings):
        super().__init__(**settings)
        self.clock.wall_us = lambda: int(self.clock.seconds * 1_000_000)
        self.commands = COMMANDS
        self.machine = StateMachine(apply_table(), databases, rng=Random(1), accounts=self.accounts)
        self.passwords = SimpleNamespace(info=dict)
        self.memory = SimpleNamespace(used=0, exceeded_ms=(0, 0))
        self.process = FakeProcess()
        self.lateness = SimpleNamespace(
            slowlog=slow(self.settings), large_requests=large_requests(self.settings),
            large_replies=large_replies(self.settings), latency=LatencyMonitor(self.settings),
            traces=Traces(self.settings), request_took=lambda client, argv, seconds: self.took.append((argv, seconds)),
        )  # fmt: skip
        self.run_id, self.started, self.config_file = "ab" * 20, self.clock.now(), None
        self.active_expire = True
        self.timers = []
        self.proposed = []
        self.took = []
        self.refusal = None  # of proposals
        self.stopped_with = None
        self.compared = Later()
        self.history = SimpleNamespace(running=False, count=2, last_error="")
        self.node = SimpleNamespace(
            last_sequence=7, applied=7, term=2, failure=None, full=False, syncing_since=None, appendfsync="always",
            fsync=SimpleNamespace(count=4, total_us=100, max_us=60, last_us=20),
            wal=SimpleNamespace(durable=7, total_bytes=5000, segments=lambda: [1, 2, 3]),
            open=SimpleNamespace(size=11), committed=7,
        )  # fmt: skip
        self.tls = None
        self.checkpoint = FakeCheckpoint()
        self.checkpoint.rebuild_and_compare = lambda: self.compared
        self.online_backup = SimpleNamespace(in_progress=False)
        self.backups = SimpleNamespace(running="", progress=0.0, last_error="", count=0)
        self.archive = SimpleNamespace(
            pending=lambda: [SimpleNamespace(size=4096)], enabled=True, sequence=6, archived_count=5, failed_count=1,
            last_ok_time=1001, last_failed_time=1000, last_file="a.wal", last_error="b.wal: no",
        )  # fmt: skip
        self.keyring = SimpleNamespace(on=True, info=lambda: [("encryption", "on"), ("keyring_active_key", 3)])

    def view(self, db):
        self.machine.read_at(self.clock.wall_ms())
        return self.machine.world.views[db]

    def apply(self, *words):
        """A write, as if it came from the log."""
        self.machine.begin_batch(self.clock.wall_ms(), 1)
        return self.machine.apply(tuple(word.encode() if isinstance(word, str) else word for word in words))

    def propose(self, entry):
        self.proposed.append(entry)
        later = Later()
        later.resolve(self.refusal if self.refusal is not None else self.apply(*entry))
        return later

    def info(self, sections):
        return info.render(self, sections)

    def call_later(self, seconds, callback):
        timer = SimpleNamespace(at=self.clock.now() + seconds, callback=callback)
        timer.cancel = lambda: self.timers.remove(timer)
        self.timers.append(timer)
        return timer

    def advance(self, seconds):
        end = self.clock.seconds + seconds
        while due := sorted((timer for timer in self.timers if timer.at <= end), key=lambda timer: timer.at):
            self.timers.remove(due[0])
            self.clock.seconds = due[0].at
            due[0].callback()
        self.clock.seconds = end

    def shutdown(self, **how):
        self.stopped_with = how
        return Later()

    def rewrite_config(self):
        raise CommandError("ERR The server is running without a config file")
