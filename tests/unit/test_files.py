"""A file is whole under its name or not there at all."""

import errno
import hashlib
import os
import stat
import threading

import numpy as np
import pytest
from test_store import make_meta

from speechrep.errors import InputError
from speechrep.io.data_fix import read_lenient
from speechrep.io.dirs import atomic_directory
from speechrep.io.files import (
    atomic_open,
    identity,
    is_device,
    read_json,
    read_marker,
    read_train_log,
    read_utf8,
    sha256,
    temporary_name,
    write_json,
    write_marker,
)
from speechrep.io.store import StoreWriter
from speechrep.io.table import read_table, write_table
from speechrep.train.checkpoint import save_state


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


def write_store(path):
    with StoreWriter(path, make_meta(), ["a"], [2]) as writer:
        writer.write("a", np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.json", lambda path: write_json(path, 1)),
        ("x.h5", write_store),
        ("step-3.pt", lambda path: save_state(path.parent, 3, {}, 1)),
    ],
)
def test_a_file_is_on_disk_before_it_has_its_name_and_the_name_when_all_is_done(
    tmp_path, monkeypatch, name, write
):
    """Or a machine that loses its power could leave an empty file under the name."""
    done, fsync, replace = [], os.fsync, os.replace

    def note_fsync(descriptor):
        done.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def note_replace(source, target):
        done.append((str(source), str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write(tmp_path / name)
    renamed = next(call for call in done if call[1] == str(tmp_path / name))
    place = done.index(renamed)
    assert renamed[0] in done[:place] and str(tmp_path) in done[place:]


def test_files_of_the_same_size_and_time_are_told_apart(tmp_path):
    found = set()
    for name in "ab":
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (0, 0))
        with open(tmp_path / name) as stream:
            found.add(identity(stream.fileno()))
    assert len(found) == 2


def test_a_file_that_is_written_to_is_told_from_itself(tmp_path):
    path, found = tmp_path / "x", set()
    with open(path, "w+b") as stream:
        for size, time_ns in ((10, 0), (10, 1), (11, 1)):
            os.truncate(path, size)
            os.utime(path, ns=(time_ns, time_ns))
            found.add(identity(stream.fileno()))
    assert len(found) == 3


def test_two_processes_write_to_names_of_their_own(tmp_path, monkeypatch):
    """Or one would rename what the other has half written."""
    found = set()
    for number in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda number=number: number)
        found.add(temporary_name(tmp_path / "x"))
    assert len(found) == 2 and {path.parent for path in found} == {tmp_path}


def test_nothing_is_renamed_into_the_folder_of_devices():
    """``/dev/stdout`` leads to a file if the output goes to one."""
    assert is_device("/dev/stdout") and is_device("/dev/no-such-device")


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    path, read = tmp_path / "pipe", []
    os.mkfifo(path)
    (tmp_path / "link").symlink_to(path)
    for name in ("pipe", "link"):
        thread = threading.Thread(target=lambda: read.append(path.read_bytes()), daemon=True)
        thread.start()
        with atomic_open(tmp_path / name, "wb") as stream:
            stream.write(b"abc")
        thread.join(5)
    assert read == [b"abc", b"abc"]
    assert stat.S_ISFIFO(path.lstat().st_mode) and (tmp_path / "link").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "pipe"]


def test_an_open_file_named_by_its_number_is_written_to(tmp_path):
    """As ``/dev/stdout`` is, which leads to a file if the output goes to one."""
    with open(tmp_path / "x", "wb") as target, atomic_open(f"/proc/self/fd/{target.fileno()}") as stream:
        stream.write("abc")
    assert (tmp_path / "x").read_text() == "abc"


def test_nan_never_reaches_a_json_file(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"value": float("nan")})
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe", b"[" * 100_000])
def test_bad_json_names_the_file(tmp_path, content):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


def test_a_marker_with_any_byte_changed_is_none(tmp_path):
    path, value = tmp_path / "x.json", {"digest": "a", "lost": [["u", "é"]], "bytes": 7, "share": 0.1}
    assert read_marker(path) is None
    write_marker(path, value)
    good = path.read_bytes()
    assert read_marker(path) == value
    for place in range(len(good) - 1):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert read_marker(path) in (None, value)  # the value where a blank between two became a tab, say
        path.write_bytes(good[:place])
        assert read_marker(path) is None or place == len(good) - 1
    path.write_text("[1]")
    assert read_marker(path) is None


GOOD = b'{"part": "train", "step": 3, "loss": 1.5}\n'


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"\xff",
        b"[]",
        b'{"part": "train", "step": "3", "loss": 1}',
        b'{"part": "train", "step": 3.5, "loss": 1}',
        b'{"part": "train", "loss": 1}',
        b'{"part": "train", "step": 3, "loss": null}',
        b"",
    ],
)
def test_a_damaged_line_of_a_training_log_is_named(tmp_path, bad):
    path = tmp_path / "train_log.jsonl"
    assert read_train_log(path) == []
    path.write_bytes(GOOD + b'{"part": "tr')
    assert read_train_log(path) == [{"part": "train", "step": 3, "loss": 1.5}]
    path.write_bytes(GOOD + bad + b"\n")
    with pytest.raises(InputError, match=r"train_log\.jsonl:2: "):
        read_train_log(path)


