"""One page of the documentation, executed from top to bottom on a machine of its own.

    unshare --net --mount --pid --fork --kill-child --mount-proc python -m tests.docs.machine PAGE [-v]

The namespaces make this process the first of a machine: whatever the page starts ends with it, ports are free, there is no
network but loopback. The directories in OWN are empty (/etc: a copy) and lie in memory, the checkout is read-only, and the
working directory holds links to it. So the lines run literally as they are written.
Promise: nothing outside is changed; the first command that does not do what the page says is named, with line and output.
Stand-ins: `redis-cli` ends with 1 after an error reply, and answers as it would in a terminal unless it is in a pipe; `pip`
and `pytest` do nothing, as there is no network and these are the tests (.ci/run does both for real); `sudo` runs the
command, as we are root here.
Source: namespaces(7), unshare(1).
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.docs import serving
from tests.docs.blocks import Block, Command, blocks, commands, same
from tests.patience import PATIENCE_S

ROOT: Final = Path(__file__).resolve().parents[2]
OWN: Final = ("/tmp", "/srv", "/mnt", "/home", "/run", "/var/lib", "/var/log", "/etc")
HOME: Final = Path("/home/reader")
ADDRESSES: Final = tuple(f"10.0.0.{n}" for n in range(1, 5))
OUTPUT: Final = Path("/run/output")  # of the command that runs
KILLED: Final = -9
CUT_SHORT: Final = (23, 141)  # curl's exit code, and SIGPIPE's, when `head` has seen enough

STARTS_OR_KILLS: Final = re.compile(r"(^|; |&& |do )(\w+=\S+ )*vaylix serve |^kill ")  # others wait for open doors

PRELUDE: Final = """
vaylix() {
    if [[ "$1" == serve && " $* " != *" --help "* ]]; then python -m tests.docs.serving "${@:2}"; else command vaylix "$@"; fi
}
redis-cli() {
    if [[ -p /dev/stdout ]]; then command redis-cli -e "$@"; return; fi
    command redis-cli --no-raw "$@" >/run/reply 2>&1 && ! grep -q '^(error)' /run/reply
    local code=$?
    cat /run/reply
    return $code
}
pip() { [[ "$1" == install ]]; }
pytest() { :; }
sudo() { "$@"; }
set -o pipefail
"""


class Different(Exception):
    """A command did not do what the page says."""


def build() -> None:
    """The directories, the addresses and the working directory of the new machine."""
    kept = {ROOT, Path(sys.prefix), Path(sys.base_prefix)}
    stage = next(own for own in OWN if not any(keep.is_relative_to(own) for keep in kept))
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", stage)
    for own in OWN:
        Path(stage + own).mkdir(parents=True)
    # What only root or a service may read is not copied when we are root in a user namespace alone; nobody needs it.
    subprocess.run(["cp", "-rP", "--preserve=mode", "/etc/.", f"{stage}/etc"], check=False, stderr=subprocess.DEVNULL)
    Path(f"{stage}/tmp").chmod(0o1777)
    for keep in kept:
        if any(keep.is_relative_to(own) for own in OWN):
            Path(f"{stage}{keep}").mkdir(parents=True, exist_ok=True)
            _run("mount", "--rbind", str(keep), f"{stage}{keep}")
    for own in sorted(OWN, key=lambda own: own == stage):  # the stage itself goes out of sight last
        _run("mount", "--rbind", stage + own, own)
    _run("mount", "--bind", str(ROOT), str(ROOT))
    _run("mount", "-o", "remount,bind,ro", str(ROOT))
    _run("ip", "link", "set", "lo", "up")
    for address in ADDRESSES:
        _run("ip", "address", "add", f"{address}/32", "dev", "lo")
    HOME.mkdir()
    for entry in ROOT.iterdir():
        (HOME / entry.name).symlink_to(entry)
    serving.RECORDS.mkdir()
    os.chdir(HOME)


def _run(*words: str) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise Different(f"{' '.join(words)}: {done.stderr.strip()}")


class Shell:
    """One bash for the whole page: variables and the working directory stay."""

    def __init__(self) -> None:
        path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = {
            "PATH": path,
            "HOME": str(HOME),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.process = subprocess.Popen(["bash"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.run(PRELUDE)

    def run(self, command: str) -> tuple[int, str]:
        """Exit code and output, which goes to a file: so a pipe is one that the page has made."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{{ {command}\n}} </dev/null >{OUTPUT} 2>&1\necho $?\n".encode())
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], PATIENCE_S)[0]:
            raise Different(f"no end within {PATIENCE_S} s; so far:\n{said()}")
        answer = self.process.stdout.readline()
        if not answer:
            raise Different(f"the shell has ended:\n{said()}")
        return int(answer), said()


def said() -> str:
    return OUTPUT.read_text(errors="replace")


def run_page(page: Path, verbose: bool) -> None:
    """Every block in order. Raises Different."""
    shell = Shell()
    for block in blocks(page.read_text()):
        for command in work(block):
            began = time.monotonic()
            try:
                if not STARTS_OR_KILLS.search(command.text):
                    serving.wait_for_doors()
                check(command, *shell.run(command.text))
            except (Different, TimeoutError) as different:
                raise Different(f"{page.relative_to(ROOT)}:{command.line}: {command.text}\n{different}") from None
            if verbose:
                print(
                    f"{command.line:5} {time.monotonic() - began:6.2f} s  {command.text.splitlines()[0][:100]}",
                    flush=True,
                )


def work(block: Block) -> list[Command]:
    """The commands of a block, with those that are given; a transcript of redis-cli is one command."""
    given = [Command(block.line, text) for text in block.given]
    if block.not_run or block.language in ("text", "json", "yaml"):
        return given
    if block.language in ("sh", "console"):
        return given + commands(block)
    source = HOME / f".block-{block.line}"
    if block.language == "redis":
        asked = commands(block)
        source.write_text("".join(f"{command.text}\n" for command in asked))
        shown = tuple(line for command in asked for line in command.expected or ())
        return [*given, Command(block.line, f"command redis-cli --no-raw < {source}", None, shown)]
    source.write_text("".join(f"{line}\n" for line in block.lines))
    program = {"python": "python", "conf": "vaylix check-config"}[block.language]
    return [*given, Command(block.line, f"{program} {source}")]


def check(command: Command, exit_code: int, output: str) -> None:
    enough = "| head" in command.text and exit_code in CUT_SHORT
    if command.exit_code not in (None, exit_code) and not enough:
        raise Different(f"exit code {exit_code} and not {command.exit_code}; it said:\n{output}")
    if command.expected is not None and not same(command.expected, output):
        shown = "\n".join(command.expected)
        raise Different(f"the page shows:\n{shown}\nbut it said:\n{output}")


def end_servers() -> None:
    """A server that the page leaves running stops cleanly; one that ended by itself did so cleanly, or was killed by the page."""
    for record in sorted(serving.RECORDS.glob("*.log")):
        pid = int(record.stem)
        serving.stop(pid)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code not in (0, KILLED):
            raise Different(f"a server ended with {code}:\n{record.read_text()}")


def logs() -> str:
    return "\n".join(f"-- {log.name}\n{log.read_text()[-4000:]}" for log in sorted(serving.RECORDS.glob("*.log")))


def main(words: list[str]) -> int:
    build()
    try:
        run_page(ROOT / words[0], verbose="-v" in words)
        end_servers()
    except Different as different:
        print(f"{different}\n{logs()}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
