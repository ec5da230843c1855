"""The table of error codes is complete: every code that a module can answer has a row, and every row is answered by one.

Two nets. What is handed to CommandError or `error` is followed to its text, through constants, formats and sums. And
every other string that begins with a word in capitals has to begin with a code, a command's name or a known word.
"""

import ast
import importlib
import re
from pathlib import Path

import pytest

from vaylix_resp.commands.registry import COMMANDS
from vaylix_resp.error_codes import CODES

ROOT = Path(__file__).parents[2] / "vaylix_resp"
TABLE = {one.code for one in CODES}
RAISERS = {"CommandError": "", "error": "ERR "}  # and what they put in front
COMMAND_NAMES = {name.upper() for name in [*COMMANDS, *(child for spec in COMMANDS.values() for child in spec.subcommands)]}
# Words in capitals that begin other texts: flags of key specifications, options, subcommands, abbreviations, HTTP.
NO_CODES = set(
    """
    RW RO OW RM GT NX OPTIN PREFIX WARNING TCP TLS POSIX SIGHUP THE NAME ERROR POPULATE PROTOCOL RELOAD SLEEP FAULT NOT
    FORCE DEMOTE OK NO POST OPTIONS FLIP DATA RDB REDIS LZF SINTERSTORE ZRANGESTORE
    """.split()
)
# Texts that come from elsewhere as a whole: (module, what is handed over).
PASSED_ON = {
    ("commands/arguments.py", "message"), ("commands/counters.py", "message"), ("commands/debug.py", "message"),
    ("commands/connection.py", "cluster.stopped.text"), ("commands/versioned.py", "message"), ("commands/persistence.py", "busy"), ("engine/checkpoint.py", "text"),
    ("commands/flashback.py", "client.server.node.refusal.text"), ("engine/copies/backups.py", "refused.text"),
    ("engine/history/flashback.py", "refused.text"),
    ("engine/replication/changes.py", "message.text"),  # what the leader has to say to a client of ours
    ("commands/debug.py", "printable(argv[2]) or 'ERR'"),  # DEBUG ERROR: whatever the client wants to see
}  # fmt: skip


def modules():
    return sorted(ROOT.rglob("*.py"))


def texts(node, module, local=None):
    """How the text of this expression begins, in every way it can; None if that is not to be seen here.

    `local`: what the names of the function that it stands in are given.
    """
    match node:
        case ast.Constant(value=str() | bytes() as value):
            return [value if isinstance(value, str) else value.decode("latin-1").removeprefix("-")]
        case ast.JoinedStr(values=[first, *_]) | ast.BinOp(left=first, op=ast.Add()):
            return texts(first, module, local)
        case ast.FormattedValue(value=inner):
            return texts(inner, module, local)
        case ast.Call(func=ast.Attribute(value=inner, attr="format")) | ast.Subscript(value=inner):
            return texts(inner, module, local)
        case ast.IfExp(body=one, orelse=other):
            return together([texts(one, module, local), texts(other, module, local)])
        case ast.Name(id=name) if hasattr(module, name):
            value = getattr(module, name)
            values = list(value.values()) if isinstance(value, dict) else [value]
            return values if all(isinstance(one, str) for one in values) else None
        case ast.Name(id=name) if local and local.get(name):
            return together([texts(given, module) for given in local[name]])
    return None


def together(found):
    return None if None in found else [text for one in found for text in one]


def given_in(function):
    """name -> everything that is assigned to it in a function."""
    found = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
    return found


def module_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))


def raised(path):
    """(line, expression, texts) of everything that is handed to one of RAISERS."""
    tree = ast.parse(path.read_text())
    module = module_of(path)
    local_of = {}  # of a call, by its innermost function: those are walked last
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            local_of.update(dict.fromkeys(map(id, ast.walk(function)), given_in(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RAISERS and node.args:
            prefix = RAISERS[node.func.id]
            found = texts(node.args[0], module, local_of.get(id(node)))
            yield node.lineno, ast.unparse(node.args[0]), [prefix] if prefix else found


def code_of(text):
    return re.match(r"\S*", text)[0]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_raised_has_a_row(path):
    place = str(path.relative_to(ROOT))
    for line, expression, found in raised(path):
        if (place, expression) in PASSED_ON:
            continue
        assert found is not None, f"{place}:{line}: which texts can {expression} be? Name a constant, or add to PASSED_ON"
        for text in found:
            assert code_of(text) in TABLE, f"{place}:{line}: '{code_of(text)}' has no row in error_codes.py"


def openings(source):
    """(line, first word) of every string that begins with a word in capitals; documentation is none."""
    tree = ast.parse(source)
    left_out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            left_out.update(map(id, node.values[1:]))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in left_out:
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            if found := re.match(r"-?([A-Z]{2,}) ", text):
                yield node.lineno, found[1]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_text_begins_like_a_code_without_a_row(path):
    known = TABLE | COMMAND_NAMES | NO_CODES
    assert [(line, word) for line, word in openings(path.read_text()) if word not in known] == []


def test_every_row_is_somewhere():
    found = {word for path in modules() if path.name != "error_codes.py" for _, word in openings(path.read_text())}
    assert TABLE - found == set()


def test_what_is_passed_on_is_still_there():
    found = {(str(path.relative_to(ROOT)), expression) for path in modules() for _, expression, _ in raised(path)}
    assert PASSED_ON - found == set()


@pytest.mark.parametrize("source, words", [
    ('raise CommandError("NEWCODE no such thing")', ["NEWCODE"]), ('x = f"MADEUP {y} and"', ["MADEUP"]),
    ('write(b"-OTHER text\\r\\n")', ["OTHER"]), ('"""DOC of a module"""', []), ('x = f"{y}THE end"', []), ('x = "Upper"', []),
])  # fmt: skip
def test_an_unknown_opening_is_found(source, words):
    assert [word for _, word in openings(source)] == words


def test_the_table_is_well_formed():
    assert len(TABLE) == len(CODES)
    for one in CODES:
        assert re.fullmatch(r"[A-Z]+", one.code)
        assert one.meaning and one.advice and "|" not in one.meaning + one.advice and not one.advice.endswith(".")
    assert [one.code for one in CODES if one.happened is not False] == ["INDETERMINATE"]
