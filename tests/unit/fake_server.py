"""A server without sockets: real sessions, hub, registry and tables; what is sent is kept as bytes.

Its cruelty: a client can be set to vanish after a given number of messages, in the middle of what sends them.
"""

from __future__ import annotations

from vaylix_resp.commands.ports import Later
from vaylix_resp.commands.registry import CATALOG, new_accounts
from vaylix_resp.commands.spec import DECLARED
from vaylix_resp.config import Settings
from vaylix_resp.errors import WRONG_PASS, CommandError
from vaylix_resp.observability.metrics import Stats
from vaylix_resp.resp.reply import NO_REPLY, OK
from vaylix_resp.resp.writer import encode
from vaylix_resp.security.acl import text_of
from vaylix_resp.security.acl_log import AclLog
from vaylix_resp.security.lockout import Lockout
from vaylix_resp.security.passwords import Cost, digest_of, matching, seal
from vaylix_resp.server.audit import SILENT
from vaylix_resp.server.clients import Clients
from vaylix_resp.server.monitor import Monitors
from vaylix_resp.server.pubsub import Hub
from vaylix_resp.server.quotas import Quotas
from vaylix_resp.server.session import Session
from vaylix_resp.server.tracking import TrackingTable


class FakeClock:
    def __init__(self):
        self.seconds = 1000.0

    def now(self):
        return self.seconds

    def wall_ms(self):
        return int(self.seconds * 1000)


class FakeServer:
    def __init__(self, **settings):
        self.settings = Settings()
        for name, value in settings.items():
            setattr(self.settings, name, value)
        self.clock = FakeClock()
        self.clients = Clients(self.settings, self.clock)
        self.pubsub = Hub(self.clients)
        self.tracking = TrackingTable(self.clients, self.settings)
        self.monitors = Monitors()
        self.stats = Stats()
        self.catalog, self.accounts = CATALOG, new_accounts()
        self.acl_log, self.lockout = AclLog(), Lockout()
        self.quotas, self.sizes = Quotas(self), None
        if self.settings.requirepass:
            secret = self.settings.requirepass.encode("utf-8", "surrogateescape")
            self.accounts.set_user("default", seal([b"resetpass", b">" + secret], [], cost=Cost(8, 1, 1)))
        self.audit = SILENT
        self.refreshed = 0
        self.cluster = None

    def verify(self, client, user, password, asked_by):
        """As the entrance does, at once."""
        account, later = self.accounts.users.get(text_of(user)), Later()
        right = account is not None and account.enabled
        right = right and (account.nopass or matching(account.passwords, digest_of(password)) is not None)
        if not right:
            self.stats.acl_access_denied_auth += 1
        later.resolve(OK if right else CommandError(WRONG_PASS))
        return later

    def unsettled(self):
        return None

    def refresh(self):
        self.refreshed += 1

    def unwatch(self, client):
        client.unwatched = True

    def connect(self, proto=2, addr=None):
        client = FakeClient(self, self.clients.new_id(), addr)
        client.proto = proto
        self.clients.add(client)
        return client


class FakeClient(Session):
    """Executes by calling handlers; `wires` is everything sent, in order."""

    input_bytes = request_bytes = output_bytes = 0

    def recheck_reads(self):
        """No read waits here."""

    def __init__(self, server, identity, addr=None):
        super().__init__(server, identity, addr or f"127.0.0.1:{50000 + identity}", "127.0.0.1:6379", 7)
        self.wires = []
        self.closing = self.killed = self.unwatched = False
        self.vanish_after = None  # messages

    def push(self, message):
        self.push_wire(encode(message, self.proto))

    def push_wire(self, wire):
        if self.killed:
            return
        self.wires.append(wire)
        if self.vanish_after is not None and len(self.wires) >= self.vanish_after:
            self.kill()

    def close_after_reply(self):
        self.closing = True

    def kill(self):
        """As a connection does: everybody who knows it forgets it at once."""
        self.killed = True
        self.server.clients.remove(self)
        self.server.pubsub.drop(self)
        self.server.tracking.drop(self)
        self.server.monitors.drop(self)

    def take(self):
        """What has been sent since the last call."""
        wire, self.wires = b"".join(self.wires), []
        return wire

    def call(self, *words):
        """A handler's reply; a refused request gives its error's text."""
        argv = tuple(word if isinstance(word, bytes) else str(word).encode() for word in words)
        name = argv[0].decode().lower()
        spec = DECLARED[name]
        if len(argv) > 1:
            spec = DECLARED.get(f"{name}|{argv[1].decode(errors='replace').lower()}", spec)
        if not spec.arity_ok(len(argv)):
            return f"arity of {spec.name}"
        if spec.forbidden is not None and (forbidden := spec.forbidden(self)) is not None:
            return forbidden.text
        try:
            return spec.handler(self, argv)
        except CommandError as refused:
            return refused.text

    def run(self, line):
        """`call` for a line of words; the reply joins what is sent, as on a connection."""
        reply = self.call(*line.split())
        if reply is not NO_REPLY:
            self.wires.append(encode(CommandError(reply) if isinstance(reply, str) else reply, self.proto))
        return self.take()


FakeClient.__abstractmethods__ = frozenset()  # what execution needs beyond that is not for these tests
