"""`key-size-max`, `value-size-max`, `command-keys-max`: what is refused, in rows, alone and in transactions."""

import pytest

from tests.unit.server.front import Stage

KEY = "-LIMIT a key of {} bytes: at most 4 are allowed (key-size-max)"
VALUE = "-LIMIT a value of {} bytes: at most 4 are allowed (value-size-max)"
KEYS = "-LIMIT {} keys in one command: at most 2 are allowed (command-keys-max)"
LIMITS = {"key_size_max": 4, "value_size_max": 4, "command_keys_max": 2}


@pytest.fixture
def stage():
    stage = Stage(**LIMITS)
    yield stage
    stage.close()


# Each: a request, and its refusal; or what it answers.
CASES = {
    "a key as long as may be": ("SET kkkk 1", "+OK"),
    "a longer one": ("SET kkkkk 1", KEY.format(5)),
    "one of several": ("MSET a 1 kkkkkk 2", KEY.format(6)),
    "a new name": ("RENAME a kkkkk", KEY.format(5)),
    "a copy": ("COPY a kkkkk", KEY.format(5)),
    "a key that can only go": ("DEL kkkkk", ":0"),
    "a key that is only read": ("GET kkkkkkkk", "_"),
    "a value as long as may be": ("SET a 1234", "+OK"),
    "a longer value": ("SET a 12345", VALUE.format(5)),
    "one of several values": ("MSET a 1 b 123456", VALUE.format(6)),
    "with options": ("SET a 12345 EX 10", VALUE.format(5)),
    "a long value that is only looked for": ("ECHO 12345", "12345"),
    "appended": ("APPEND v 34", VALUE.format(5)),
    "appended as far as may be": ("APPEND v 3", ":4"),
    "appended to nothing": ("APPEND new 1234", ":4"),
    "appended to what is none": ("APPEND v", "-ERR wrong number of arguments for 'append' command"),
    "set behind its end": ("SETRANGE v 3 xx", VALUE.format(5)),
    "set up to its end": ("SETRANGE v 2 xx", ":4"),
    "nothing set behind its end": ("SETRANGE v 9 ''", VALUE.format(11)),
    "a bit": ("SETBIT v 32 1", VALUE.format(5)),
    "the last bit": ("SETBIT v 31 1", ":0"),
    "no bit": ("SETBIT v x 1", "-ERR bit offset is not an integer or out of range"),
    "a field": ("BITFIELD v SET u8 #4 1", VALUE.format(5)),
    "a field that is read": ("BITFIELD v GET u8 #4", "[:0]"),
    "no field": ("BITFIELD v SET x9 0 1", "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."),
    "a number that grows": ("INCR n", ":10000"),
    "as many keys as may be": ("MGET a b", "[_ _]"),
    "too many read": ("MGET a b c", KEYS.format(3)),
    "too many written": ("MSET a 1 b 2 c 3", KEYS.format(3)),
    "too many counted": ("EXISTS a a a", KEYS.format(3)),
    "too many gone": ("DEL a b c d", KEYS.format(4)),
    "too many watched": ("WATCH a b c", KEYS.format(3)),
    "a count of keys": ("LCS a b", ""),
    "channels are no keys": ("SSUBSCRIBE a b c", None),
}  # fmt: skip


@pytest.mark.parametrize("request_, reply", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("how", ["alone", "in a row"])
def test_cases(how, request_, reply):
    stage = Stage()
    client = stage.connect("SET v 123", "SET n 9999")
    stage.settings.set_many([(name.replace("_", "-"), str(value)) for name, value in LIMITS.items()])
    found = client.ask(*[request_] * (1 if how == "alone" else 5))
    if reply is not None:
        assert found[0] == reply
        assert stage.shared.stats.limit_refused_sizes == sum(text.startswith("-LIMIT") for text in found)
    stage.close()


def test_only_the_request_that_is_too_large_is_refused(stage):
    client = stage.connect()
    lines = [f"SET k{n} {'x' * n}" for n in range(1, 8)]
    assert client.ask(*lines, "GET k4", "GET k5") == ["+OK"] * 4 + [VALUE.format(n) for n in (5, 6, 7)] + ["xxxx", "_"]


@pytest.mark.parametrize("line, refusal", [("SET kkkkk 1", KEY.format(5)), ("APPEND a 12345", VALUE.format(5))])
def test_a_transaction_with_a_refused_request_is_aborted(stage, line, refusal):
    client = stage.connect()
    assert client.ask("MULTI", "SET a 1", line, "EXEC", "GET a") == [
        "+OK", "+QUEUED", refusal, "-EXECABORT Transaction discarded because of previous errors.", "_",
    ]  # fmt: skip


def test_append_inside_a_transaction_is_asked_of_the_database_that_it_selects(stage):
    client = stage.connect("SELECT 3", "SET v 1234", "SELECT 0")
    assert client.ask("MULTI", "APPEND v 1", "SELECT 3", "APPEND v 1", "DISCARD")[1:4] == [
        "+QUEUED", "+QUEUED", VALUE.format(5),
    ]  # fmt: skip


def test_a_refusal_by_rights_comes_first(stage):
    stage.connect("ACL SETUSER u on nopass ~a +set")
    client = stage.connect("AUTH u x")
    (refusal,) = client.ask("SET kkkkk 1")
    assert refusal.startswith("-NOPERM")


def test_what_was_there_before_can_be_read_and_removed():
    stage = Stage()
    client = stage.connect("SET longkey 123456789")
    stage.settings.set_many([("key-size-max", "4"), ("value-size-max", "4")])
    assert client.ask("GET longkey", "RENAME longkey k", "GET k", "STRLEN k", "GETDEL k") == [
        "123456789", "+OK", "123456789", ":9", "123456789",
    ]  # fmt: skip
    stage.settings.set_many([("key-size-max", "0"), ("value-size-max", "0")])
    assert stage.shared.sizes is None and client.ask("SET longkey 123456789") == ["+OK"]
    stage.close()
