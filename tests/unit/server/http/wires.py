"""A browser's end of `http-port` without sockets and without an event loop: time passes when the test says so.

    stage = HttpStage(site)
    client = stage.connect()
    client.send(b"GET /livez HTTP/1.1\\r\\n\\r\\n")
    stage.wait(1)                           a second passes, timers ring
    client.answers("GET")                   [(200, headers, b"ok\\n")], read by h11's side for clients

`client.slow = True`: it reads nothing until it is told to (`read`).
"""

import h11

from vaylix_resp.server.http.service import HttpService


class Timer:
    def __init__(self, at, callback):
        self.at, self.callback, self.cancelled = at, callback, False

    def cancel(self):
        self.cancelled = True


class HttpStage:
    def __init__(self, site):
        self.seconds = 0.0
        self.timers = []
        self.service = HttpService(site, self, self.time)

    def time(self):
        return self.seconds

    def call_later(self, seconds, callback):
        self.timers.append(timer := Timer(self.seconds + seconds, callback))
        return timer

    def run(self):
        """Whatever is due now."""
        while due := [timer for timer in self.timers if timer.at <= self.seconds]:
            timer = min(due, key=lambda one: one.at)
            self.timers.remove(timer)
            if not timer.cancelled:
                timer.callback()

    def wait(self, seconds):
        self.seconds += seconds
        self.run()

    def busy(self, until):
        """No page is made before."""
        for lane in (self.service.pages, self.service.probes):
            lane.free_at = until

    def connect(self):
        return HttpClient(self)


class HttpClient:
    """Also the transport that the connection writes to."""

    def __init__(self, stage):
        self.stage = stage
        self.slow = self.paused = self.closing = self.aborted = self.lost = False
        self.inbox, self.unread, self.taken = [], b"", b""
        self.connection = stage.service.connect()
        self.connection.connection_made(self)
        self._settle()

    # What a client does.

    def send(self, *parts):
        for part in parts:
            self.inbox.append(part)
            self._deliver()
        self.stage.run()
        self._settle()
        return self

    def end(self):
        """It says no more, and listens."""
        if not self.connection.eof_received():
            self.close()
        self.stage.run()
        self._settle()

    def read(self):
        self.slow = False
        self.taken, self.unread = self.taken + self.unread, b""
        self.connection.resume_writing()
        self.stage.run()
        self._settle()

    def vanish(self):
        self.closing = True
        self._settle(force=True)

    def answers(self, *methods):
        """What has come, as (status, headers, body); `methods` were asked for, in this order."""
        browser, found = h11.Connection(h11.CLIENT), []
        data, self.taken = self.taken, b""
        browser.receive_data(data)
        for method in methods:
            browser.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
            browser.send(h11.EndOfMessage())
            response, body = browser.next_event(), b""
            assert isinstance(response, h11.Response), response
            while isinstance(event := browser.next_event(), h11.Data):
                body += event.data
            assert isinstance(event, h11.EndOfMessage), event
            found.append((response.status_code, dict(response.headers), body))
            if browser.their_state is h11.DONE and browser.our_state is h11.DONE:
                browser.start_next_cycle()
        assert browser.trailing_data[0] == b"", "more than was asked for"
        return found

    # What a transport does.

    def set_write_buffer_limits(self, high):
        assert high == 0

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False
        self._deliver()

    def is_closing(self):
        return self.closing

    def write(self, data):
        if self.slow:
            self.unread += data
            self.connection.pause_writing()
        else:
            self.taken += data

    def close(self):
        self.closing = True

    def abort(self):
        self.closing = self.aborted = True

    def _deliver(self):
        while self.inbox and not self.paused and not self.closing:
            self.connection.data_received(self.inbox.pop(0))

    def _settle(self, force=False):
        """A transport that closes is gone when all that it had to say has been read, or at once."""
        if self.closing and not self.lost and (force or self.aborted or not self.unread):
            self.lost = True
            self.connection.connection_lost(None)
