"""ACL's changes: tried, sealed, proposed; no password in an entry, in a reply or on the way."""

import pytest

from tests.unit.acl_server import AclServer
from vaylix_resp.commands.acl_changes import GONE, NO_FILE, SAME_PASSWORD
from vaylix_resp.commands.ports import Later, then
from vaylix_resp.errors import WRONG_PASS, CommandError
from vaylix_resp.resp.reply import OK
from vaylix_resp.security.lockout import ADDRESS_RULE, USER_RULE, Try, address_of
from vaylix_resp.security.passwords import digest_of, matching
from vaylix_resp.state.accounts import KEEP_DEFAULT, NO_ADMINISTRATOR

SECRET = "s3cret-of-the-test"


@pytest.fixture
def server():
    return AclServer()


@pytest.fixture
def client(server):
    return server.connect()


def acl(client, line):
    return client.call("ACL", *line.split())


def fits(server, name, password):
    return matching(server.accounts.users[name].passwords, digest_of(password.encode())) is not None


def in_entries(server, text):
    return any(text.encode() in word for entry in server.proposed for word in entry)


@pytest.mark.parametrize("line, reply, entries", [
    ("SETUSER u on ~a (+get ~b )", OK, [("@acl", "setuser", "u", "on", "~a", "(+get ~b )")]),
    ("SETUSER u", OK, [("@acl", "setuser", "u")]),
    ("SETUSER u nonsense", "ERR Error in ACL SETUSER modifier 'nonsense': Syntax error", []),
    ("SETUSER u (+get", "ERR Unmatched parenthesis in acl selector starting at '(+get'.", []),
    ("SETUSER u on >x bogus", "ERR Error in ACL SETUSER modifier 'bogus': Syntax error", []),
    ("SETUSER u role=nosuch", "ERR Error in ACL SETUSER modifier 'role=nosuch': The specified ACL role does not exist", []),
    ("SETUSER default off", f"ERR {NO_ADMINISTRATOR}", [("@acl", "setuser", "default", "off")]),
    ("DELUSER default", f"ERR {KEEP_DEFAULT}", [("@acl", "deluser", "default")]),
    ("DELUSER nosuch other", 0, [("@acl", "deluser", "nosuch", "other")]),
    ("SETROLE r ~a +get", OK, [("@acl", "setrole", "r", "~a", "+get")]),
    ("SETROLE r on", "ERR Error in ACL SETROLE modifier 'on': Syntax error", []),
    ("SETROLE r >secret", "ERR Error in ACL SETROLE modifier '>(redacted)': Syntax error", []),
    ("DELROLE nosuch", 0, [("@acl", "delrole", "nosuch")]),
    ("LOAD", f"ERR {NO_FILE}", []), ("SAVE", f"ERR {NO_FILE}", []),
])  # fmt: skip
def test_what_becomes_of_a_request(server, client, line, reply, entries):
    assert acl(client, line) == reply
    assert [tuple(word.decode() for word in entry) for entry in server.proposed] == entries


def test_an_error_stays_on_one_line_whatever_is_in_the_rule(client):
    assert client.call("ACL", "SETUSER", "u", b"bo\r\ngus\xff") == (
        "ERR Error in ACL SETUSER modifier 'bo  gus\\xff': Syntax error"
    )
    assert client.call("ACL", "SETUSER", "u\r\n", "on") == "ERR Usernames can't contain spaces or null characters"


def test_passwords_are_stored_forms_in_the_log_and_come_back_as_rules(server, client):
    assert acl(client, f"SETUSER u on >{SECRET} >other") == OK
    assert fits(server, "u", SECRET) and fits(server, "u", "other") and not fits(server, "u", "x")
    assert not in_entries(server, SECRET)
    assert acl(client, f"SETUSER u >{SECRET}") == OK
    assert len(server.accounts.users["u"].passwords) == 2
    line = next(line for line in client.call("ACL", "LIST") if line.startswith(b"user u "))
    assert client.call("ACL", "SETUSER", "twin", *line.split()[2:]) == OK
    assert fits(server, "twin", SECRET)
    assert acl(client, f"SETUSER u <{SECRET}") == OK
    assert not fits(server, "u", SECRET) and fits(server, "u", "other")
    reply = acl(client, f"SETUSER u <{SECRET}")
    assert reply.endswith("does not exist") and SECRET not in reply


def test_a_sha256_is_taken_and_not_kept(server, client):
    digest = digest_of(SECRET.encode()).hex()
    assert acl(client, f"SETUSER u on #{digest}") == OK
    assert fits(server, "u", SECRET)
    assert not in_entries(server, digest)
    assert acl(client, f"SETUSER u !{digest}") == OK
    assert server.accounts.users["u"].passwords == []


