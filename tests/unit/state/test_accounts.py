"""Users and roles as state: rules of users, what must hold among all, dump and load."""

import pytest

from tests.unit.acl_server import CATALOG, new_accounts
from vaylix_resp.security.acl import SYNTAX, RuleError
from vaylix_resp.security.passwords import BAD_FORM, BAD_HASH
from vaylix_resp.state.account import (
    HISTORY_MAX,
    NO_SUCH_PASSWORD,
    NO_SUCH_ROLE,
    PASSWORDS_MAX,
    TOO_MANY_PASSWORDS,
    Account,
    Role,
)
from vaylix_resp.state.accounts import BAD_USER_NAME, KEEP_DEFAULT, NO_ADMINISTRATOR, Accounts

A, B = "a" * 64, "b" * 64
FORM = "argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43


@pytest.fixture
def accounts():
    return new_accounts()


def words(line):
    return line.encode().split()


def described(accounts, name="u"):
    return accounts.users[name].describe()


def fault(call, *arguments):
    with pytest.raises(RuleError) as refused:
        call(*arguments)
    return str(refused.value)


REST = "resetchannels -@all"


@pytest.mark.parametrize("rules, line", [
    ("", f"off sanitize-payload {REST}"),
    ("on ON off On", f"on sanitize-payload {REST}"),
    ("skip-sanitize-payload", f"off skip-sanitize-payload {REST}"),
    ("nopass", f"off nopass sanitize-payload {REST}"),
    (f"nopass #{A}", f"off sanitize-payload #{A} {REST}"),
    (f"#{A} #{B} #{A} !{A}", f"off sanitize-payload #{B} {REST}"),
    (f"#{A} nopass", f"off nopass sanitize-payload {REST}"), (f"#{A} resetpass", f"off sanitize-payload {REST}"),
    (f"#{FORM}", f"off sanitize-payload #{FORM} {REST}"),
    ("~a (~b +get) (&c)", f"off sanitize-payload ~a {REST} (~b resetchannels -@all +get) (resetchannels &c -@all)"),
    ("(~b) clearselectors (~c)", f"off sanitize-payload {REST} (~c {REST})"),
    ("expireat 99 role=r", f"off sanitize-payload expireat 99 role=r {REST}"),
    ("expireat 99 persist", f"off sanitize-payload {REST}"),
    ("role=r,s,r", f"off sanitize-payload role=r,s {REST}"), ("role=r Role=s", f"off sanitize-payload role=s {REST}"),
    ("role=r,s resetroles", f"off sanitize-payload {REST}"),
    (f"on nopass ~* +@all (~x) role=r expireat 5 db=1 skip-sanitize-payload #{A} reset", f"off sanitize-payload {REST}"),
])  # fmt: skip
def test_rules_of_a_user(accounts, rules, line):
    accounts.set_role("r", [])
    accounts.set_role("s", [])
    accounts.set_user("u", words(rules))
    assert described(accounts) == line
    accounts.set_user("again", accounts.users["u"].words())
    assert described(accounts, "again") == line


@pytest.mark.parametrize("rules, why", [
    ("nonsense", "Error in ACL SETUSER modifier 'nonsense': " + SYNTAX),
    ("on +nosuch", "Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL"),
    ("(+nosuch", "Unmatched parenthesis in acl selector starting at '(+nosuch'."),
    ("(~a on)", "Error in ACL SETUSER modifier '(~a on)': " + SYNTAX),
    (f"!{A}", "Error in ACL SETUSER modifier '!(redacted)': " + NO_SUCH_PASSWORD),
    ("#secret", "Error in ACL SETUSER modifier '#(redacted)': " + BAD_HASH),
    ("#argon2id$secret", "Error in ACL SETUSER modifier '#(redacted)': " + BAD_FORM),
    (f"#{A.upper()}", "Error in ACL SETUSER modifier '#(redacted)': " + BAD_HASH),
    (">secret", "Error in ACL SETUSER modifier '>(redacted)': " + SYNTAX),  # passwords in clear never come this far
    ("<secret", "Error in ACL SETUSER modifier '<(redacted)': " + SYNTAX),
    ("(~a >secret +get)", "Error in ACL SETUSER modifier '(~a >(redacted)': " + SYNTAX),
    ("(>secret words)", "Error in ACL SETUSER modifier '(>(redacted)': " + SYNTAX),
    ("role=nosuch", "Error in ACL SETUSER modifier 'role=nosuch': " + NO_SUCH_ROLE),
    ("role=", "Error in ACL SETUSER modifier 'role=': " + SYNTAX),
    ("role=r,", "Error in ACL SETUSER modifier 'role=r,': " + SYNTAX),
    ("role=r,,r", "Error in ACL SETUSER modifier 'role=r,,r': " + SYNTAX),
    ("expireat", "Error in ACL SETUSER modifier 'expireat': " + SYNTAX),
    ("expireat 0", "Error in ACL SETUSER modifier 'expireat 0': " + SYNTAX),
    ("expireat x", "Error in ACL SETUSER modifier 'expireat x': " + SYNTAX),
    ("expireat=9", "Error in ACL SETUSER modifier 'expireat=9': " + SYNTAX),
    ("expireat " + "9" * 17, "Error in ACL SETUSER modifier 'expireat " + "9" * 17 + "': " + SYNTAX),
])  # fmt: skip
def test_all_rules_or_none(accounts, rules, why):
    accounts.set_role("r", [])
    accounts.set_user("u", words("~old"))
    before = accounts.dump()
    assert fault(accounts.set_user, "u", words("on ~new +get " + rules)) == why
    assert fault(accounts.set_user, "new", words(rules)) == why
    assert accounts.dump() == before


