"""Settings: words and quotes, the table, sources, refusals. (CONFIG itself: test_config_command.py)"""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vaylix_resp.config import ConfigError, OutputLimit, SavePoint, Settings, load
from vaylix_resp.config_text import quote, split_words
from vaylix_resp.config_values import BadValue
from vaylix_resp.directives import ALIASES, DIRECTIVES, GROUPS
from vaylix_resp.directives_redis import IGNORED, REFUSED

CONF = Path(__file__).parents[2] / "conf" / "vaylix.conf"
MIB = 1 << 20

any_word = st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


def files(**texts):
    """A reader of configuration files that exist only here; `a_conf` is the file a.conf."""

    def read_text(path):
        try:
            return texts[path.replace(".", "_")]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    return read_text


def from_file(text, **others):
    return load("a.conf", read_text=files(a_conf=text, **others))


def refused(*args, **kwargs):
    with pytest.raises(ConfigError) as caught:
        load(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.exit_code == 78
    return text


# ---- words and quotes


@given(st.lists(any_word, max_size=6), st.sampled_from([" ", "\t", "  \t "]))
@example(['a"b', "", "\\", "'", "#", "\n\r\0\x07\b", "\udcff"], " ")
def test_quoted_words_come_back_whatever_they_hold(words, gap):
    line = gap.join(quote(word) for word in words)
    assert split_words(line) == words
    assert "\n" not in line


@given(any_word)
def test_any_line_is_split_or_refused_but_never_breaks(line):
    words = split_words(line)
    assert words is None or split_words(" ".join(map(quote, words))) == words


@pytest.mark.parametrize(
    "line, words",
    [
        ("", []),
        ("  a\tb  c ", ["a", "b", "c"]),
        ('"a b" c', ["a b", "c"]),
        ("'a\\'b\\n'", ["a'b\\n"]),
        ('"\\x41\\x4g\\n\\t\\r\\b\\a\\q\\""', ['Ax4g\n\t\r\b\aq"']),
        ('pre"fix"', ["prefix"]),
        ('"a"b', None),
        ("'a'b", None),
        ('"open', None),
        ("'open", None),
        ('"open\\"', None),
        ('""', [""]),
        ("a\0b c", ["a"]),  # a C string ends there
        ("\v\fa\vb", ["a\vb"]),  # skipped in front, ordinary inside a word
    ],
)
def test_words_are_split_by_the_rules_of_redis(line, words):
    assert split_words(line) == words


# ---- the table


def test_every_default_survives_being_written_and_read():
    for directive in DIRECTIVES.values():
        value = None
        base = DIRECTIVES[directive.name].default
        for number, words in enumerate(directive.spec.kind.lines(directive.default)):
            value = directive.parse(tuple(words), value if number else base, again=number > 0)
        assert value == directive.default, directive.name


def test_the_table_is_complete_and_unambiguous():
    for directive in DIRECTIVES.values():
        assert directive.spec.group in GROUPS
        assert directive.spec.help and not directive.spec.help.endswith("."), directive.name
        assert not (directive.spec.only and directive.spec.inert)
    names = [*DIRECTIVES, *ALIASES, *IGNORED, *REFUSED]
    assert len(names) == len(set(names))
    assert set(ALIASES.values()) <= set(DIRECTIVES)


def test_the_commented_configuration_is_exactly_the_defaults():
    settings = load(str(CONF))
    default = Settings()
    assert {n: settings.value(n) for n in DIRECTIVES} == {n: default.value(n) for n in DIRECTIVES}
    assert set(settings.sources) == set(DIRECTIVES), "conf/vaylix.conf explains every directive"
    assert settings.warnings == []
    locked = {name for name, d in DIRECTIVES.items() if d.spec.locked}
    marked = set()
    for paragraph in re.split(r"\n\s*\n", CONF.read_text().split("---- network")[1]):
        if "(start)" in paragraph or ": start)" in paragraph:
            marked |= {line.split()[0] for line in paragraph.splitlines() if line and not line.startswith("#")}
    assert locked <= marked, locked - marked
    assert marked - locked == {"stop-writes-on-bgsave-error"}  # shares its paragraph with dbfilename


# ---- sources


def test_a_stronger_source_wins_and_is_named():
    read = files(a_conf="timeout 1\nhz 20\nmaxclients 7\n")
    environ = {"VAYLIX_TIMEOUT": "2", "VAYLIX_HZ": "30", "HOME": "/root"}
    settings = load("a.conf", ["--timeout", "3"], environ, read)
    assert (settings.timeout, settings.hz, settings.maxclients, settings.port) == (3, 30, 7, 6379)
    assert settings.sources == {"timeout": "command line", "hz": "VAYLIX_HZ", "maxclients": "a.conf:3"}


def test_a_line_of_the_file_that_the_environment_overrules_is_warned_of_without_its_value():
    read = files(a_conf="dir /srv/a\nrequirepass one\ntimeout 1\n")
    environ = {"VAYLIX_DIR": "/data", "VAYLIX_REQUIREPASS": "two", "VAYLIX_TIMEOUT": "1"}
    assert load("a.conf", ["--timeout", "3"], environ, read).warnings == [
        f"a.conf:{number}: {name} does not count: {variable} says otherwise, and wins over the file"
        for number, name, variable in [(1, "dir", "VAYLIX_DIR"), (2, "requirepass", "VAYLIX_REQUIREPASS")]
    ], "what is the same, or comes from the command line, surprises nobody"


def test_a_file_has_comments_quotes_sizes_and_repeated_directives():
    settings = from_file(
        "# comment\n\n  Timeout 7 \r\n save 900 1\nsave 300 10 60 5\nsnapshot-log-size 1gb\nmaxmemory 5k\n"
        'requirepass "a b\\x01"\nclient-output-buffer-limit normal 1mb 2kb 5\n'
        "client-output-buffer-limit slave 1 2 3 pubsub 0 0 0\nbind 127.0.0.1 -::1\nlatency-tracking no\n"
    )
    assert settings.timeout == 7
    assert settings.save == (SavePoint(900, 1), SavePoint(300, 10), SavePoint(60, 5))
    assert settings.snapshot_log_size == 1 << 30
    assert settings.maxmemory == 5000
    assert settings.requirepass == "a b\x01"
    limits = settings.client_output_buffer_limit
    assert limits.normal == OutputLimit(MIB, 2048, 5)
    assert (limits.replica, limits.pubsub) == (OutputLimit(1, 2, 3), OutputLimit(0, 0, 0))
    assert settings.bind == ("127.0.0.1", "-::1")
    assert settings.latency_tracking is False


def test_save_of_a_stronger_source_replaces_the_list_and_empty_clears_it():
    read = files(a_conf="save 900 1\nsave 60 5\n")
    assert load("a.conf", ["--save", "10", "2"], {}, read).save == (SavePoint(10, 2),)
    assert load("a.conf", ["--save", "10 2 20 3"], {}, read).save == (SavePoint(10, 2), SavePoint(20, 3))
    assert load("a.conf", [], {"VAYLIX_SAVE": ""}, read).save == ()
    assert from_file('save 900 1\nsave ""\nsave 60 5\n').save == (SavePoint(60, 5),)


def test_options_take_words_up_to_the_next_and_an_equals_sign_for_the_odd_value():
    settings = load(options=["--bind", "127.0.0.1", "::1", "--requirepass=--x=y", "--slowlog-log-slower-than", "-1"])
    assert settings.bind == ("127.0.0.1", "::1")
    assert settings.requirepass == "--x=y"
    assert settings.slowlog_log_slower_than == -1


def test_an_alias_is_the_same_directive():
    assert load(options=["--data-dir", "/a", "--dir", "/b"]).dir == "/b"
    assert load(environ={"VAYLIX_DATA_DIR": "/c"}).dir == "/c"
    assert Settings().get_matching(["data-dir", "min-slaves*"]).keys() == {"data-dir", "min-slaves-to-write"}


def test_an_environment_value_is_one_word_with_its_spaces():
    assert load(environ={"VAYLIX_REQUIREPASS": 'a "b c'}).requirepass == 'a "b c'


def test_a_secret_may_come_from_a_file():
    environ = {"VAYLIX_REQUIREPASS_FILE": "secret"}
    assert load(environ=environ, read_text=files(secret="hush #1 \n")).requirepass == "hush #1 "
    assert "unset one" in refused(environ=environ | {"VAYLIX_REQUIREPASS": "x"}, read_text=files(secret="y"))
    assert "is empty" in refused(environ=environ, read_text=files(secret="\n"))
    assert "No such file" in refused(environ=environ, read_text=files())
    assert "unknown directive" in refused(environ={"VAYLIX_PORT_FILE": "x"})


def test_variables_that_kubernetes_makes_are_not_ours():
    environ = {
        "VAYLIX_PORT": "tcp://10.0.0.1:6379",
        "VAYLIX_SERVICE_HOST": "10.0.0.1",
        "VAYLIX_SERVICE_PORT_RESP": "6379",
        "VAYLIX_PORT_6379_TCP_ADDR": "10.0.0.1",
        "VAYLIX_TEST_SEED": "1",
    }
    assert load(environ=environ).sources == {}


def test_an_include_stands_where_its_line_does(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "b.conf").write_text("timeout 2\n")
    (tmp_path / "conf.d" / "a.conf").write_text("timeout 1\nhz 11\n")
    main = tmp_path / "main.conf"
    main.write_text("timeout 9\ninclude conf.d/*.conf\ninclude none/*.conf\nhz 12\n")
    settings = load(str(main))
    assert (settings.timeout, settings.hz) == (2, 12)
    assert settings.sources["timeout"] == f"{tmp_path}/conf.d/b.conf:1"
    main.write_text("include main.conf\n")
    assert "break the circle" in refused(str(main))
    main.write_text("include absent.conf\n")
    assert "absent.conf: cannot read" in refused(str(main))


def test_a_file_that_is_no_configuration_is_not_read_whole(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(b"\xff" * (MIB + 1))
    assert "no configuration file" in refused(str(path))
    assert "Is a directory" in refused(str(tmp_path))


# ---- refusals at start


@pytest.mark.parametrize(
    "line, text",
    [
        ("port abc", 'a.conf:2: port "abc": argument couldn\'t be parsed into an integer; give a whole number'),
        ("port 70000", 'a.conf:2: port "70000": argument must be between 0 and 65535 inclusive; give'),
        ("port", 'a.conf:2: port "": wrong number of arguments; give'),
        ("port 1 # mine", 'a.conf:2: port "1 # mine": wrong number of arguments; a comment needs a line of its own'),
        ("prot 1", "a.conf:2: prot: unknown directive; did you mean port?"),
        ("zzzz 1", "a.conf:2: zzzz: unknown directive; see 'vaylix serve --help'"),
        ('requirepass "abc', "a.conf:2: unbalanced quotes; close each quote"),
        ("requirepass a b", "a.conf:2: requirepass (secret): wrong number of arguments"),
        ("archive-command curl-%u:pw", "a.conf:2: archive-command (secret): argument must not contain %u"),
        ("appendfsync sometimes", "must be one of the following: everysec, always, no"),
        ("timeout 01", "couldn't be parsed into an integer"),
        ("timeout +1", "couldn't be parsed into an integer"),
        ("timeout 1_0", "couldn't be parsed into an integer"),
        ("timeout \u0661", "couldn't be parsed into an integer"),
        ("timeout " + "9" * 5000, "couldn't be parsed into an integer"),
        ("slowlog-max-len 9223372036854775808", "couldn't be parsed into an integer"),
        ("maxmemory 1x", "argument must be a memory value; give a size, such as 64mb (bytes)"),
        ("maxmemory -1", "argument must be a memory value"),
        ("proto-max-bulk-len 512mb", "must be between 1048576 and 67108864 inclusive; give a size from 1mb to 64mb"),
        ("save 900", "Invalid save parameters; give pairs of seconds"),
        ("save 0 1", "Invalid save parameters"),
        ("client-output-buffer-limit normal 1", "Wrong number of arguments in buffer limit configuration."),
        ("client-output-buffer-limit odd 1 1 1", "Invalid client class specified"),
        ("client-output-buffer-limit normal 1 1 x", "Error in hard, soft or soft_seconds setting"),
        ("latency-tracking-info-percentiles 101", "should sit between [0.0,100.0]"),
        ("notify-keyspace-events KQ", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        ("unixsocketperm 888", "couldn't be parsed into an integer; give an octal"),
        ("unixsocketperm 1777", "must be between 0 and 511"),
        ('dir ""', "argument must name a directory"),
        ("backupdirname a/b", "argument can't be a path, just a name"),
        ("backupdirname ..", "argument can't be a path, just a name"),
        ('archive-command "cp %p /mnt/%F"', "argument must not contain %F: only %p, %f and %% have a meaning"),
        ("archive-command true%", "argument must not contain %: only %p"),
        ('logfile "a\\x00b"', "must not contain a NUL byte"),
        ("bind a/b", "Failed to bind to specified addresses."),
        ("bind " + "::1 " * 17, "Too many bind addresses specified."),
        ("latency-tracking maybe", "argument must be 'yes' or 'no'"),
        ("daemonize yes", "stays in the foreground"),
        ("maxmemory-policy allkeys", "must be one of the following: volatile-lru, volatile-lfu"),
        ("maxmemory-samples 0", "argument must be between 1 and 2147483647 inclusive"),
        ("tls-port 6379", "port and tls-port are both 6379"),
        ("tls-auth-clients maybe", "must be one of the following: no, yes, optional"),
        ("replicaof 10.0.0.1 6379", "see cluster-peers"),
        ("rename-command FLUSHALL x", "commands cannot be renamed"),
        ("include a b", "include: wrong number of arguments; give one path"),
        ("port 0", "nowhere to listen"),
    ],
)
def test_a_refusal_names_place_directive_problem_and_cure(line, text):
    got = refused("a.conf", read_text=files(a_conf="# first\n" + line + "\n"))
    assert text in got
    assert "abc" not in got or "requirepass" not in line


@given(any_word, st.lists(any_word, max_size=4))
def test_any_directive_line_is_taken_or_refused_in_one_printable_line(name, words):
    text = " ".join(map(quote, [name, *words]))
    try:
        from_file(text)
    except ConfigError as error:
        assert str(error).isprintable(), str(error)


def test_an_option_without_dashes_is_explained():
    assert "give '--name value', the file comes first" in refused(options=["port", "1"])
    assert "not an option" in refused(options=["--"])


def test_what_redis_tunes_inside_itself_is_taken_with_a_warning():
    settings = from_file(
        "hash-max-listpack-entries 128\nio-threads 4\nio-threads 1\ndbfilename dump.rdb\nappendonly no\nmaxmemory 1mb\n"
        "maxmemory-policy volatile-ttl\n"
    )
    assert (settings.io_threads, settings.dbfilename, settings.appendonly) == (1, "", True)
    assert [warning.split(" has no effect here: ")[0] for warning in settings.warnings] == [
        "a.conf:2: io-threads",
        "a.conf:4: dbfilename",
        "a.conf:5: appendonly",
        "tuning of Redis's own internals",
        "maxmemory-policy volatile-ttl: at maxmemory, keys that were acknowledged are deleted",
    ]
    assert settings.warnings[3].endswith(": hash-max-listpack-entries (a.conf:1)")
    assert settings.get_matching(["hash-max*"]) == {}


def test_bad_values_are_value_errors():
    assert issubclass(BadValue, ValueError)


@pytest.mark.parametrize("options, environ, told", [
    (["--requirepass", "hush"], {}, "VAYLIX_REQUIREPASS_FILE"),
    (["--requirepass", ""], {}, ""),
    (["--http-token", "hush"], {}, "VAYLIX_HTTP_TOKEN_FILE"),
    ([], {"VAYLIX_REQUIREPASS": "hush"}, ""),
])  # fmt: skip
def test_a_secret_on_the_command_line_is_everybody_s(options, environ, told):
    """redis-server hides its own by a new title; a process that cannot says so."""
    warnings = load(None, options, environ).warnings
    assert len(warnings) == bool(told) and all(told in line and "hush" not in line for line in warnings)
