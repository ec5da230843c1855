"""Stored forms, rules with secrets in them, and what a new password has to satisfy. Costs here are tiny."""

import hashlib
import threading
from itertools import count

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from vaylix_resp.security.passwords import (
    BAD_FORM,
    BAD_HASH,
    PLAIN,
    RECIPES_MAX,
    TOO_MANY_RECIPES,
    Cost,
    PasswordRefused,
    Policy,
    Recipe,
    Stored,
    digest_of,
    expired,
    matching,
    needs_sealing,
    newest,
    parse,
    seal,
)

CHEAP, DEARER = Cost(8, 1, 1), Cost(16, 2, 2)
NOW = 1_700_000_000


def salts():
    """Salts that one can tell apart: 16 times 1, 16 times 2."""
    numbers = count(1)
    return lambda size: bytes([next(numbers)]) * size


def form(password, salt=1, cost=CHEAP):
    recipe = Recipe(cost, bytes([salt]) * 16)
    return str(Stored(recipe, recipe.derive(digest_of(password))))


def sha(password):
    return hashlib.sha256(password).hexdigest()


A, B, C = form(b"a"), form(b"b"), form(b"c")


def sealed(rules, forms=(), history=(), **options):
    options = {"cost": CHEAP, "token": salts()} | options
    return seal([rule if isinstance(rule, bytes) else rule.encode() for rule in rules], forms, history, **options)


def test_a_form_is_argon2id_of_the_sha_256():
    assert A.startswith("argon2id$v=19$m=8,t=1,p=1$AQEBAQEBAQEBAQEBAQEBAQ$")
    Argon2id.verify_phc_encoded(hashlib.sha256(b"a").digest(), "$" + A)  # raises if it is not


def test_the_default_cost_is_64_mib_three_times():
    stored = parse(str(Stored(Recipe(Cost(), bytes(16)), bytes(32))))
    assert (stored.recipe.cost, Cost().problem()) == (Cost(65536, 3, 1), "")


@pytest.mark.parametrize("lanes", [(2, 2), (4, 4), (16, 3, 1)])
def test_derivations_with_several_lanes_do_not_wait_for_each_other_for_ever(lanes):
    """OpenSSL's threads for lanes come from one pool; without a lock of ours this hangs within a few rounds."""
    done = []

    def derive(number):
        recipe = Recipe(Cost(128, 2, number), bytes(16))
        done.append({recipe.derive(digest_of(b"a")) for _ in range(50)})

    threads = [threading.Thread(target=derive, args=(number,), daemon=True) for number in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)  # reached only when they hang
    assert [len(found) for found in done] == [1] * len(lanes)


@pytest.mark.parametrize("text", [A, form(b"\0\xff" * 50, 9, DEARER), sha(b"a"), str(Stored(Recipe(Cost(), bytes(16)), bytes(32)))])
def test_a_form_reads_back_as_it_is_written(text):
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", BAD_HASH),
        ("xyz", BAD_HASH),
        (sha(b"a").upper(), BAD_HASH),
        (sha(b"a")[:-1], BAD_HASH),
        (sha(b"a") + "0", BAD_HASH),
        (sha(b"a") + "\n", BAD_HASH),
        ("$" + A, BAD_HASH),
        (A[:-1], BAD_FORM),
        (A + "\n", BAD_FORM),
        (A + "=", BAD_FORM),
        (A[:-1] + "/", BAD_FORM),  # two loose bits are set: another spelling of the same hash
        (A.replace("v=19", "v=16"), BAD_FORM),
        (A.replace("m=8", "m=08"), BAD_FORM),
        (A.replace("m=8", "m=٨"), BAD_FORM),
        (A.replace("m=8,t=1", "t=1,m=8"), BAD_FORM),
        (A.replace("m=8", "m=7"), "between 8 and 1048576 KiB are possible for 1 lanes"),
        (A.replace("m=8", "m=1048577"), "between 8 and 1048576 KiB"),
        (A.replace("m=8", "m=99999999"), "between 8 and 1048576 KiB"),
        (A.replace("t=1", "t=0"), "between 1 and 100 iterations are possible"),
        (A.replace("t=1", "t=101"), "between 1 and 100 iterations are possible"),
        (A.replace("m=8,t=1", "m=1048576,t=5"), "between 1 and 4 iterations are possible"),
        (A.replace("p=1", "p=0"), "between 1 and 16 lanes are possible"),
        (A.replace("p=1", "p=17"), "between 1 and 16 lanes are possible"),
        (A.replace("p=1", "p=2"), "between 16 and 1048576 KiB are possible for 2 lanes"),
    ],
)
def test_what_is_no_form_is_refused(text, problem):
    with pytest.raises(PasswordRefused) as refused:
        parse(text)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    "forms, password, found",
    [
        ((), b"a", None),
        ((A,), b"a", A),
        ((A,), b"A", None),
        ((A,), b"", None),
        ((A, B, C), b"b", B),
        ((A, form(b"b", 2), form(b"c", 3, DEARER)), b"c", form(b"c", 3, DEARER)),
        ((A, form(b"a", 2)), b"a", form(b"a", 2)),
        ((sha(b"a"), B), b"a", sha(b"a")),
        ((sha(b"a"), B), b"b", B),
        ((sha(b"a"),), bytes.fromhex(sha(b"a")), None),  # the hash is not a password
    ],
)
def test_a_password_is_found_among_forms(forms, password, found):
    assert matching(forms, digest_of(password)) == found


