"""Imports from a redis-server under heavy writes, in real processes that get kill -9 at random moments; longer than a test may be.

    python -m tests.moving --kills 30 --writers 3 --seed 1

Several clients write as fast as they can what would count twice if it were applied twice, and what expires; the importer is
killed and started again; then it cuts over, and both servers have to hold the same: every value, every end, to the
millisecond. Prints rates, and leaves with 1 at a difference.
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

from bench.processes import REPOSITORY, Program, Server, us_program
from compat.clients import patient
from tests.e2e.moving import everything, writes

SOURCE = Program(
    "redis",
    "redis-server --bind 127.0.0.1 --port {port} --dir {dir} --save '' --repl-diskless-sync-delay 0"
    " --repl-backlog-size 64mb",
)
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
                writes(client, 10, chance)
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


def soak(arguments: argparse.Namespace) -> int:
    chance = random.Random(arguments.seed)
    with Server(SOURCE) as source, Server(us_program()) as target, tempfile.TemporaryDirectory() as state:
        source.start()
        target.start()
        fill(source.port)
        began = time.monotonic()
        writers = Writers(source.port, arguments.writers, arguments.seed)
        try:
            for kill in range(arguments.kills):
                process = importer(source, target, state)
                time.sleep(chance.uniform(0.3, arguments.seconds))
                if process.poll() is not None:
                    print("the importer ended by itself:", *process.communicate(), sep="\n")
                    return 1
                process.kill()
                process.communicate()
                print(f"killed {kill + 1} times; {writers.written:,} commands written", flush=True)
            process = importer(source, target, state)
            time.sleep(arguments.seconds)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
            print(err, out, f"exit code {process.returncode}", sep="\n")
            with patient(port=source.port) as one, patient(port=target.port) as other:
                same = everything(one) == everything(other)
                full = one.info("stats")["sync_full"]
                one.client_unpause()
        finally:
            writers.stop()
        seconds = time.monotonic() - began
        rate = writers.written / seconds
        print(f"seed {arguments.seed}: {writers.written:,} commands in {seconds:.0f} s ({rate:,.0f} a second), {full} files of the source;",
              "equal" if same else "DIFFERENT")  # fmt: skip
        return 0 if same and process.returncode == 0 else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.moving", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="at most between two kills")
    parser.add_argument("--seed", type=int, default=1)
    return soak(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
