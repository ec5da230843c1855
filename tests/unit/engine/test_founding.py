"""The users that a server begins with."""

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.config import Settings
from vaylix_resp.engine.founding import CHEAP, BadUsers, found, sources_of, try_out
from vaylix_resp.security.passwords import Policy, digest_of, matching


@pytest.fixture
def stage():
    made = Stage()
    yield made
    made.close()  # a replay of the log comes to the same users


def begin(stage, *lines, password="", policy=Policy()):  # noqa: B008 - immutable
    return found(stage.node, source(*lines), password, policy=policy, cost=CHEAP)


def source(*lines):
    return [("line ", [line.encode() for line in lines])]


def accounts(stage):
    return stage.node.machine.world.accounts


def test_nothing_asked_for_gives_the_predefined_roles(stage):
    assert begin(stage) == ""
    assert [*accounts(stage).roles] == ["read-only", "read-write", "operator", "auditor", "backup"]
    assert accounts(stage).open and [*accounts(stage).users] == ["default"]


def test_lines_make_users_once(stage):
    assert begin(stage, "user u on >secret role=read-only,mine", "role mine ~m +set", "# a comment") == ""
    user = accounts(stage).users["u"]
    assert user.roles == ("read-only", "mine") and matching(user.passwords, digest_of(b"secret"))
    before = accounts(stage).lines()
    assert "not read" in begin(stage, "user other on")
    assert accounts(stage).lines() == before


def test_a_predefined_role_may_be_defined_otherwise(stage):
    begin(stage, "role read-only ~x +get")
    assert accounts(stage).roles["read-only"].describe() == "~x resetchannels -@all +get"


def test_a_password_closes_an_open_server_and_leaves_another_one_alone(stage):
    begin(stage)
    begin(stage, password="one")
    forms = [*accounts(stage).users["default"].passwords]
    assert matching(forms, digest_of(b"one"))
    assert begin(stage, password="one") == ""
    assert "is not the password of default" in begin(stage, password="two")
    assert accounts(stage).users["default"].passwords == forms


@pytest.mark.parametrize(
    "lines, password, text",
    [
        (["user u on +nosuch"], "", "Unknown command"),
        (["user u on role=nosuch"], "", "role"),
        (["nonsense"], "", "should start with user keyword"),
        (["user default off"], "", "no user who can log in"),
        (["user u on >short"], "", "password-min-length"),
        ([], "short", "password-min-length"),
    ],
)
def test_what_cannot_be_used_is_refused(stage, lines, password, text):
    with pytest.raises(BadUsers, match=text):
        begin(stage, *lines, password=password, policy=Policy(min_length=8))
    assert "u" not in accounts(stage).users and accounts(stage).open
    with pytest.raises(BadUsers, match=text):
        try_out(source(*lines), password, Policy(min_length=8))


def test_trying_out_takes_what_can_be_used():
    try_out(source("user u on >long-enough +@all", "user default off"), "long-enough", Policy(min_length=8))


def test_where_the_lines_are():
    settings = Settings()
    settings.role, settings.user = ("r +get",), ("u on >pw", "v off")
    assert sources_of(settings, None) == [
        ("the configuration's role line ", [b"role r +get"]),
        ("the configuration's user line ", [b"user u on >pw", b"user v off"]),
    ]
    settings.role = settings.user = ()
    settings.aclfile = "users.acl"
    assert sources_of(settings, {"users.acl": b"user u\nuser v"}.__getitem__) == [("users.acl:", [b"user u", b"user v"])]

    def missing(path):
        raise FileNotFoundError(2, "No such file or directory", path)

    with pytest.raises(BadUsers, match="users.acl: No such file or directory; create the file, or remove aclfile"):
        sources_of(settings, missing)
