"""What users may do on a real session: rows, single requests, transactions, subscriptions, and changes in between."""

import pytest

from tests.unit.server.front import Stage

PASS = "WRONGPASS invalid username-password pair or user is disabled."
NO_KEY = "-NOPERM No permissions to access a key"


def no_command(user, name):
    return f"-NOPERM User {user} has no permissions to run the '{name}' command"


@pytest.fixture
def stage():
    made = Stage()
    made.admin = made.connect()
    yield made
    made.close()


def enter(stage, *rules, name="u"):
    """A session of a new user with these rules."""
    assert stage.admin.ask(f"ACL SETUSER {name} on nopass {' '.join(rules)}") == ["+OK"]
    return stage.connect(f"AUTH {name} x")


def test_a_row_of_requests_is_refused_one_by_one(stage):
    client = enter(stage, "~a:*", "+get", "+set")
    assert client.ask("SET a:1 x", "SET b:1 x", "SET a:2 y") == ["+OK", NO_KEY, "+OK"]
    assert client.ask("GET a:1", "GET a:2", "GET b", "GET a:1", "DEL a:1") == ["x", "y", NO_KEY, "x", no_command("u", "del")]
    info = stage.shared.stats
    assert (info.acl_access_denied_key, info.acl_access_denied_cmd) == (2, 1)


def test_rows_of_a_limited_user_stay_rows(stage, monkeypatch):
    client = enter(stage, "~a:*", "+get", "+set")
    monkeypatch.setattr(type(client.session), "single", None)
    assert client.ask(*[f"SET a:{n} x" for n in range(9)]) == ["+OK"] * 9
    assert client.ask(*[f"GET a:{n}" for n in range(9)]) == ["x"] * 9


@pytest.mark.parametrize(
    "rules, line, reply",
    [
        ("%R~a %W~b +copy", "COPY a b", ":0"),
        ("%R~a %W~b +copy", "COPY b a", NO_KEY),
        ("%R~a +set +get", "SET a 1", NO_KEY),
        ("~a +mget", "MGET a b", NO_KEY),
        ("~* +sort", "SORT a BY w_*", "[]"),
        ("~a +sort", "SORT a BY w_*", "-ERR BY option of SORT denied due to insufficient ACL permissions."),
        ("~a +sort", "SORT a GET o_*", "-ERR GET option of SORT denied due to insufficient ACL permissions."),
        ("+publish &c", "PUBLISH c x", ":0"),
        ("+publish &c", "PUBLISH d x", "-NOPERM No permissions to access a channel"),
        ("+config|get", "CONFIG GET port", None),
        ("+config|get", "CONFIG SET hz 10", no_command("u", "config|set")),
        ("+get (~b +set)", "SET b 1", "+OK"),
        ("+@all -@dangerous ~* &*", "FLUSHALL", no_command("u", "flushall")),
    ],
)
def test_decisions(stage, rules, line, reply):
    client = enter(stage, rules)
    (found,) = client.ask(line)
    assert found == reply if reply is not None else not found.startswith("-")


def test_databases(stage):
    client = enter(stage, "~*", "+@all", "db=0,1")
    assert client.ask("SELECT 1", "SET a 1", "SELECT 2") == ["+OK", "+OK", "-NOPERM No permissions to access database"]
    assert client.ask("MULTI", "SELECT 0", "SET b 1", "EXEC") == ["+OK", "+QUEUED", "+QUEUED", "[+OK +OK]"]
    assert stage.shared.stats.acl_access_denied_db == 1


def test_what_changes_a_database_without_naming_a_key_needs_a_right_to_it(stage):
    client = enter(stage, "~*", "+@all")
    client.ask("SELECT 3")
    stage.admin.ask("ACL SETUSER u db=0")
    no = "-NOPERM No permissions to access database"
    assert client.ask("FLASHBACK RESTORE * -5m", "BACKUP RESTORE x", "FLUSHALL", "DBSIZE") == [no] * 4
    assert client.ask("SELECT 0") == ["+OK"]
    assert client.ask("BACKUP RESTORE x") == [no], "which replaces all of them"


def test_a_refusal_while_queueing_ends_the_transaction(stage):
    client = enter(stage, "~a", "+@all")
    found = client.ask("MULTI", "SET a 1", "SET b 1", "EXEC")
    assert found == ["+OK", "+QUEUED", NO_KEY, "-EXECABORT Transaction discarded because of previous errors."]
    (entry,) = stage.shared.acl_log.newest(9)
    assert (entry.reason, entry.context, entry.object, entry.username) == ("key", "multi", b"b", b"u")


