"""The terminal of `vaylix top` on a pseudo-terminal: drawn over, keys one by one, and given back as it was."""

import os
import pty
import select
import signal
import termios

import pytest

from tests.patience import PATIENCE_S
from vaylix_resp.tools.terminal import ENTER, LEAVE, Terminal
from vaylix_resp.tools.top_frame import Row


class Pair:
    """A terminal, seen from both ends."""

    def __init__(self):
        self.end, inner = pty.openpty()
        self.source, self.screen = os.fdopen(inner, "r"), os.fdopen(os.dup(inner), "w")

    def close(self):
        os.close(self.end)
        self.source.close()
        self.screen.close()

    def press(self, keys):
        os.write(self.end, keys)

    def shown(self):
        """All until the terminal was given back; it comes in pieces."""
        text = ""
        while not text.endswith(LEAVE):
            assert select.select([self.end], [], [], PATIENCE_S)[0], text
            text += os.read(self.end, 65536).decode()
        return text

    def typing(self):
        return termios.tcgetattr(self.source)


@pytest.fixture
def pair():
    made = Pair()
    yield made
    made.close()


def test_it_draws_over_what_is_there_and_gives_all_back(pair):
    before = pair.typing()
    with Terminal(pair.source, pair.screen) as terminal:
        assert pair.typing() != before
        terminal.draw([Row("head", "head"), Row("plain"), Row("wrong", "bad")])
    assert pair.typing() == before
    text = pair.shown()
    assert text.startswith(ENTER)
    assert "\x1b[H\x1b[K\x1b[1mhead\x1b[0m\r\n\x1b[Kplain\r\n\x1b[J\x1b[31mwrong\x1b[0m" in text


def test_keys_come_one_by_one(pair):
    with Terminal(pair.source, pair.screen) as terminal:
        assert terminal.key(0) == ""
        pair.press(b"s q")
        assert [terminal.key(None) for _ in range(3)] == ["s", " ", "q"]


def test_a_new_size_wakes_it_up(pair):
    with Terminal(pair.source, pair.screen) as terminal:
        os.kill(os.getpid(), signal.SIGWINCH)
        assert terminal.key(None) == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_end_from_outside_leaves_no_trace(pair, number):
    before, handler = pair.typing(), signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), Terminal(pair.source, pair.screen) as terminal:
        os.kill(os.getpid(), number)
        terminal.key(None)
    assert (pair.typing(), signal.getsignal(number)) == (before, handler)
    assert pair.shown().startswith(ENTER)


def test_a_bug_leaves_no_trace(pair):
    before = pair.typing()
    with pytest.raises(ZeroDivisionError), Terminal(pair.source, pair.screen):
        _ = 1 / 0
    assert pair.typing() == before


def test_without_keys_it_waits_all_the_same(pair, tmp_path):
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open() as source, Terminal(source, pair.screen) as terminal:
        assert terminal.key(0) == ""
