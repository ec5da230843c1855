"""Nothing becomes markup that was not made here."""

import pytest

from vaylix_resp.server.http.markup import joined, markup, tag


@pytest.mark.parametrize(
    "text, safe",
    [
        ("<script>", "&lt;script&gt;"), ("a & b", "a &amp; b"), ("\"'", "&quot;&#x27;"), (12, "12"),
        ("a\0b\r\nc\u202ed", "a?b??c?d"), ("\udcff", "?"), ("grün", "grün"),
    ],
)  # fmt: skip
def test_text_is_escaped(text, safe):
    assert markup(text) == safe
    assert markup(markup(text)) == safe  # once


def test_elements_escape_what_is_inside_and_around():
    assert tag("td", "<b>", tag("i", "x"), class_='"><b>') == '<td class="&quot;&gt;&lt;b&gt;">&lt;b&gt;<i>x</i></td>'
    assert tag("svg", aria_label="a", viewBox="0 0 1 1", title=None) == '<svg aria-label="a" viewBox="0 0 1 1"></svg>'
    assert tag("path", d="M0 0") == '<path d="M0 0"/>'
    assert joined("<", tag("b"), 1) == "&lt;<b></b>1"