def test_rights_that_went_between_queueing_and_exec(stage):
    client = enter(stage, "~a", "~b", "+@all")
    client.ask("MULTI", "SET a 1", "SET b 1", "GET a")
    stage.admin.ask("ACL SETUSER u resetkeys ~a")
    (reply,) = client.ask("EXEC")
    assert reply.startswith("[+OK -NOPERM ACLs rules changed between the moment") and reply.endswith("touch the specified keys 1]")
    stage.admin.ask("ACL SETUSER u ~b")
    client.ask("MULTI", "SET a 2", "GET a")
    stage.admin.ask("ACL SETUSER u -set")
    (reply,) = client.ask("EXEC")
    assert "execute the command or subcommand" in reply and reply.endswith(" 1]")


def test_a_sort_by_other_keys_that_may_not_be_read_any_more(stage):
    client = enter(stage, "~*", "+@all")
    client.ask("MULTI", "SORT a BY w_*", "SET a 1")
    stage.admin.ask("ACL SETUSER u resetkeys ~a")
    assert client.ask("EXEC") == ["[-ERR BY option of SORT denied due to insufficient ACL permissions. +OK]"]


def test_new_rights_count_for_sessions_that_are_there(stage):
    client = enter(stage, "~a", "+get")
    stage.admin.ask("SET b 1")
    assert client.ask("GET b") == [NO_KEY]
    stage.admin.ask("ACL SETROLE r ~b +get", "ACL SETUSER u role=r")
    assert client.ask("GET b") == ["1"]
    stage.admin.ask("ACL SETUSER u resetroles")
    assert client.ask("GET b") == [NO_KEY]


CHANGED = (
    "-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is "
    "no longer allowed for the following reason: no permission to touch the specified keys"
)


@pytest.mark.parametrize("setting", ["", "CLIENT TRACKING ON", "CLIENT NO-TOUCH ON"])
def test_a_read_that_waits_is_answered_by_the_rights_of_when_it_runs(stage, setting):
    """On a follower it waits for what was written since: that may have been written because the user lost its rights."""
    client = enter(stage, "~a:*", "+@all")
    stage.admin.ask("SET a:1 before", "SET b secret")
    if setting:
        client.ask("HELLO 3", setting)
    stage.admin.send("ACL SETUSER u resetkeys ~b", "SET a:1 secret")
    got = client.ask("SET a:2 x", "GET a:1", "MGET a:1 a:2", "SELECT 1", "SELECT 0", "MULTI", "GET a:1", "ECHO y", "EXEC")
    got = [one for one in got if not one.startswith(">")]  # what tracking says
    assert got == ["+OK", NO_KEY, NO_KEY, "+OK", "+OK", "+OK", "+QUEUED", "+QUEUED", f"[{CHANGED} y]"]
    assert client.ask("STRLEN b", "GET a:1") == [":6", NO_KEY]
    assert stage.shared.stats.acl_access_denied_key == 4


def test_requests_behind_a_change_of_one_s_own_rights_feel_it(stage):
    client = enter(stage, "~*", "&*", "+@all")
    assert client.ask("ACL SETUSER u -get", "GET a") == ["+OK", no_command("u", "get")]


def test_a_deleted_user_loses_its_connections(stage):
    client, own = enter(stage, "~*", "+@all"), enter(stage, "~*", "+@all", name="v")
    assert stage.admin.ask("ACL DELUSER u") == [":1"]
    assert client.closed and not own.closed
    assert own.ask("ACL DELUSER v") == [":1"]
    assert own.closed
    assert stage.connect().ask("AUTH u x") == [f"-{PASS}"]


def test_a_user_of_the_same_name_is_another_one(stage):
    client = enter(stage, "~*", "+@all")
    stage.admin.send("ACL DELUSER u", "ACL SETUSER u on nopass +@all")  # in one batch
    stage.commit()
    assert client.closed


@pytest.mark.parametrize("line, kept", [("SUBSCRIBE c", "&c"), ("PSUBSCRIBE p*", "&p*"), ("SSUBSCRIBE c", "&c")])
def test_who_loses_a_channel_is_dropped(stage, line, kept):
    client = enter(stage, "&*", "+@all")
    client.ask(line)
    stage.admin.ask(f"ACL SETUSER u resetchannels {kept}")
    assert not client.closed
    stage.admin.ask("ACL SETUSER u resetchannels &other")
    assert client.closed


