"""Lines of ACL files: what they define, and every error at once in Redis's words."""

import pytest

from tests.unit.acl_server import CATALOG
from vaylix_resp.commands.acl_file import UNCHANGED, FileError, read_lines, split_lines, with_plain_hashes

A = "a" * 64
SHA256_OF_PW = "30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4"


def read(text):
    return read_lines(text.encode().split(b"\n"), CATALOG, "f:")


def test_users_and_roles():
    content = read(f"\nuser b on #{A} role=r ~x\r\n\t# roles may come later \nrole r  +get\n  user a (~b +set ) expireat 99 off\n")
    assert list(content.users) == ["b", "a"]
    assert content.users["b"].describe() == f"on sanitize-payload #{A} role=r ~x resetchannels -@all"
    assert content.users["a"].describe() == (
        "off sanitize-payload expireat 99 resetchannels -@all (~b resetchannels -@all +set)"
    )
    again = read("\n".join(f"user {name} {account.describe()}" for name, account in content.users.items()) + "\nrole r +get")
    assert [one.words() for one in again.users.values()] == [one.words() for one in content.users.values()]
    assert content.roles["r"].describe() == "resetchannels -@all +get"


@pytest.mark.parametrize("text, errors", [
    ("hello", "f:1 should start with user keyword followed by the username. "),
    ("user", "f:1 should start with user keyword followed by the username. "),
    ("USER u on", "f:1 should start with user keyword followed by the username. "),
    ("role", "f:1: role requires a role name. "),
    ("user a (+get", "f:1: Unmatched parenthesis in selector definition."),
    ("user a +nosuch on +@nosuch", "f:1: Error in applying operation '+nosuch': Unknown command or category name in ACL. "
     "f:1: Error in applying operation '+@nosuch': Unknown command or category name in ACL. "),
    ("user a bogus bogus2", "f:1: Syntax error. "),
    ("user a\nuser b\nuser a on", "WARNING: Duplicate user 'a' found on line 3. "),
    ("role r\nuser r\nrole r +get", "WARNING: Duplicate role 'r' found on line 3. "),
    ("user a role=r", "f:1: The specified ACL role does not exist. "),
    ("role a,b", "f:1: Role names can only contain printable ASCII characters except spaces, commas, quotes and "
     "backslashes. "),
    ("role r on", "f:1: Syntax error. "),
    ("user a bogus\n\nuser b #x", "f:1: Syntax error. f:3: The password hash must be exactly 64 characters and contain "
     "only lowercase hexadecimal characters. "),
])  # fmt: skip
def test_errors(text, errors):
    with pytest.raises(FileError) as refused:
        read(text)
    assert str(refused.value) == errors + UNCHANGED


def test_passwords_in_clear_are_tried_as_redis_stores_them():
    lines = split_lines([b"user u >pw <pw >pw", b"role r >pw"], "")
    assert [line.text().decode() for line in with_plain_hashes(lines)] == [
        f"user u #{SHA256_OF_PW} !{SHA256_OF_PW} #{SHA256_OF_PW}", f"role r #{SHA256_OF_PW}"
    ]  # fmt: skip
    assert lines[0].text() == b"user u >pw <pw >pw"