def test_the_policy_is_asked(server, client):
    server.settings.password_min_length = 30
    assert "password-min-length" in acl(client, f"SETUSER u >{SECRET}")
    server.settings.password_min_length, server.settings.password_history = 0, 1
    assert acl(client, f"SETUSER u on >{SECRET}") == OK
    client.user = "u"
    assert acl(client, f"SETPASS {SECRET} new-one") == OK
    assert "password-history" in acl(client, f"SETPASS new-one {SECRET}")
    server.passwords.full = True
    assert acl(client, "SETUSER u >x") == "BUSY no room"
    assert len(server.proposed) == 2


def test_while_the_password_is_worked_out_the_world_goes_on(server, client):
    acl(client, "SETUSER u on ~a")
    server.hold()
    assert acl(client, f"SETUSER u >{SECRET} +get") == "waits"
    server.accounts.set_user("u", [b"~*"])
    server.go_on()
    assert client.waiting.reply == OK
    assert "~* resetchannels -@all +get" in server.accounts.users["u"].describe()
    acl(client, "SETUSER u resetkeys")
    server.hold()
    assert acl(client, "SETUSER u >x ~b") == "waits"
    server.accounts.set_user("u", [b"~*"])  # now ~b is refused
    server.go_on()
    assert "Adding a pattern after the * pattern" in client.waiting.reply.text


def test_a_client_that_goes_away_meanwhile_changes_nothing(server, client):
    server.hold()
    assert acl(client, f"SETUSER u >{SECRET}") == "waits"
    client.waiting.cancel()
    server.go_on()
    assert server.proposed == [] and "u" not in server.accounts.users


@pytest.mark.parametrize("name", ["SETUSER u on", "DELUSER u", "SETROLE r", "DELROLE r", "SETPASS a b", "LOAD", "SAVE"])
def test_what_waits_cannot_be_part_of_a_transaction(server, client, name):
    client.multi = object()
    assert "transaction" in acl(client, name)
    assert server.proposed == []


def test_setpass(server, client):
    acl(client, f"SETUSER u on >{SECRET} >other")
    client.user = "u"
    assert acl(client, "SETPASS wrong new") == "WRONGPASS invalid username-password pair or user is disabled."
    assert acl(client, f"SETPASS {SECRET} {SECRET}") == SAME_PASSWORD
    assert acl(client, f"SETPASS {SECRET} new-one") == OK
    assert fits(server, "u", "new-one") and fits(server, "u", "other") and not fits(server, "u", SECRET)
    assert not in_entries(server, "new-one")
    assert len(server.accounts.users["u"].history) == 1


def test_setpass_of_one_who_needed_none(server, client):
    assert acl(client, "SETPASS whatever new-one") == OK
    assert fits(server, "default", "new-one") and not server.accounts.users["default"].nopass


def test_setpass_does_not_bring_a_removed_user_back(server, client):
    acl(client, f"SETUSER u on >{SECRET}")
    client.user = "u"
    server.hold()
    assert acl(client, f"SETPASS {SECRET} new-one") == "waits"
    waiting = client.waiting
    held, server.passwords.waiting = server.passwords.waiting, []
    held[0]()  # the old one was right, the new one is being sealed
    server.accounts.delete_users(["u"])
    server.go_on()
    assert waiting.reply.text == f"ERR {GONE}"
    assert acl(client, "SETPASS a b") == f"ERR {GONE}"


@pytest.mark.parametrize("meanwhile, reply", [
    ("SETUSER u #" + "ab" * 32, WRONG_PASS), ("DELUSER u|SETUSER u on nopass", f"ERR {GONE}"), ("SETUSER u ~a", "OK"),
])  # fmt: skip
def test_setpass_without_a_password_is_void_when_the_user_has_been_closed_meanwhile(server, client, meanwhile, reply):
    acl(client, "SETUSER u on nopass")
    client.user = "u"
    server.hold()
    assert acl(client, "SETPASS whatever mine") == "waits"
    held, server.passwords.waiting = server.passwords.waiting, None
    for line in meanwhile.split("|"):
        assert acl(server.connect(), line) in (OK, 1)
    held[0]()
    assert client.waiting.reply.text == str(reply)
    assert fits(server, "u", "mine") is (reply == "OK")


def test_load_and_save(server, client):
    server.acl_file.path = "/etc/users.acl"
    server.acl_file.content = (
        b"# comment\n\nuser u on >" + SECRET.encode() + b" ~a role=r (+get ~b)\nrole r +ping\nuser v off nopass\n"
    )
    assert acl(client, "LOAD") == OK
    assert [line.split()[:3] for line in client.call("ACL", "LIST")] == [
        [b"role", b"r", b"resetchannels"], [b"user", b"default", b"on"], [b"user", b"u", b"on"], [b"user", b"v", b"off"]
    ]  # fmt: skip
    assert fits(server, "u", SECRET) and not in_entries(server, SECRET)
    before = server.accounts.lines()
    assert acl(client, "SAVE") == OK
    assert SECRET.encode() not in server.acl_file.content
    assert acl(client, "LOAD") == OK
    assert server.accounts.lines() == before


