"""A file is whole under its name or not there at all."""

import hashlib

import pytest

from speechrep.errors import InputError
from speechrep.io.files import atomic_open, read_json, sha256, write_json


def test_an_interrupted_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(KeyboardInterrupt), atomic_open(path) as stream:
        stream.write("half")
        raise KeyboardInterrupt
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_name_appears_only_when_whole(tmp_path):
    path = tmp_path / "deep" / "x"
    with atomic_open(path, "wb") as stream:
        stream.write(b"abc")
        assert not path.exists()
    assert path.read_bytes() == b"abc"
    assert sha256(path) == hashlib.sha256(b"abc").hexdigest()


def test_nan_never_reaches_a_json_file(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"value": float("nan")})
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe"])
def test_bad_json_names_the_file(tmp_path, content):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json"):
        read_json(tmp_path / "x.json")