@pytest.mark.parametrize("name", ["a b", "a\tb", "a\0", "", " "])
def test_names_of_users(accounts, name):
    assert fault(accounts.set_user, name, []) == BAD_USER_NAME


@pytest.mark.parametrize("name, fine", [
    ("r", True), ("a:b@c#~!", True), ("default", True), ("a b", False), ("a,b", False), ('a"', False), ("a'", False),
    ("a\\b", False), ("", False), ("ä", False), ("a\n", False), ("a\x7f", False),
])  # fmt: skip
def test_names_of_roles(accounts, name, fine):
    if fine:
        accounts.set_role(name, [b"+get"])
        assert accounts.lines()[0] == f"role {name} {REST} +get"
    else:
        assert "Role names" in fault(accounts.set_role, name, [])


@pytest.mark.parametrize("rule", ["on", "off", "reset", "nopass", "resetpass", f"#{A}", f"!{A}", ">x", "<x", "role=r",
                                  "resetroles", "expireat 5", "persist", "sanitize-payload"])  # fmt: skip
def test_what_only_users_have_is_no_rule_of_a_role(accounts, rule):
    accounts.set_role("r", [b"+get"])
    shown = rule if rule[0] not in "#!<>" else rule[0] + "(redacted)"
    assert fault(accounts.set_role, "r", [b"~a", rule.encode()]) == f"Error in ACL SETROLE modifier '{shown}': {SYNTAX}"
    assert accounts.roles["r"].describe() == REST + " +get"


def test_roles_add_to_what_a_user_may_do_and_change_with_it(accounts):
    def may(*line):
        argv = [word.encode() for word in line]
        return accounts.grants("u").check(CATALOG.request(CATALOG.find(argv), argv, 0)) is None

    accounts.set_role("reader", words("~app:* +@read (+ping)"))
    accounts.set_user("u", words("-get role=reader +set ~own"))
    assert may("GET", "app:1")  # a user cannot take away what a role gives
    assert may("PING") and may("SET", "own", "1")
    assert not may("SET", "app:1", "1") and not may("GET", "own")
    accounts.set_role("reader", [b"-get", b"clearselectors"])
    assert not may("GET", "app:1") and may("STRLEN", "app:1") and not may("PING")
    accounts.set_user("u", [b"resetroles"])
    assert not may("STRLEN", "app:1")
    assert accounts.grants("nobody") is None


def test_a_role_that_is_held_stays(accounts):
    for name in ("a", "b", "c"):
        accounts.set_role(name, [])
    accounts.set_user("u", [b"role=b"])
    accounts.set_user("w", [b"role=b,c"])
    before = accounts.dump()
    held = "Role 'b' is assigned to one or more users. Remove it from them first."
    assert fault(accounts.delete_roles, ["a", "b"]) == held
    assert accounts.dump() == before
    assert accounts.holders("b") == ["u", "w"]
    assert accounts.delete_roles(["a", "nosuch", "a"]) == 1
    accounts.delete_users(["u", "w"])
    assert accounts.delete_roles(["b", "c"]) == 2
    assert accounts.delete_roles(["b"]) == 0


def test_delete_users(accounts):
    accounts.set_user("u", [])
    version = accounts.version
    assert fault(accounts.delete_users, ["u", "default"]) == KEEP_DEFAULT
    assert accounts.delete_users(["nosuch"]) == 0
    assert accounts.version == version
    assert accounts.delete_users(["u", "u", "nosuch"]) == 1
    assert list(accounts.users) == ["default"] and accounts.version == version + 1


@pytest.mark.parametrize("rules", ["off", "resetpass", "reset", "-@all", "-acl|setuser", "-acl", "-@admin", "expireat 99",
                                   "db=1 -acl|setuser"])  # fmt: skip
def test_the_last_administrator_cannot_be_lost(accounts, rules):
    before = accounts.dump()
    assert fault(accounts.set_user, "default", words(rules)) == NO_ADMINISTRATOR
    assert accounts.dump() == before
    accounts.set_user("boss", words(f"on #{A} +@all"))
    accounts.set_user("default", words(rules))
    assert fault(accounts.delete_users, ["boss"]) == NO_ADMINISTRATOR
    assert fault(accounts.set_user, "boss", words(rules)) == NO_ADMINISTRATOR


