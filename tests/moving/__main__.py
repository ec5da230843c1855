"""Imports from a redis-server under heavy writes, in real processes that get kill -9 at random moments; longer than a test may be.

    python -m tests.moving --kills 30 --writers 3 --seed 1 --victims importer,target,source

Several clients write as fast as they can what would count twice if it were applied twice, and what expires; one of the
victims is killed and started again, in the last step too; then the importer cuts over, and both servers have to hold the
same: every value, every end, to the millisecond. Prints rates, and leaves with 1 at a difference. The source keeps what it
has acknowledged (appendfsync always), and the importer goes on by itself when it was not killed.
Units: seconds. Bounded by --kills and --seconds between them. Not here: kills at chosen places (tests/e2e/test_import_live.py).
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

import redis

from bench.processes import REPOSITORY, Program, Server, us_program
from compat.clients import patient
from tests.e2e.moving import everything, writes
from vaylix_resp.errors import EX_IO

SOURCE = Program(
    "redis",
    "redis-server --bind 127.0.0.1 --port {port} --dir {dir} --save '' --repl-diskless-sync-delay 0"
    " --repl-backlog-size 64mb --appendonly yes --appendfsync always",
)
CUT_OVER_S_MAX = 300.0
FILL = 50_000  # keys before the import begins, so that its file takes a while


class Writers:
    """Clients that write until they are told to stop; `written` counts their commands."""

    def __init__(self, port: int, number: int, seed: int) -> None:
        self._port, self._over = port, threading.Event()
        self.written = 0
        self._threads = [threading.Thread(target=self._write, args=(seed * 100 + at,)) for at in range(number)]
        for thread in self._threads:
            thread.start()

    def _write(self, seed: int) -> None:
        chance = random.Random(seed)
        with patient(port=self._port) as client:
            while not self._over.is_set():
                try:
                    writes(client, 10, chance)
                except redis.RedisError:  # the source was killed; whatever of it has happened, has happened
                    self._over.wait(0.05)
                self.written += 80

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def fill(port: int) -> None:
    with patient(port=port) as client:
        for start in range(0, FILL, 1000):
            pipe = client.pipeline(transaction=False)
            for at in range(start, start + 1000):
                pipe.set(f"filled:{at}", random.Random(at).randbytes(at % 200), ex=3600 + at if at % 3 == 0 else None)
            pipe.execute()


def importer(source: Server, target: Server, state: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "vaylix_resp", "import", "--from", f"redis://127.0.0.1:{source.port}",
             "--to", f"redis://127.0.0.1:{target.port}", "--follow", "--pause-source", "--state", state]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(words, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Run:
    """Both servers, and one importer after the other."""

    def __init__(self, source: Server, target: Server, state: str, chance: random.Random) -> None:
        self._source, self._target, self._state, self._chance = source, target, state, chance
        self._process = importer(source, target, state)
        self.said: list[str] = []  # by those that ended by themselves

    def kill(self, victims: list[str]) -> str:
        """One of them, and start it again."""
        victim = self._chance.choice(victims)
        if victim == "importer":
            self._process.kill()
            self._process.communicate()
            self._process = importer(self._source, self._target, self._state)
        else:
            server = self._source if victim == "source" else self._target
            server.kill()
            time.sleep(self._chance.uniform(0, 2))
            server.start()
        return victim

    def ended(self) -> int | None:
        """The exit code, if the importer has ended by itself."""
        if self._process.poll() is not None:
            self.said += self._process.communicate()
        return self._process.returncode

    def go_on(self) -> None:
        """Behind an end that the same command goes on from."""
        print("the importer said:", *self.said[-2:], flush=True)
        self._process = importer(self._source, self._target, self._state)

    def cut_over(self, kills: int, victims: list[str], seconds: float) -> int | None:
        """Ask for it, and kill meanwhile; where the last step was interrupted the same command goes on. The exit code."""
        until = time.monotonic() + CUT_OVER_S_MAX
        asked = None
        while time.monotonic() < until:
            if self._process is not asked:
                time.sleep(3)  # for the handler of the signal
                asked = self._process
                asked.send_signal(signal.SIGINT)
            if kills:
                kills -= 1
                time.sleep(self._chance.uniform(0, seconds))
                if self.ended() is None:
                    print(f"killed the {self.kill(victims)} at the cut-over", flush=True)
            code = self.ended()
            if code == 0 or code == 1:
                return code
            if code is not None:
                self.go_on()
            time.sleep(0.05)
        self._process.kill()
        print("no end of it:", *self._process.communicate(), sep="\n")
        return None


def soak(arguments: argparse.Namespace) -> int:
    chance = random.Random(arguments.seed)
    victims = arguments.victims.split(",")
    with Server(SOURCE) as source, Server(us_program()) as target, tempfile.TemporaryDirectory() as state:
        source.start()
        target.start()
        fill(source.port)
        began = time.monotonic()
        writers = Writers(source.port, arguments.writers, arguments.seed)
        try:
            run = Run(source, target, state, chance)
            for kill in range(arguments.kills):
                time.sleep(chance.uniform(0.3, arguments.seconds))
                if (code := run.ended()) is not None and code != EX_IO:  # as when the source is not there at its start
                    print("the importer ended by itself:", *run.said, sep="\n")
                    return 1
                if code is not None:
                    run.go_on()
                victim = run.kill(victims)
                print(f"killed {kill + 1} times, now the {victim}; {writers.written:,} commands written", flush=True)
            code = run.cut_over(arguments.last, victims, arguments.seconds)
            print(*run.said[-2:], f"exit code {code}", sep="\n")
            with patient(port=source.port) as one, patient(port=target.port) as other:
                same = everything(one) == everything(other)
                one.client_unpause()
        finally:
            writers.stop()
        seconds = time.monotonic() - began
        rate = writers.written / seconds
        print(f"seed {arguments.seed}: {writers.written:,} commands in {seconds:.0f} s ({rate:,.0f} a second),",
              "equal" if same else "DIFFERENT")  # fmt: skip
        return 0 if same and code == 0 else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.moving", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="at most between two kills")
    parser.add_argument("--victims", default="importer", help="of importer, target, source, with commas")
    parser.add_argument("--last", type=int, default=2, help="kills at the cut-over")
    parser.add_argument("--seed", type=int, default=1)
    return soak(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
