"""The extractor: which commands a page asks for, and when an output is the one that it shows."""

from __future__ import annotations

import pytest

from tests.docs.blocks import Malformed, blocks, commands, prose, same


def one(text: str):
    (block,) = blocks(text)
    return block


def asked(text: str) -> list[tuple[str, int | None]]:
    return [(command.text, command.exit_code) for command in commands(one(text))]


def test_comments_before_a_block_belong_to_it():
    block = one("<!-- given: mkdir /a -->\n<!-- given: touch /a/b -->\n<!-- not run: no network -->\n```sh\nls\n```\n")
    assert (block.given, block.not_run, block.line) == (("mkdir /a", "touch /a/b"), "no network", 5)


def test_a_block_in_a_list_is_moved_to_the_left():
    assert one("1. Do it:\n\n   ```sh\n   if true; then\n     ls\n   fi\n   ```\n").lines == ("if true; then", "  ls", "fi")


@pytest.mark.parametrize(
    "text, begins",
    [
        ("```\nls\n```\n", "1: "),
        ("```bash\nls\n```\n", "1: "),
        ("\n```sh\nls\n", "3: "),
        ("<!-- not run: why -->\n\n```sh\nls\n```\n", "2: "),
    ],
)
def test_a_page_that_breaks_the_rule_is_told_where(text, begins):
    with pytest.raises(Malformed, match=f"^{begins}"):
        list(blocks(text))


@pytest.mark.parametrize(
    "lines, found",
    [
        ("a\nb", [("a", 0), ("b", 0)]),
        ("# why\n\na  # as it is", [("a  # as it is", 0)]),
        ("a \\\n  b\nc", [("a \\\n  b", 0), ("c", 0)]),
        ("a 'x\ny'\nb", [("a 'x\ny'", 0), ("b", 0)]),
        ("a it\\'s\nb", [("a it\\'s", 0), ("b", 0)]),
        ("a  # it's a comment\nb", [("a  # it's a comment", 0), ("b", 0)]),
        ("cat > f << 'END'\nit's (\nEND\nb", [("cat > f << 'END'\nit's (\nEND", 0), ("b", 0)]),
        ("f() {\n  a\n}\nb", [("f() {\n  a\n}", 0), ("b", 0)]),
        ("a  # exit code 78", [("a  # exit code 78", 78)]),
        ('x=$(a | sed -n "s/(//p")\nb', [('x=$(a | sed -n "s/(//p")', 0), ("b", 0)]),
    ],
)
def test_commands_of_a_shell(lines, found):
    assert asked(f"```sh\n{lines}\n```\n") == found


def test_a_command_without_an_end_is_an_error():
    with pytest.raises(Malformed, match="^3: "):
        asked("```sh\na\nb 'x\n```\n")


def test_a_transcript_has_commands_and_what_they_say():
    found = commands(one("```console\n$ a \\\n  b\nx\n\ny\n$ c  # exit code 1\n```\n"))
    assert [(c.line, c.text, c.expected, c.exit_code) for c in found] == [
        (2, "a \\\n  b", ("x", "", "y"), None),
        (7, "c  # exit code 1", (), 1),
    ]


def test_a_transcript_begins_with_a_command():
    with pytest.raises(Malformed, match="^2: "):
        asked("```redis\nOK\n> SET a 1\n```\n")


@pytest.mark.parametrize(
    "shown, output, equal",
    [
        (("OK",), "OK\n", True),
        (("OK",), "OK  \n\n\n", True),
        (("OK",), "OK\nOK\n", False),
        (("(integer) …",), "(integer) 17\n", True),
        (("a … c",), "a b d\n", False),
        (("a.c",), "abc\n", False),
        (("a", "…", "z"), "a\nb\nc\nz\n", True),
        (("a", "…", "z"), "a\nz\n", True),
        (("…",), "", True),
        ((), "surprise\n", False),
        ((), "", True),
    ],
)
def test_an_output_is_the_one_that_is_shown(shown, output, equal):
    assert same(shown, output) is equal


def test_prose_keeps_its_lines_and_loses_its_blocks():
    assert prose("a\n```sh\n[x](y)\n```\nb") == "a\n\n\n\nb"