def counted(monkeypatch):
    derivations = []
    real = Recipe.derive
    monkeypatch.setattr(Recipe, "derive", lambda self, digest: derivations.append(self) or real(self, digest))
    return derivations


@pytest.mark.parametrize("password", [b"a", b"c", b"wrong"])
@pytest.mark.parametrize("forms, cost", [((A, B, C), 1), ((A, B, form(b"c", 2)), 2), ((A, form(b"a", 2, DEARER)), 2)])
def test_the_number_of_derivations_is_that_of_salts_whatever_the_password(monkeypatch, password, forms, cost):
    derivations = counted(monkeypatch)
    matching(forms, digest_of(password))
    assert len(derivations) == cost


@pytest.mark.parametrize(
    "rules, forms, expected",
    [
        (["on", "~*", "+@all", "(~x +get)"], (), ["on", "~*", "+@all", "(~x +get)"]),
        ([">a"], (), ["#" + A]),
        ([">a", ">a", ">b"], (), ["#" + A, "#" + A, "#" + B]),
        (["#" + sha(b"a")], (), ["#" + A]),
        ([">a", "#" + sha(b"a")], (), ["#" + A, "#" + A]),
        ([">a", "<a", "!" + sha(b"a")], (), ["#" + A, "!" + A, "!" + A]),
        (["<a"], (A,), ["!" + A]),
        (["!" + sha(b"a")], (A,), ["!" + A]),
        (["!" + A, "#" + B], (A,), ["!" + A, "#" + B]),
        (["<nobody has it"], (), ["!" + form(b"nobody has it")]),
        ([">"], (), ["#" + form(b"")]),
        ([">#x", "<!y"], (), ["#" + form(b"#x"), "!" + form(b"!y")]),
        # The user's salt is used again, so that a password is known wherever it comes from.
        ([">a", ">b"], (form(b"a", 7),), ["#" + form(b"a", 7), "#" + form(b"b", 7)]),
        # A form that somebody else made keeps its salt and is recognised.
        ([">a", "<b"], (form(b"a", 7), form(b"b", 8)), ["#" + form(b"a", 7), "!" + form(b"b", 8)]),
        ([">a"], (form(b"a", 7, DEARER),), ["#" + form(b"a", 7, DEARER)]),
        ([">b"], (form(b"a", 7, DEARER),), ["#" + B]),  # a new password has today's cost
        (["<a", ">b"], (sha(b"a"),), ["!" + sha(b"a"), "#" + B]),
        # What is wrong stays as it is, for whoever reads rules to say so.
        (["#xyz", "!xyz", "#" + sha(b"a").upper(), "", "#", "nonsense"], (), ["#xyz", "!xyz", "#" + sha(b"a").upper(), "", "#", "nonsense"]),
        (["(>a)"], (), ["(>a)"]),
    ],
)  # fmt: skip
def test_rules_are_sealed(rules, forms, expected):
    assert sealed(rules, forms) == [rule.encode() for rule in expected]


def test_two_users_with_the_same_password_have_different_forms():
    (one,), (other,) = (seal([b">a"], (), cost=CHEAP) for _ in range(2))
    assert one != other and matching([one[1:].decode()], digest_of(b"a")) and matching([other[1:].decode()], digest_of(b"a"))


@pytest.mark.parametrize("rules, needed", [
    ([], False), ([b"on", b"~*", b"resetpass", b"nopass", b"#xyz", b"(>a)"], False), ([b"#" + A.encode()], False),
    ([b"on", b">a"], True), ([b"<a"], True), ([b">"], True), ([b"#" + sha(b"a").encode()], True), ([b"!" + sha(b"a").encode()], True),
])  # fmt: skip
def test_rules_without_secrets_need_no_thread(monkeypatch, rules, needed):
    derivations = counted(monkeypatch)
    assert needs_sealing(rules) is needed
    sealed(rules)
    assert bool(derivations) is needed


LONG, CLASSES, HISTORY = Policy(min_length=8), Policy(classes=3), Policy(history=2)


