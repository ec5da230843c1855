"""Syntax lines to argument maps: what clients print from the maps is the line again."""

import pytest

from vaylix_resp.commands.introspection import arguments_of
from vaylix_resp.commands.registry import COMMANDS
from vaylix_resp.commands.syntax import Argument, parse, render

# One line for each form that the documentation of any Redis command uses, also of commands that are not here (yet).
LINES = """
key
key value [key value ...]
[channel [channel ...]]
timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]
key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]
[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]
path [CONFIG name value [CONFIG name value ...]] [ARGS arg [arg ...]]
destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]
key [count [WITHSCORES]]
script numkeys [key [key ...]] [arg [arg ...]]
key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]
<host port | NO ONE>
<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]
<ip:port | <[ID client-id] | [USER username]> [<[ID client-id] | [USER username]> ...]>
host port <key | ""> destination-db timeout [COPY] [REPLACE] [[AUTH password] | [AUTH2 username password]] [KEYS key [key ...]]
key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment> [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment> ...]]
key bit [start [end [BYTE | BIT]]]
key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]
key [FULL [COUNT count]]
key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]
[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]
key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]
[protover [AUTH username password] [SETNAME clientname]]
[username] password
[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]
key groupname <id | $> [MKSTREAM] [ENTRIESREAD entries_read]
key group [[IDLE min-idle-time] start end count [consumer]]
<IMPORTING node-id | STABLE>
""".strip().splitlines()  # noqa: E501 - a line of the documentation stays a line

ABBREVIATED = {"client|kill"}  # its line ends in `[...]`, for the whole group again


@pytest.mark.parametrize("line", LINES)
def test_the_line_comes_back(line):
    assert render(parse(line, key_index=lambda number, token: number)) == line


def all_specs():
    for spec in COMMANDS.values():
        yield spec
        yield from spec.subcommands.values()


@pytest.mark.parametrize("spec", list(all_specs()), ids=lambda spec: spec.name)
def test_every_command_declares_a_line_that_comes_back(spec):
    rendered = render(arguments_of(spec))
    if spec.name in ABBREVIATED:
        assert len(rendered) > len(spec.syntax)
    else:
        assert rendered == spec.syntax


@pytest.mark.parametrize("spec", list(all_specs()), ids=lambda spec: spec.name)
def test_a_line_fits_the_arity(spec):
    """As many words must be given as the shortest request has; a fixed arity leaves nothing out."""
    if not spec.syntax:
        return
    container = spec.name.count("|")
    least = sum(words(one) for one in arguments_of(spec)) + 1 + container
    assert least == abs(spec.arity), (spec.syntax, spec.arity)
    if spec.arity > 0:
        assert not any(one.optional or one.multiple for one in arguments_of(spec))


def words(one):
    """Fewest words that satisfy an argument."""
    if one.optional:
        return 0
    token = int(one.token is not None and one.type != "pure-token")
    if one.type == "oneof":
        return token + min(words(child) or 1 for child in one.children)
    if one.type == "block":
        return token + sum(map(words, one.children))
    return token + 1


KEYED = {"key_index": lambda number, token: number}


@pytest.mark.parametrize(
    "line, more, expected",
    [
        ("key", KEYED, Argument("key", "key", text="key", key_spec_index=0)),
        ("key", {}, Argument("key", "string", text="key")),
        ("[SAMPLES count]", {}, Argument("count", "integer", text="count", token="SAMPLES", optional=True)),
        ("increment", {}, Argument("increment", "integer", text="increment")),
        ("increment", {"floating": True}, Argument("increment", "double", text="increment")),
        ("unix-time-seconds", {}, Argument("unix-time-seconds", "unix-time", text="unix-time-seconds")),
        ("[MATCH pattern]", {}, Argument("pattern", "pattern", text="pattern", token="MATCH", optional=True)),
        ("[GET]", {}, Argument("get", "pure-token", text="GET", token="GET", optional=True)),
        (
            "[GET pattern [GET pattern ...]]",
            {},
            Argument("pattern", "pattern", text="pattern", token="GET", optional=True, multiple=True,
                     multiple_token=True),
        ),
        (
            "key [key ...]",
            KEYED,
            Argument("key", "key", text="key", multiple=True, key_spec_index=0),
        ),
        (
            "[LIMIT offset count]",
            {},
            Argument("limit", "block", token="LIMIT", optional=True, children=(
                Argument("offset", "integer", text="offset"), Argument("count", "integer", text="count"))),
        ),
        (
            "[ASC | DESC]",
            {},
            Argument("asc_desc", "oneof", optional=True, children=(
                Argument("asc", "pure-token", text="ASC", token="ASC"),
                Argument("desc", "pure-token", text="DESC", token="DESC"))),
        ),
        (
            "field value [field value ...]",
            {},
            Argument("field_value", "block", multiple=True, children=(
                Argument("field", "string", text="field"), Argument("value", "string", text="value"))),
        ),
    ],
)  # fmt: skip
def test_what_a_form_means(line, more, expected):
    assert parse(line, **more) == (expected,)


@pytest.mark.parametrize("line", ["[key", "key]", "<a | b", "a | b", "key ...", "[a ...]", "[a>"])
def test_a_malformed_line_is_refused(line):
    with pytest.raises(ValueError):
        parse(line)
