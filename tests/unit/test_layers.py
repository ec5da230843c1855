"""The rows of the package, drawn from the imports. When this disagrees with the code, ask which of the two is right.

Lower rows know nothing of higher rows, and the packages of one row do not know each other. Imports inside functions
and under TYPE_CHECKING count as well: knowing is knowing.
"""

import ast
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

PACKAGE = "vaylix_resp"
ROOT = Path(__file__).parents[2] / PACKAGE

ROWS = {
    7: {"cli", "app", "app_boot", "app_cluster", "app_ears", "app_joining", "app_notify", "app_pidfile", "app_posture",
        "tools", "__main__"},
    6: {"server"},
    5: {"engine"},
    4: {"commands", "peers"},
    3: {"state"},
    2: {"resp", "raft", "storage", "security", "observability", "interchange"},
    1: {"errors", "error_codes", "limits", "clock", "heap", "identity", "glob", "config", "directive", "directives",
        "directives_audit", "directives_logs", "directives_cluster", "directives_cluster_rules", "directives_limits", "directives_redis",
        "config_cluster", "config_values", "config_words", "config_rates", "config_text", "config_lines"},
    0: {""},  # the package itself: its version
}
ROW_OF = {unit: row for row, units in ROWS.items() for unit in units}

# Within a row: the way in may know the program, the program its parts; config is many files of one thing; everyone may
# know the error classes and the bounds.
PEERS = {
    ("__main__", "cli"),
    ("cli", "app"),
    ("app", "app_boot"),
    ("app", "app_cluster"),
    ("app", "app_notify"),
    ("app", "app_pidfile"),
    ("app", "app_posture"),
    ("app_boot", "app_cluster"),
    ("app_cluster", "app_joining"),
    ("app_cluster", "app_ears"),
    ("app_ears", "app_joining"),
    ("cli", "tools"),
    ("config", "directive"),
    ("config", "directives"),
    ("config", "directives_redis"),
    ("config", "config_values"),
    ("config", "config_words"),
    ("config", "config_text"),
    ("config", "glob"),
    ("directives", "directive"),
    ("directives", "config_values"),
    ("directives", "config_words"),
    ("directives", "config_lines"),
    ("directives", "directives_audit"),
    ("directives", "directives_logs"),
    ("directives_logs", "directives_audit"),
    ("directives_logs", "directive"),
    ("directives_logs", "config_values"),
    ("directives_logs", "config_words"),
    ("directives_audit", "directives_limits"),
    ("directives_audit", "directive"),
    ("directives_audit", "config_values"),
    ("directives_audit", "config_words"),
    ("directives", "directives_limits"),
    ("directives_limits", "directives_cluster"),
    ("directives_limits", "directive"),
    ("directives_limits", "config_values"),
    ("directives_limits", "config_rates"),
    ("directives", "directives_cluster"),
    ("directives_cluster", "directive"),
    ("directives_cluster", "config_cluster"),
    ("directives_cluster", "config_values"),
    ("directives_cluster", "config_words"),
    ("directives_cluster_rules", "directives"),
    ("directives_cluster_rules", "config_cluster"),
    ("config_cluster", "config_values"),
    ("config_cluster", "config_words"),
    ("config", "directives_cluster_rules"),
    ("config_words", "config_values"),
    ("config_rates", "config_values"),
    ("config_rates", "config_words"),
    ("config_lines", "config_values"),
    ("config_lines", "config_words"),
    ("directive", "config_values"),
} | {(unit, shared) for unit in ROWS[1] for shared in ("errors", "limits") if unit != shared}

PURE = ("resp", "raft", "state", "commands", "interchange")
# What would let a pure package do I/O, wait, read a clock or throw dice by itself.
IMPURE = set(
    """
    asyncio uvloop selectors select socket socketserver ssl http urllib threading multiprocessing concurrent
    subprocess signal os io pathlib tempfile shutil glob fcntl mmap time datetime sched random secrets uuid logging
    """.split()
)
IMPURE_CALLS = {"open", "input", "print", "id"}  # an id differs between processes
SEEDED = {("random", "Random")}  # a generator with a given seed is no chance


def modules():
    return sorted(ROOT.rglob("*.py"))


def dotted(path):
    """`vaylix_resp.state.values` for its file; a package for its __init__."""
    parts = (PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path, tree):
    """(module, name or "", line) of every import in a file, relative ones resolved."""
    name = dotted(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, "", node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, base] if base else parent)
            for alias in node.names:
                yield base, alias.name, node.lineno