@pytest.mark.parametrize(
    "policy, password, problem",
    [
        (LONG, b"1234567", "has fewer than 8 characters (password-min-length)"),
        (LONG, b"", "has fewer than 8 characters (password-min-length)"),
        (LONG, "äöüäöüä".encode(), "has fewer than 8 characters (password-min-length)"),  # 14 bytes
        (LONG, b"12345678", ""),
        (LONG, "äöüäöüäö".encode(), ""),
        (LONG, b"\xff" * 8, ""),
        (CLASSES, b"lower123", "fewer than 3 of the classes lower case, upper case, digits and others (password-classes)"),
        (CLASSES, b"lowerUPPER", "(password-classes)"),
        (CLASSES, b"aA1", ""),
        (CLASSES, b"a1-", ""),
        (CLASSES, b"aA ", ""),
        (CLASSES, "éÉ中".encode(), ""),
        (Policy(), b"", ""),
    ],
)
def test_a_new_password_has_to_satisfy_the_policy(policy, password, problem):
    if not problem:
        assert sealed([b">" + password], policy=policy) == [b"#" + form(password).encode()]
        return
    with pytest.raises(PasswordRefused) as refused:
        sealed([b">" + password], policy=policy)
    assert problem in str(refused.value)
    assert not password or password.decode() not in str(refused.value)


STRICT = Policy(min_length=8, classes=4, history=2)


@pytest.mark.parametrize(
    "rules, forms, history, problem",
    [
        ([">a"], (A,), (), ""),  # it is in force: no change
        (["reset", "on", ">a"], (A,), (), ""),  # said again in full: no change either
        (["resetpass", ">a"], (A,), (A,), ""),
        ([">a", "<a"], (), (), ""),  # never in force
        (["<a"], (A,), (), ""),
        ([">a", "nopass"], (), (), ""),
        (["#" + sha(b"a")], (), (), ""),  # a hash shows neither length nor characters
        (["#" + A], (), (), ""),
        ([">a"], (), (), "password-min-length"),
        (["nopass", ">a"], (), (), "password-min-length"),
        ([">b", ">a"], (A,), (), "password-min-length"),
        (["#" + sha(b"a")], (), (A,), "one of the last 2 (password-history)"),
        (["#" + sha(b"a")], (), (A, B), "password-history"),
        (["#" + sha(b"a")], (), (A, B, C), ""),  # long ago
        (["#" + A], (B,), (A,), "password-history"),
        (["#" + sha(b"a")], (B,), (form(b"a", 5, DEARER),), "password-history"),  # under an earlier cost
    ],
)
def test_only_a_change_is_looked_at(rules, forms, history, problem):
    if not problem:
        sealed(rules, forms, history, policy=STRICT)
        return
    with pytest.raises(PasswordRefused, match=problem.replace("(", r"\(").replace(")", r"\)")):
        sealed(rules, forms, history, policy=STRICT)


def test_a_good_password_comes_back_when_the_history_is_over():
    good = "Aa1-Aa1-"
    (old,) = sealed([">" + good], policy=STRICT)
    history = [old[1:].decode()]
    for _ in range(2):
        with pytest.raises(PasswordRefused, match="password-history"):
            sealed([">" + good], (), history, policy=STRICT)
        history.append(form(b"another %d" % len(history)))
    assert sealed([">" + good], (), history, policy=STRICT) == [old]


@pytest.mark.parametrize("extra, fits", [(RECIPES_MAX - 1, True), (RECIPES_MAX, False)])
def test_salts_of_one_user_are_few(extra, fits):
    others = ["#" + form(b"x", 100 + number) for number in range(extra)]
    if fits:
        assert len(sealed([*others, ">a"])) == extra + 1
    else:
        with pytest.raises(PasswordRefused, match=TOO_MANY_RECIPES):
            sealed([*others, ">a"])
        sealed([*others, ">a", "resetpass"])


@pytest.mark.parametrize("number, expected", [(0, []), (1, [3]), (2, [2, 3]), (9, [1, 2, 3])])
def test_the_newest_stand_last(number, expected):
    assert [*newest([1, 2, 3], number)] == expected


@pytest.mark.parametrize("expire_at, now_ms, gone", [
    (0, NOW * 1000, False), (NOW, NOW * 1000 - 1, False), (NOW, NOW * 1000, True), (NOW, NOW * 1000 + 1, True), (1, NOW * 1000, True),
])  # fmt: skip
def test_a_user_expires_with_the_second(expire_at, now_ms, gone):
    assert expired(expire_at, now_ms) is gone


def test_plain_is_what_redis_stores():
    assert parse(sha(b"a")) == Stored(PLAIN, digest_of(b"a"))