def test_who_loses_monitor_is_dropped(stage):
    client = enter(stage, "+@all", "~a")
    assert client.ask("MONITOR") == ["+OK"]
    stage.admin.ask("ACL SETUSER u -get")
    assert not client.closed
    stage.admin.ask("ACL SETUSER u -@dangerous")
    assert client.closed


def test_client_list_and_whoami(stage):
    client = enter(stage, "+@all")
    assert client.ask("ACL WHOAMI") == ["u"]
    assert " user=u " in "".join(stage.admin.ask("CLIENT LIST"))
    assert stage.admin.ask("CLIENT KILL USER u", "CLIENT KILL USER nobody") == [":1", "-ERR No such user 'nobody'"]
    assert client.closed


def test_a_user_that_expires_is_closed(stage):
    client = enter(stage, "~*", "+@all", "expireat", f"{stage.clock.ms // 1000 + 60}")
    client.session.check_limits(stage.clock.now())
    assert not client.closed
    stage.wait(61)
    client.session.check_limits(stage.clock.now())
    assert client.closed
    assert stage.connect().ask("AUTH u x") == [f"-{PASS}"]


# Log-ins.


def test_a_password_of_the_default_user_asks_those_who_come_later(stage):
    early = stage.connect()
    assert stage.admin.ask("ACL SETUSER default >secret") == ["+OK"]
    assert early.ask("PING") == ["+PONG"]
    late = stage.connect()
    assert late.ask("PING", "AUTH wrong", "AUTH secret", "PING") == [
        "-NOAUTH Authentication required.", f"-{PASS}", "+OK", "+PONG"
    ]  # fmt: skip
    (entry,) = stage.shared.acl_log.newest(9)
    assert (entry.reason, entry.object, entry.username) == ("auth", b"AUTH", b"default")
    assert late.ask("HELLO 3 AUTH default secret SETNAME n", "CLIENT GETNAME")[-1] == "n"
    assert late.ask("RESET", "PING") == ["+RESET", "-NOAUTH Authentication required."]


def test_config_set_requirepass_changes_the_state(stage):
    assert stage.admin.ask("CONFIG SET requirepass one") == ["+OK"]
    assert stage.connect().ask("PING", "AUTH one") == ["-NOAUTH Authentication required.", "+OK"]
    stage.settings.set_many([("password-min-length", "8")])
    (refused,) = stage.admin.ask("CONFIG SET requirepass two")
    assert "password-min-length" in refused
    assert stage.settings.requirepass == "one"
    assert stage.admin.ask(("CONFIG", "SET", "requirepass", "")) == ["+OK"]
    assert stage.connect().ask("PING") == ["+PONG"]


def test_too_many_failures_lock_the_user_and_unlock_ends_it(stage):
    stage.admin.ask("ACL SETUSER u on >right +@all", "CONFIG SET login-user-limit 3")
    known, client = stage.connect("AUTH u right"), stage.connect(peer=("127.0.0.2", 5))
    for _ in range(3):
        assert client.ask("AUTH u guess") == [f"-{PASS}"]
    assert client.ask("AUTH u right")[0].startswith("-LOCKED")
    assert known.ask("PING") == ["+PONG"], "who is in stays in"
    assert stage.admin.ask("ACL UNLOCK USER u", "ACL LOG RESET") == [":1", "+OK"]
    assert client.ask("AUTH u right") == ["+OK"]
    assert "login_locks_" in stage.shared.info(["stats"])


def test_what_follows_a_log_in_waits_for_it(stage):
    """The password takes time to be worked out; requests in the same packet run as the new user."""
    stage.admin.ask("ACL SETUSER u on >right +acl|whoami")
    held = []
    stage.shared.entrance._workers.run = lambda work, finished: held.append((work, finished))
    client = stage.connect()
    client.send("AUTH u right", "ACL WHOAMI")
    assert client.heard() == []
    ((work, finished),) = held
    finished(work())
    assert client.heard() == ["+OK", "u"]
    gone = stage.connect()
    gone.send("AUTH u wrong")
    gone.wire.lose()
    finished = held[1][1]
    finished(held[1][0]())
    assert stage.shared.stats.acl_access_denied_auth == 1, "hanging up is no way to guess unseen"
    blocked = stage.connect("MULTI", "AUTH u other", "EXEC")
    assert not blocked.closed and stage.shared.acl_log.newest(1)[0].username == b"u"