def test_load_of_a_file_with_faults_changes_nothing(server, client):
    server.acl_file.path, server.acl_file.content = "f", b"user u >x +nosuch\nuser u on\nhello\n"
    assert acl(client, "LOAD") == (
        "ERR f:3 should start with user keyword followed by the username. "
        "WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
    )
    server.acl_file.content = b"user u >x +nosuch\nuser u on\n"
    assert acl(client, "LOAD").startswith("ERR f:1: Error in applying operation '+nosuch': Unknown command")
    server.acl_file.content = b"user default off\n"
    assert acl(client, "LOAD") == f"ERR {NO_ADMINISTRATOR}"


def test_load_of_a_file_that_cannot_be_read(server, client):
    server.acl_file.path, server.acl_file.content = "f", CommandError("ERR no such file")
    assert acl(client, "LOAD") == "ERR no such file"


MANY = 1500  # more than Python lets calls be nested


def many_users():
    return b"".join(b"user u%d on >p%d\n" % (number, number) for number in range(MANY))


@pytest.mark.parametrize("at_once", [True, False])
def test_load_of_many_passwords(server, client, at_once):
    server.acl_file.path, server.acl_file.content = "f", many_users()
    if at_once:
        assert acl(client, "LOAD") == OK
    else:
        server.hold()
        assert acl(client, "LOAD") == "waits"
        for _ in range(MANY):
            (work,), server.passwords.waiting = server.passwords.waiting, []
            work()
        assert client.waiting.reply == OK
    assert len(server.accounts.users) == MANY + 1 and fits(server, "u7", "p7")


def test_load_ends_where_the_client_leaves_or_the_pool_is_full(server, client):
    server.acl_file.path, server.acl_file.content = "f", many_users()
    server.hold()
    acl(client, "LOAD")
    (work,), server.passwords.waiting = server.passwords.waiting, []
    server.passwords.full = True
    work()
    assert client.waiting.reply.text == "BUSY no room"
    server.passwords.full = False
    acl(client, "LOAD")
    client.waiting.cancel()
    server.go_on()
    assert not server.proposed


def lock_out(server, user, address):
    for _ in range(USER_RULE.limit):
        server.lockout.failed(Try(user, True, address), server.clock.now())


@pytest.mark.parametrize("line, reply, left", [
    ("UNLOCK ALL", 2, 0), ("UNLOCK user u", 1, 1), ("UNLOCK USER nobody", 0, 2), ("UNLOCK ADDR 192.0.2.9", 0, 2),
    ("UNLOCK USER", "ERR unknown subcommand or wrong number of arguments for 'UNLOCK'. Try ACL HELP.", 2),
    ("UNLOCK who u", "ERR Unknown kind of lock 'who': USER, ADDR or ALL", 2),
])  # fmt: skip
def test_unlock(server, client, line, reply, left):
    lock_out(server, "u", "192.0.2.1")
    lock_out(server, "v", "192.0.2.2")
    assert len(server.lockout.locked(server.clock.now())) == 2
    assert acl(client, line) == reply
    assert len(server.lockout.locked(server.clock.now())) == left


def test_unlock_an_address(server, client):
    for number in range(ADDRESS_RULE.limit):
        server.lockout.failed(Try(f"user{number}", False, "192.0.2.3"), server.clock.now())
    assert acl(client, "UNLOCK ADDR 192.0.2.3") == 1
    assert server.lockout.locked(server.clock.now()) == []


@pytest.mark.parametrize("written", ["2001:db8::5", "2001:db8::99", "[2001:db8::5]:4000", "2001:db8::/64"])
def test_an_ipv6_address_stands_for_the_network_that_was_locked(server, client, written):
    for number in range(ADDRESS_RULE.limit):
        server.lockout.failed(Try(f"user{number}", False, address_of("[2001:db8::5]:4000")), server.clock.now())
    assert acl(client, f"UNLOCK ADDR {written}") == 1
    assert server.lockout.locked(server.clock.now()) == []


def test_unlock_all_reaches_names_that_no_user_can_have(server, client):
    lock_out(server, "not a user", "192.0.2.4")
    assert acl(client, "UNLOCK ALL") == 1
    assert server.lockout.locked(server.clock.now()) == []


def test_a_step_that_refuses_ends_the_chain():
    first = Later()

    def refuse(reply):
        raise CommandError(f"ERR {reply}")

    chained = then(first, refuse)
    heard = []
    chained.listen(heard.append)
    first.resolve("no")
    assert heard[0].text == "ERR no"
