"""What the system's refusals ask of an operator."""

import errno
import os

import pytest

from vaylix_resp.errors import not_allowed, remedy
from vaylix_resp.storage.errors import RESTORE, IoFailed, Unreadable


@pytest.mark.parametrize(
    "number, rights, helps",
    [
        (errno.EACCES, True, f"give it to the user that this runs as (id {os.geteuid()})"),
        (errno.EPERM, True, f"give it to the user that this runs as (id {os.geteuid()})"),
        (errno.EROFS, False, "mount the file system for writing"),
        (errno.ENOTDIR, False, "choose a directory"),
        (errno.EIO, False, "free or replace the disk"),
        (errno.ENOSPC, False, "free or replace the disk"),
    ],
)
def test_a_missing_right_is_no_broken_disk(number, rights, helps):
    cause = OSError(number, os.strerror(number))
    assert not_allowed(cause) is rights and remedy(cause).startswith(helps)
    assert str(IoFailed("/d", cause)) == f"/d: the disk refused: {os.strerror(number)}; to continue: {remedy(cause)}"
    assert str(Unreadable("/d", 0, cause)).endswith(f"to continue: {remedy(cause) if rights else RESTORE}")