def unit_of(module, name=""):
    """The unit of the table that an import reaches: `from vaylix_resp import config` reaches config."""
    parts = module.split(".")
    if len(parts) > 1:
        return parts[1]
    return name if name in ROW_OF else ""


def allowed(importer, imported):
    return importer == imported or ROW_OF[importer] > ROW_OF[imported] or (importer, imported) in PEERS


def faults_of(path, source):
    """What is wrong with the imports of one file, a line each."""
    tree = ast.parse(source)
    unit = unit_of(dotted(path))
    place = path.relative_to(ROOT.parent)
    if unit not in ROW_OF:
        return [f"{place}: {unit} has no row"]
    faults = []
    for module, name, line in imports(path, tree):
        if module.split(".")[0] == PACKAGE:
            reached = unit_of(module, name)
            if reached not in ROW_OF:
                faults.append(f"{place}:{line}: {reached} has no row")
            elif not allowed(unit, reached):
                faults.append(f"{place}:{line}: {unit} (row {ROW_OF[unit]}) knows {reached} (row {ROW_OF[reached]})")
        elif unit in PURE and module.split(".")[0] in IMPURE and (module, name) not in SEEDED:
            faults.append(f"{place}:{line}: {unit} is pure, but imports {module}")
    if unit in PURE:
        faults += [
            f"{place}:{node.lineno}: {unit} is pure, but calls {node.func.id}()"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS
        ]
    return faults


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_knows_only_the_rows_below(path):
    assert faults_of(path, path.read_text()) == []


@pytest.mark.parametrize(
    "file, source, fault",
    [
        ("state/values.py", "from vaylix_resp.commands import spec", "state (row 3) knows commands (row 4)"),
        ("state/values.py", "def f():\n    from ..engine import node", "state (row 3) knows engine (row 5)"),
        ("raft/core.py", "import vaylix_resp.storage.wal", "raft (row 2) knows storage (row 2)"),
        ("raft/core.py", "from vaylix_resp import storage", "raft (row 2) knows storage (row 2)"),
        ("engine/__init__.py", "from ..server import session", "engine (row 5) knows server (row 6)"),
        ("config.py", "from vaylix_resp.clock import Clock", "config (row 1) knows clock (row 1)"),
        ("errors.py", "from .config import load", "errors (row 1) knows config (row 1)"),
        ("raft/core.py", "from time import monotonic", "raft is pure, but imports time"),
        ("commands/keys.py", "import random", "commands is pure, but imports random"),
        ("state/machine.py", "x = open('f')", "state is pure, but calls open()"),
        ("strange/x.py", "", "strange has no row"),
        ("state/x.py", "import vaylix_resp.strange", "strange has no row"),
    ],
)
def test_a_wrong_import_is_found(file, source, fault):
    (found,) = faults_of(ROOT / file, source)
    assert found.endswith(fault)


@pytest.mark.parametrize(
    "file, source",
    [
        (
            "state/values.py",
            "from .keyspace import Keyspace\nfrom ..errors import error\nfrom vaylix_resp import __version__",
        ),
        ("state/machine.py", "from random import Random\nimport struct, hiredis"),
        ("config.py", "from vaylix_resp import config_text\nfrom vaylix_resp.limits import MIB\nimport os"),
        (
            "cli.py",
            "def f():\n    from vaylix_resp.engine.checkpoint import child_main\n    from vaylix_resp.app import serve",
        ),
        ("server/session.py", "import asyncio\nfrom ..resp.reply import Bulk"),
    ],
)
def test_a_right_import_passes(file, source):
    assert faults_of(ROOT / file, source) == []


def test_the_documentation_draws_these_rows():
    text = (ROOT.parent / "CONTRIBUTING.md").read_text()
    drawn = {int(row): words.split() for row, words in re.findall(r"^(\d)  (\S.*)$", text, re.MULTILINE)}
    for row, units in ROWS.items():
        for unit in units - {"", "__main__"}:
            found = [number for number, words in drawn.items() if any(fnmatch(unit, word) for word in words)]
            assert found == [row], unit
    text = (ROOT.parent / "docs" / "architecture.md").read_text().partition("## The packages")[2]
    table = {int(row): set(re.findall(r"`(\w+)`", units)) for row, units in re.findall(r"^\| (\d) \| (`.*?) \|", text, re.MULTILINE)}
    for package in {path.parent.name for path in ROOT.glob("*/__init__.py")}:
        assert package in table[ROW_OF[package]], package
    assert all(units <= ROWS[row] for row, units in table.items())