def test_the_last_administrator_may_owe_it_to_a_role(accounts):
    accounts.set_role("admin", [b"+acl"])
    accounts.set_user("boss", words(f"on #{A} role=admin"))
    accounts.set_user("default", [b"off"])
    assert fault(accounts.set_role, "admin", [b"-acl|setuser"]) == NO_ADMINISTRATOR
    assert fault(accounts.set_user, "boss", [b"resetroles"]) == NO_ADMINISTRATOR
    accounts.set_role("admin", [b"+config", b"-acl|cat"])


def test_what_a_user_has_had_is_remembered(accounts):
    accounts.set_user("u", words(f"#{A} #{B}"))
    accounts.set_user("u", words(f"!{A}"))
    assert accounts.users["u"].history == [A]
    accounts.set_user("u", words(f"#{A} resetpass"))
    assert accounts.users["u"].history == [B, A]
    accounts.set_user("u", words(f"#{B} nopass"))
    assert accounts.users["u"].history == [A, B]
    forms = [f"{number:064x}" for number in range(HISTORY_MAX + 5)]
    for form in forms:
        accounts.set_user("u", words(f"#{form} reset"))
    assert accounts.users["u"].history == forms[-HISTORY_MAX:]
    assert forms[-1] not in described(accounts)


def test_a_user_has_so_many_passwords(accounts):
    accounts.set_user("u", [f"#{number:064x}".encode() for number in range(PASSWORDS_MAX)])
    accounts.set_user("u", [f"#{0:064x}".encode()])
    assert fault(accounts.set_user, "u", words(f"#{A}")).endswith(TOO_MANY_PASSWORDS)


def test_one_of_the_same_name_that_comes_later_is_another_user(accounts):
    accounts.set_user("u", [])
    born = accounts.users["u"].born
    accounts.set_user("u", [b"on"])
    assert accounts.users["u"].born == born
    accounts.delete_users(["u"])
    accounts.set_user("u", [b"on"])
    assert accounts.users["u"].born > born


def test_replacing_all(accounts):
    accounts.set_user("stays", words(f"#{A} #{B} on"))
    accounts.set_user("goes", [])
    accounts.set_role("old", [])
    born = accounts.users["stays"].born
    role, stays, new = Role("r"), Account("stays", 0), Account("new", 0)
    stays.apply(f"#{B}".encode(), CATALOG)
    accounts.replace({"r": role}, {"stays": stays, "new": new})
    assert accounts.lines() == [
        f"role r {REST}",
        "user default on nopass sanitize-payload ~* &* +@all",
        f"user new off sanitize-payload {REST}",
        f"user stays off sanitize-payload #{B} {REST}",
    ]
    assert accounts.users["stays"].born == born and accounts.users["new"].born == accounts.version
    assert accounts.users["stays"].history == [A]
    before = accounts.dump()
    assert fault(accounts.replace, {}, {"default": Account("default", 0)}) == NO_ADMINISTRATOR
    assert accounts.dump() == before


def test_the_way_does_not_matter_the_state_does(accounts):
    other = new_accounts()
    for one, names in ((accounts, "uvw"), (other, "wvu")):
        for name in names:
            one.set_role(name, [b"~" + name.encode()])
        for name in "uvw":
            one.set_user(name, [b"on", b"role=" + name.encode()])
    assert accounts.dump() == other.dump() and accounts.lines() == other.lines()


def test_dump_and_load(accounts):
    accounts.set_role("r", words("~r (+get ~x) db=3"))
    accounts.set_user("u\udcff", words(f"on #{A} #{B} #{FORM} !{A} role=r expireat 7 ~a (&c)") + [b"~\xff", b"+get|x"])
    loaded = new_accounts()
    loaded.set_user("gone", [])
    loaded.load(accounts.dump())
    assert loaded.dump() == accounts.dump() and loaded.lines() == accounts.lines()
    assert loaded.version == accounts.version
    for one in (accounts, loaded):
        one.set_user("u\udcff", [b"off"])
        one.set_user("later", [])
    assert loaded.dump() == accounts.dump()


def test_the_digest_covers_all_of_it(accounts):
    assert accounts.digest_input() == b""
    seen = {b""}
    for name, rules in (("u", ""), ("u", "on"), ("u", f"#{A}"), ("u", f"!{A}"), ("u", "~ab (~c)"), ("u", "(~d)"), ("v", "")):
        accounts.set_user(name, words(rules))
        seen.add(accounts.digest_input())
    accounts.set_role("r", [])
    seen.add(accounts.digest_input())
    assert len(seen) == 9
    loaded = new_accounts()
    loaded.load(accounts.dump())
    assert loaded.digest_input() == accounts.digest_input()


def test_a_dump_that_names_what_this_version_lacks_is_refused(accounts):
    dumped = accounts.dump()
    dumped[2][0][1].append(b"+from-the-future")
    assert "Unknown command" in fault(new_accounts().load, dumped)


def test_who_may_do_everything_may_do_what_comes_later(accounts):
    """Bits are not stored: a version with more commands reads the words again."""

    class More:
        everything = CATALOG.everything << 1 | 1
        category = staticmethod(CATALOG.category)
        command = staticmethod(CATALOG.command)

    later = Accounts(More(), CATALOG.probe("acl|setuser"))
    later.load(accounts.dump())
    assert later.users["default"].selectors[0].commands == More.everything