def test_text_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"\xe9")
    with pytest.raises(InputError, match="x: not UTF-8"):
        read_utf8(tmp_path / "x")


def test_a_byte_order_mark_is_no_text_and_in_a_table_refused(tmp_path):
    path = tmp_path / "utt2spk"
    path.write_text("\ufeffu1 s1\n", encoding="utf-8")
    assert read_utf8(path) == "u1 s1\n"
    with pytest.raises(InputError, match="utt2spk:1: begins with a byte order mark"):
        read_table(path)
    assert read_lenient(path) == {"u1": "s1"}
    with pytest.raises(InputError, match="cannot be a key"):
        write_table(path, {"\ufeffu1": "s1"})


def test_the_old_folder_stays_where_the_new_one_cannot_take_its_name(tmp_path, monkeypatch):
    folder, replace, calls = tmp_path / "x", os.replace, []
    folder.mkdir()
    (folder / "old").touch()

    def fails_the_second_time(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise OSError("Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails_the_second_time)
    with pytest.raises(OSError, match="Input/output"), atomic_directory(folder) as new:
        (new / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["x", "old"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "a").write_text("precious")
    with (
        pytest.raises(InputError, match="a: there is a file where a folder is to be"),
        atomic_directory(tmp_path / "a"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_that_is_as_it_was_keeps_its_time(tmp_path):
    def write(**texts):
        with atomic_directory(tmp_path / "set") as folder:
            (folder / "deep").mkdir()
            for name, text in texts.items():
                (folder / "deep" / name).write_text(text)
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "set/deep").iterdir()}

    write(same="text", other="text")
    for path in (tmp_path / "set/deep").iterdir():
        os.utime(path, ns=(10, 10))
    times = write(same="text", other="texts", new="text")
    assert times.pop("same") == 10 and min(times.values()) > 10


def test_what_was_in_a_folder_is_kept_aside_where_the_new_one_lacks_it(tmp_path):
    def write(**texts):
        with atomic_directory(tmp_path / "set", keep=True) as folder:
            for name, text in texts.items():
                (folder / name).write_text(text)

    write(text="a", wavs="b")
    write(text="a", wavs="b", more="c")
    assert not (tmp_path / "set.old").exists()  # all of it is in the new one
    for lacking in ({"text": "other", "wavs": "b", "more": "c"}, {"text": "other"}):
        before = {path.name: path.read_text() for path in (tmp_path / "set").iterdir()}
        write(**lacking)
        assert {path.name: path.read_text() for path in (tmp_path / "set.old").iterdir()} == before
        assert {path.name: path.read_text() for path in (tmp_path / "set").iterdir()} == lacking
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "set.old"]


def test_a_table_is_sorted_in_c_order_and_parted_at_blanks_alone(tmp_path):
    table = {"b": "1", "B": "2  3", "\u00e9": "4", "a-1": "", "a": "5"}
    write_table(tmp_path / "t", table)
    assert (tmp_path / "t").read_text(encoding="utf-8") == "B 2  3\na 5\na-1\nb 1\n\u00e9 4\n"
    assert read_table(tmp_path / "t", allow_empty=True) == dict(sorted(table.items()))
    (tmp_path / "t").write_text("a \t  1  2 \t \nb 3\u00a0\n", encoding="utf-8")  # a no-break space is none
    assert read_table(tmp_path / "t") == {"a": "1  2", "b": "3\u00a0"}
    for key, value, told in (
        ("", "1", "cannot be a key"),
        ("a b", "1", "cannot be"),
        ("a", "1\n", "line break"),
    ):
        with pytest.raises(InputError, match=told):
            write_table(tmp_path / "t", {key: value})


def test_directories_that_cannot_be_forced_to_disk_are_as_good_as_any(tmp_path, monkeypatch):
    """As some network file systems have them; a file must be."""
    fsync = os.fsync

    def refuse(kind):
        def refusing(descriptor):
            if kind(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "Invalid argument")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", refusing)

    refuse(stat.S_ISDIR)
    write_json(tmp_path / "x.json", 1)
    assert read_json(tmp_path / "x.json") == 1
    refuse(stat.S_ISREG)
    with pytest.raises(OSError, match="Invalid"):
        write_json(tmp_path / "x.json", 2)
    assert read_json(tmp_path / "x.json") == 1
