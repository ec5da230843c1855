"""One connection of `http-port`: bytes to requests and pages to bytes, over h11; times and bounds.

Promises: a request is answered however its bytes arrive, one at a time, in order; one that is too large, too slow,
wrong or has a body ends the connection; what a client does not read is not kept for it for longer than WRITE_S.
Units: seconds, bytes. Not here: pages (`routes`), how many connections, when a page is made (`service`).
"""

from __future__ import annotations

import asyncio
import http
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import parse_qsl, unquote

import h11

from .pages import ENCODING, Page, Request, text

if TYPE_CHECKING:
    from .service import HttpService

HEAD_BYTES_MAX: Final = 16 * 1024  # of a request: its first line and its headers
PIECE_BYTES: Final = 1024  # h11 measures only what is not whole yet: given all at once, it takes a head of any size
REQUEST_S: Final = 10.0  # from the first byte of a request to its last; and from a new connection to its first byte
IDLE_S: Final = 75.0  # between two requests: longer than scrapers usually wait
WRITE_S: Final = 10.0  # for a page to be read
METHODS: Final = (b"GET", b"HEAD")


class HttpConnection(asyncio.Protocol):
    """`request` is what has to be answered; None: nothing, the client has the word."""

    def __init__(self, service: HttpService) -> None:
        self._service = service
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._head: h11.Request | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._served = self._unread = self._ended = False
        self._unheard = b""  # has come, and h11 has not been told
        self.spent_s = 0.0  # of the loop's time, on reading the next request and on writing the last answer
        self.request: Request | None = None
        self.transport: asyncio.Transport

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(0)
        self._wait(REQUEST_S)
        self._service.enter(self)

    def data_received(self, data: bytes) -> None:
        began = self._service.now()
        if self._idle:
            self._wait(REQUEST_S)
        self._unheard += data
        self._look()
        self.spent_s += self._service.now() - began

    def eof_received(self) -> bool:
        """A client that only says no more still wants its answer."""
        self._ended = True
        self._look()
        return self.request is not None or self._unread

    def pause_writing(self) -> None:
        self._unread = True
        self._wait(WRITE_S)

    def resume_writing(self) -> None:
        self._unread = False
        self._next()

    def connection_lost(self, failure: Exception | None) -> None:
        self._wait(None)
        self.request = None
        self._service.leave(self)

    # What the service asks of it.

    @property
    def missed(self) -> int:
        """How much, if it were closed now: between two requests not at all, before its request is whole a little."""
        if self.request is not None or self._unread:
            return 2
        return 0 if self._served and self._idle else 1

    def answer(self, page: Page) -> None:
        """To `request`."""
        assert self.request is not None
        began = self._service.now()
        self.request = None
        self._send(page)
        self._served = True
        if not self._unread:
            self._next()
        self.spent_s += self._service.now() - began

    def close(self) -> None:
        """Now."""
        self.transport.abort()

    # The client's words.

    @property
    def _idle(self) -> bool:
        return self._http.their_state is h11.IDLE and not self._http.trailing_data[0] and not self._unheard

    def _look(self) -> None:
        """As far as the bytes go, or to the end of one request."""
        if self._http.their_state is h11.ERROR or self.transport.is_closing():
            return
        try:
            while self.request is None:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    self._head = event
                    if (refusal := _refusal(event)) is not None:
                        self._refuse(refusal)
                        return
                elif isinstance(event, h11.EndOfMessage):
                    self._ask()
                elif isinstance(event, h11.ConnectionClosed):
                    self.transport.close()
                    return
                elif event is h11.PAUSED or not (self._unheard or self._ended):
                    return
                else:
                    piece, self._unheard = self._unheard[:PIECE_BYTES], self._unheard[PIECE_BYTES:]
                    self._http.receive_data(piece)  # b"": there is no more
        except h11.RemoteProtocolError as wrong:
            self._refuse(text(wrong.error_status_hint, _phrase(wrong.error_status_hint)))

    def _ask(self) -> None:
        head = self._head
        assert head is not None
        headers = {name.decode(ENCODING): value.decode(ENCODING) for name, value in head.headers}
        path, _, query = head.target.decode("ascii").partition("?")
        self.request = Request(
            head.method.decode("ascii"), unquote(path), dict(parse_qsl(query, keep_blank_values=True)),
            headers.get("accept", ""), headers.get("authorization", ""),
        )  # fmt: skip
        self._wait(None)
        self.transport.pause_reading()
        self._service.ask(self)

    def _next(self) -> None:
        """The answer has been read: the next request, or the end."""
        if self.transport.is_closing():
            return
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            self.transport.close()
            return
        self._http.start_next_cycle()
        self._head = None
        self._wait(IDLE_S if self._idle else REQUEST_S)
        self._look()
        if self.request is None and not self.transport.is_closing():
            if self._ended:
                self.transport.close()
            else:
                self.transport.resume_reading()

    # Ours.

    def _refuse(self, page: Page) -> None:
        """And hear nothing more."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send(page)
        self.transport.close()

    def _send(self, page: Page) -> None:
        headers = [
            ("Content-Type", page.kind), ("Content-Length", str(len(page.body))), ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"),
            ("Content-Security-Policy", page.policy), *page.headers,
        ]  # fmt: skip
        if self._http.their_state is not h11.DONE:  # whatever else it says will not be heard
            headers.append(("Connection", "close"))
        send = self._http.send
        parts = [send(h11.Response(status_code=page.status, headers=headers, reason=_phrase(page.status)))]
        if page.body and (self._head is None or self._head.method != b"HEAD"):
            parts.append(send(h11.Data(page.body)))
        parts.append(send(h11.EndOfMessage()))
        self.transport.write(b"".join(part for part in parts if part))

    def _wait(self, seconds: float | None) -> None:
        """For the other side, so long; None: it is not its turn."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = self._service.call_later(seconds, self.close)


def _refusal(head: h11.Request) -> Page | None:
    """Why a request is not heard to its end."""
    if head.method not in METHODS:
        return text(405, "only GET and HEAD", ("Allow", "GET, HEAD"))
    if any(name == b"transfer-encoding" or (name == b"content-length" and size != b"0") for name, size in head.headers):
        return text(413, "a request has no body here")
    return None


def _phrase(status: int) -> str:
    return http.HTTPStatus(status).phrase
