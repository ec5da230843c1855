"""The manifest of an appendonlydir."""

import pytest

from vaylix_resp.interchange.aof_manifest import ManifestError, read_manifest


@pytest.mark.parametrize(
    "text, names",
    [
        ("file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\n", ["a.1.base.rdb", "a.1.incr.aof"]),
        ("file i1 seq 1 type i\nfile h seq 1 type h\nfile i2 seq 2 type i\nfile b seq 2 type b\n", ["b", "i1", "i2"]),
        ("# a note\nfile 'with space' seq 1 type i\n", ["with space"]),
        ('file "quoted" seq 7 type i', ["quoted"]),
        ("seq 1 type i file turned", ["turned"]),
        ("file a seq 1 type i startoffset 5 endoffset 9", ["a"]),  # Redis 8
    ],
)
def test_the_files_are_in_order(text, names):
    assert read_manifest("m", text) == names


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "it names no file"),
        ("file h seq 1 type h", "it names no file"),
        ("file a seq 1 type b\nfile b seq 2 type b", "two base files: a, b"),
        ("file a seq 2 type i\nfile b seq 1 type i", "not in order"),
        ("file a seq 1 type i\nfile b seq 1 type i", "not in order"),
        ("\nfile a seq 1", "line 2: expected"),
        ("file a seq x type i", "line 1: expected"),
        ("file ../a seq 1 type i", "line 1: expected"),
        ("file .. seq 1 type i", "line 1: expected"),
        ("file 'a seq 1 type i", "line 1: expected"),
        ("file a seq 1 type z", "line 1: expected"),
        ("x" * 5000, "line 1: expected"),
    ],
)
def test_what_is_not_clear_is_refused(text, said):
    with pytest.raises(ManifestError, match=said):
        read_manifest("m", text)
