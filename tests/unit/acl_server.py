"""A server for tests of ACL: real accounts, catalogue and log of refusals, cheap passwords, entries applied at once.

    server = AclServer()
    client = server.connect()
    client.call("ACL", "SETUSER", "u", "on")     the reply; an error as its text; a Later as what it resolves to
    server.proposed                              the entries that would be in the log
    server.hold()                                from now on work in the pool waits for server.go_on()
"""

from types import SimpleNamespace

from tests.unit.fake_server import FakeClient, FakeServer
from vaylix_resp.commands import acl_operations
from vaylix_resp.commands.ports import Later
from vaylix_resp.commands.registry import CATALOG, new_accounts
from vaylix_resp.errors import WRONG_PASS, CommandError
from vaylix_resp.resp.reply import OK
from vaylix_resp.security.acl_log import AclLog
from vaylix_resp.security.lockout import Lockout
from vaylix_resp.security.passwords import Cost, PasswordRefused, digest_of, matching, seal

CHEAP = Cost(8, 1, 1)


class FakePasswords:
    """Does at once what the pool does later, or when it is told to."""

    def __init__(self):
        self.full = False
        self.waiting = None  # a list while held

    def seal(self, rules, forms, history, policy, done):
        if self.full:
            return CommandError("BUSY no room")
        return self.run(lambda: seal(rules, forms, history, policy=policy, cost=CHEAP), done)

    def run(self, work, done):
        ticket = SimpleNamespace(cancelled=False)
        ticket.cancel = lambda: setattr(ticket, "cancelled", True)

        def do():
            if ticket.cancelled:
                return
            try:
                done(work())
            except PasswordRefused as refused:
                done(CommandError(f"ERR {refused}"))

        if self.waiting is None:
            do()
        else:
            self.waiting.append(do)
        return ticket


class FakeFile:
    def __init__(self):
        self.path, self.content = "", b""

    def read(self):
        return self._later(self.content)

    def write(self, content):
        self.content = content
        return self._later(OK)

    @staticmethod
    def _later(reply):
        later = Later()
        later.resolve(reply)
        return later


class AclServer(FakeServer):
    def __init__(self, **settings):
        super().__init__()
        self.accounts = new_accounts()
        self.machine = SimpleNamespace(world=SimpleNamespace(accounts=self.accounts))
        self.catalog = CATALOG
        self.passwords, self.acl_file, self.lockout = FakePasswords(), FakeFile(), Lockout()
        self.settings = SimpleNamespace(
            requirepass="", password_min_length=0, password_classes=0, password_history=0, **settings
        )
        self.acl_log = AclLog()
        self.proposed = []

    def connect(self, proto=2, addr=None):
        client = AclClient(self, self.clients.new_id(), addr)
        client.proto = proto
        self.clients.add(client)
        return client

    def random_bytes(self, count):
        return bytes(range(1, count + 1))

    def propose(self, entry):
        self.proposed.append(entry)
        later = Later()
        try:
            later.resolve(acl_operations.apply(self.machine, entry))
        except CommandError as refused:
            later.resolve(refused)
        return later

    def prove(self, client, password):
        later = Later()

        def work():
            form = matching(self.accounts.users[client.user].passwords, digest_of(password))
            return OK if form is not None else CommandError(WRONG_PASS)

        later.on_cancel = self.passwords.run(work, later.resolve).cancel
        return later

    def hold(self):
        self.passwords.waiting = []

    def go_on(self):
        waiting, self.passwords.waiting = self.passwords.waiting, None
        for do in waiting:
            do()


class AclClient(FakeClient):
    def call(self, *words):
        reply = super().call(*words)
        if isinstance(reply, Later):
            if not reply.done:
                self.waiting = reply
                return "waits"
            reply = reply.reply
        return reply.text if isinstance(reply, CommandError) else reply
