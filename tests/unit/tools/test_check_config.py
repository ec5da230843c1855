"""`vaylix check-config`: what it amounts to, what a start would refuse, and never a secret."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.security.pki import issued, put
from vaylix_resp.cli import main
from vaylix_resp.directives import DIRECTIVES
from vaylix_resp.errors import EX_CONFIG, EX_OK

SECRET = "Correct-Horse-7"


@pytest.fixture(autouse=True)
def in_a_directory_of_its_own(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("VAYLIX_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = main(["check-config", *words])
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    return code, out, err


def test_it_says_what_it_amounts_to_and_hides_secrets(capsys, monkeypatch):
    monkeypatch.setenv("VAYLIX_REQUIREPASS", SECRET)
    code, out, err = run(
        capsys, "--timeout", "5", "--maxmemory", "1mb", "--maxmemory-policy", "allkeys-lru", "--save", "", "--user",
        f"u on >{SECRET}",
    )  # fmt: skip
    assert (code, err) == (EX_OK, "")
    assert out.splitlines() == [
        "warning: command line: user: ps shows it to everybody on this machine; put it into the configuration, or into a "
        "file of mode 0600 that VAYLIX_USER_FILE names",
        "warning: maxmemory-policy allkeys-lru: at maxmemory, keys that were acknowledged are deleted",
        "timeout 5   (command line)",
        'save ""   (command line)',
        "maxmemory 1048576   (command line)",
        "maxmemory-policy allkeys-lru   (command line)",
        "requirepass (secret)   (VAYLIX_REQUIREPASS)",
        "user (secret)   (command line)",
        "The configuration is valid; every directive not listed has its default.",
    ]
    code, out, _ = run(capsys, "--json")
    rows = {row["name"]: row for row in json.loads(out)["directives"]}
    assert set(rows) == set(DIRECTIVES)
    assert rows["requirepass"] == {"name": "requirepass", "value": "(secret)", "source": "VAYLIX_REQUIREPASS"}
    assert rows["port"] == {"name": "port", "value": "6379", "source": "default"}
    assert rows["user"]["value"] == ""


GOOD = f"user admin on >{SECRET} ~* +@all\nrole team ~t:* +get\nuser u on >{SECRET} role=team,read-only"


@pytest.mark.parametrize("lines, said", [
    (GOOD, ""),
    ("user u on\nuser u off", "Duplicate user 'u'"),
    ("user u role=nosuch", "the configuration's user line 1: The specified ACL role does not exist"),
    ("role a ~a\nrole b on", "the configuration's role line 2: Syntax error"),
    ("user a on\nuser u on +nosuch", "user line 2: Error in applying operation '+nosuch': Unknown command"),
    ("user u (~a +get", "user line 1: Unmatched parenthesis"),
    (f"user u on >{SECRET}\nuser default off", "would leave no user who can log in and run ACL SETUSER"),
    (f"password-min-length 30\nuser u on >{SECRET}", "fewer than 30 characters (password-min-length)"),
    (f"password-min-length 30\nrequirepass {SECRET}", "fewer than 30 characters (password-min-length)"),
    ("aclfile gone.acl", "gone.acl: No such file or directory; create the file, or remove aclfile"),
    ("aclfile good.acl", ""),
    ("aclfile bad.acl", "bad.acl:2: "),
    ("aclfile good.acl\nuser u on", "aclfile"),
    ("tls-port 7000", "tls-cert-file is not set, and tls-port needs it"),
    ("tls-port 7000\ntls-cert-file ok.crt\ntls-key-file ok.key", "tls-ca-cert-file"),
    ("tls-port 7000\ntls-cert-file ok.crt\ntls-key-file ok.key\ntls-auth-clients no", ""),
    ("tls-port 7000\ntls-cert-file ok.crt\ntls-key-file other.key\ntls-auth-clients no", "not the key of the certificate"),
    ("tls-port 7000\ntls-cert-file old.crt\ntls-key-file old.key\ntls-auth-clients no", "old.crt"),
    ("tls-cert-file gone.crt", ""),  # nobody reads it without tls-port
    ("master-key-file good.key", ""),
    ("master-key-file gone.key", "gone.key: the master key is not there"),
    ("master-key-file v.conf", "v.conf: expected a master key of 32 bytes"),
    ("master-key-command 'touch ran'", ""),  # nobody runs it
])  # fmt: skip
def test_it_refuses_what_a_start_would(capsys, lines, said):
    here = Path.cwd()
    for name, pair in {
        "ok": issued(), "other": issued("other"), "old": issued("localhost", start_days=-90, days=30)
    }.items():  # fmt: skip
        put(here, name, pair)
    (here / "good.acl").write_text(GOOD + "\n")
    (here / "bad.acl").write_text("user a on\nuser b rubbish\n")
    (here / "good.key").write_text(bytes(range(32)).hex())
    (here / "good.key").chmod(0o600)
    (here / "v.conf").write_text(lines + "\n")
    before = sorted(os.listdir())
    code, out, err = run(capsys, "v.conf")
    if said:
        assert (code, out) == (EX_CONFIG, "") and err.count("\n") == 1
        assert said in err
    else:
        assert (code, err) == (EX_OK, "")
    assert sorted(os.listdir()) == before, "it writes nothing"
