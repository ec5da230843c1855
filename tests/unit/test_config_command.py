"""CONFIG GET, SET and REWRITE over Settings. Error texts are those of redis-server 7.0.15, taken from it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_config import files, from_file
from vaylix_resp.config import SavePoint, Settings, load
from vaylix_resp.config_text import rewrite
from vaylix_resp.directives import DIRECTIVES
from vaylix_resp.errors import CommandError
from vaylix_resp.glob import TOGETHER_BYTES_MAX

# ---- CONFIG GET


def test_values_are_printed_as_redis_prints_them():
    settings = from_file("save 900 1\nnotify-keyspace-events KEg$lshzxetd\nunixsocketperm 700\nmaxmemory 100mb\n")
    assert settings.get_matching(["save", "notify*", "unixsocketperm", "MAXMEMORY", b"appendonly", "nothing"]) == {
        "save": "900 1",
        "notify-keyspace-events": "AKE",
        "unixsocketperm": "700",
        "maxmemory": "104857600",
        "appendonly": "yes",
    }
    assert Settings().get_matching(["client-output-buffer-limit", "latency-tracking*", "save", "dir"]) == {
        "client-output-buffer-limit": "normal 134217728 67108864 60 slave 268435456 67108864 60"
        " pubsub 33554432 8388608 60",
        "latency-tracking": "yes",
        "latency-tracking-info-percentiles": "50 99 99.9",
        "save": "",
        "dir": str(Path.cwd() / "default.vaylix"),
    }


@pytest.mark.parametrize(
    "given_letters, printed", [("KEg", "gKE"), ("AKE", "AKE"), ("AKEmn", "AnKEm"), ("", ""), ("mK", "Km")]
)
def test_keyspace_events_have_one_spelling(given_letters, printed):
    assert load(environ={"VAYLIX_NOTIFY_KEYSPACE_EVENTS": given_letters}).notify_keyspace_events == printed


def test_what_tools_ask_for_has_an_answer():
    wanted = (
        "maxmemory maxmemory-policy maxclients notify-keyspace-events databases timeout requirepass io-threads"
        " slowlog-log-slower-than slowlog-max-len latency-monitor-threshold proto-max-bulk-len"
        " client-output-buffer-limit min-replicas-to-write bind port tls-port dir dbfilename aclfile save appendonly"
    ).split()
    assert set(Settings().get_matching(wanted)) == set(wanted)


def test_patterns_that_would_take_long_are_refused_before_they_are_tried():
    with pytest.raises(CommandError, match=f"the patterns of one request are longer than {TOGETHER_BYTES_MAX} bytes"):
        Settings().get_matching([b"*e*e*z"] * 1000)


# ---- CONFIG SET


def set_error(settings, *words):
    with pytest.raises(CommandError) as caught:
        settings.set_many(list(zip(words[::2], words[1::2], strict=True)))
    return caught.value.text


@pytest.mark.parametrize(
    "words, name, text",
    [
        (["timeout", "abc"], "timeout", "argument couldn't be parsed into an integer"),
        (["timeout", "-1"], "timeout", "argument must be between 0 and 2147483647 inclusive"),
        (["timeout", "1", "timeout", "2"], "timeout", "duplicate parameter"),
        (["Timeout", "3", "TIMEOUT", "4"], "TIMEOUT", "duplicate parameter"),
        (["databases", "3", "nosuch", "4"], "databases", "can't set immutable config"),
        (["dir", "/"], "dir", "can't set protected config"),
        (["appendfsync", "x"], "appendfsync", "argument(s) must be one of the following: everysec, always, no"),
        (["loglevel", "x"], "loglevel", "argument(s) must be one of the following: debug, verbose, notice, warning"),
        (["appendonly", "maybe"], "appendonly", "argument must be 'yes' or 'no'"),
        (["maxmemory", "1x"], "maxmemory", "argument must be a memory value"),
        (["maxclients", "0"], "maxclients", "argument must be between 1 and 4294967295 inclusive"),
        (["save", "900 1 foo"], "save", "Invalid save parameters"),
        (["slowlog-log-slower-than", "-5"], "slowlog-log-slower-than",
         "argument must be between -1 and 9223372036854775807 inclusive"),
        (["client-query-buffer-limit", "1"], "client-query-buffer-limit",
         "argument must be between 1048576 and 9223372036854775807 inclusive"),
        (["io-threads", "2"], "io-threads", "can't set immutable config"),
        (["appendonly", "no"], "appendonly", "the log cannot be switched off; 'appendfsync no' is the weakest setting"),
        (["stop-writes-on-bgsave-error", "yes"], "stop-writes-on-bgsave-error",
         "a failed snapshot loses nothing: the log has every write"),
    ],
)  # fmt: skip
def test_a_refused_change_has_the_text_of_redis(words, name, text):
    settings = Settings()
    assert set_error(settings, *words) == f"ERR CONFIG SET failed (possibly related to argument '{name}') - {text}"


@pytest.mark.parametrize("words", [["nosuch", "1"], ["nosuch", "1", "timeout", "5"], ["nosuch", "1", "databases", "3"]])
def test_an_unknown_directive_has_the_text_of_redis(words):
    assert set_error(Settings(), *words) == "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"
    assert "\n" not in set_error(Settings(), "a\r\nb" * 1000, "1")
    assert len(set_error(Settings(), "a" * 100_000, "1")) < 1000


def test_a_change_is_all_or_nothing():
    settings = Settings()
    told = []
    settings.subscribe("timeout", told.append)
    set_error(settings, "timeout", "5", "hz", "x")
    assert (settings.timeout, told) == (0, [])
    settings.set_many(
        [(b"TIMEOUT", b"5"), ("save", "900 1"), ("hz", "10000"), ("client-output-buffer-limit", "slave 1 1 1")]
    )
    assert (settings.timeout, settings.hz, told) == (5, 500, [5])
    assert settings.client_output_buffer_limit.normal == Settings().client_output_buffer_limit.normal
    settings.set_many([("save", "60 2")])
    assert settings.save == (SavePoint(60, 2),)
    settings.set_many([("save", ""), ("appendonly", "yes"), ("stop-writes-on-bgsave-error", "no")])
    assert settings.save == ()
    assert settings.sources["timeout"] == "CONFIG SET"


def test_a_subscriber_that_refuses_undoes_the_whole_change():
    settings, told = Settings(), []

    def no_more_than_a_hundred(value):
        if value > 100:
            raise ValueError("only 100 file descriptors")

    settings.subscribe("timeout", told.append)
    settings.subscribe("maxclients", no_more_than_a_hundred)
    settings.set_many([("maxclients", "50")])
    text = set_error(settings, "timeout", "5", "maxclients", "200", "hz", "20")
    assert text == "ERR CONFIG SET failed (possibly related to argument 'maxclients') - only 100 file descriptors"
    assert (settings.timeout, settings.maxclients, settings.hz, told) == (0, 50, 10, [5, 0])


def test_a_subscriber_that_refuses_the_first_of_all_does_so_too():
    """It is told the old value afterwards, like those before it: it may have acted before it refused."""
    settings = Settings()

    def refuse(value):
        if value != Settings().timeout:
            raise ValueError("no")

    settings.subscribe("timeout", refuse)
    assert set_error(settings, "timeout", "9").endswith("- no")
    assert settings.timeout == 0


def test_settings_never_print_their_values():
    assert "hush" not in repr(load(options=["--requirepass", "hush"]))


# ---- CONFIG REWRITE


def test_rewriting_needs_a_file():
    with pytest.raises(CommandError) as caught:
        Settings().rewrite()
    assert caught.value.text == "ERR The server is running without a config file"


def rewritten(text, changes, **others):
    read = files(a_conf=text, **others)
    settings = load("a.conf", read_text=read)
    settings.set_many(changes)
    new = settings.rewrite(read)
    again = load("a.conf", read_text=files(a_conf=new, **others))
    assert {n: again.value(n) for n in DIRECTIVES} == {n: settings.value(n) for n in DIRECTIVES}
    assert again.rewrite(files(a_conf=new, **others)) == new, "a second rewrite changes nothing"
    return new


TEXT = "# mine\nTimeout 7\nsave 900 1\n\nsave 60 5\n  loglevel  'notice'  \nmin-slaves-to-write 0\nhz 10"


def test_rewriting_without_a_change_keeps_every_byte():
    assert rewritten(TEXT, []) == TEXT
    assert rewritten(TEXT, [("timeout", "7"), ("maxclients", "10000")]) == TEXT


def test_limits_of_users_have_a_line_each():
    lines = "user-limit alice requests 100 burst 200\nuser-limit * connections 5\n"
    new = rewritten(lines, [("user-limit", "alice requests 100 burst 200 role:batch bytes 1mb connections 4")])
    assert new == "user-limit alice requests 100 burst 200\nuser-limit role:batch bytes 1mb connections 4\n"
    assert rewritten(new, [("user-limit", "")]) == 'user-limit ""\n'
    assert Settings().get_matching(["user-limit"]) == {"user-limit": ""}


def test_rewriting_changes_only_the_lines_that_differ():
    new = rewritten(
        TEXT, [("timeout", "9"), ("save", "10 1 20 2 30 3"), ("slowlog-max-len", "5"), ("requirepass", 'a "b')]
    )
    assert new == (
        "# mine\ntimeout 9\nsave 10 1\nsave 20 2\nsave 30 3\n\n  loglevel  'notice'  \nmin-slaves-to-write 0\nhz 10\n\n"
        '# Generated by CONFIG REWRITE\nslowlog-max-len 5\nrequirepass "a \\"b"\n'
    )
    assert 'save ""\n' in rewritten(TEXT, [("save", "")])
    once = rewritten("", [("timeout", "1")])
    assert once == "# Generated by CONFIG REWRITE\ntimeout 1\n"
    assert rewritten(once, [("hz", "20")]) == "# Generated by CONFIG REWRITE\ntimeout 1\nhz 20\n"


def test_rewriting_goes_behind_an_include_that_says_otherwise():
    text = "timeout 5\ninclude b.conf\nhz 20\n"
    assert rewritten(text, [("timeout", "7"), ("hz", "30")], b_conf="timeout 10\nhz 11\n") == (
        "include b.conf\nhz 30\n\n# Generated by CONFIG REWRITE\ntimeout 7\n"
    )


def test_a_secret_from_elsewhere_stays_out_of_the_file():
    read = files(a_conf="timeout 1\n")
    settings = load("a.conf", ["--requirepass", "hush", "--timeout", "2"], {}, read)
    assert settings.rewrite(read) == "timeout 2\n"
    settings.set_many([("requirepass", "new")])
    assert "requirepass new" in settings.rewrite(read)


def test_a_file_that_became_unreadable_is_an_error_reply():
    settings = from_file("timeout 1\n")
    for text in ({}, {"a_conf": 'x "'}):
        with pytest.raises(CommandError) as caught:
            settings.rewrite(files(**text))
        assert caught.value.text.startswith("ERR Rewriting config file: a.conf")


@given(st.text("ab# \n\t", max_size=30))
def test_rewriting_nothing_is_the_identity(text):
    assert rewrite(text, {}, {}) == text
