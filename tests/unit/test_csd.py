import os
import signal

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from speechrep.errors import InputError
from speechrep.io import csd
from speechrep.io.csd import REQUIRED, Track, read_csd, write_csd

METADATA = {key: "x" for key in REQUIRED if key != "root name"} | {"dimension names": ["a", "b"]}
TRACKS = {
    "-iRBcNs9oI8": Track(np.array([[1, 2], [3, 4]], np.float32), np.array([[5.5, 9], [-0.25, 4]])),
    "25522": Track(np.ones((1, 2), np.float32), np.array([[0.0, 1]])),
}


@pytest.fixture
def path(tmp_path):
    write_csd(tmp_path / "labels.csd", "All Labels", TRACKS, METADATA)
    return tmp_path / "labels.csd"


def test_what_is_written_is_read(path):
    sequence = read_csd(path)
    assert sequence.root_name == "All Labels"
    assert list(sequence.tracks) == ["-iRBcNs9oI8", "25522"]
    for video, track in TRACKS.items():
        np.testing.assert_array_equal(sequence.tracks[video].features, track.features)
        np.testing.assert_array_equal(sequence.tracks[video].intervals, track.intervals)
    assert sequence.metadata["dimension names"] == ["a", "b"]
    assert set(REQUIRED) | {"uuid", "md5"} == set(sequence.metadata)


def test_the_file_is_laid_out_as_published_ones_are(path):
    with h5py.File(path) as file:
        features = file["All Labels/data/25522/features"]
        assert (features.compression, features.compression_opts) == ("gzip", 9)
        name = file["All Labels/metadata/root name"]
        assert name.shape == (1,)
        assert name[0] == b'"All Labels"'
        assert h5py.check_string_dtype(name.dtype).length is None


def test_the_same_content_gives_the_same_bytes(path, tmp_path):
    write_csd(tmp_path / "again.csd", "All Labels", dict(reversed(TRACKS.items())), METADATA)
    assert (tmp_path / "again.csd").read_bytes() == path.read_bytes()


@given(arrays(np.float32, (3, 2), elements=st.floats(-3, 3, width=32)), st.text("abc-_XYZ09", min_size=1))
@settings(max_examples=20, deadline=None)
def test_any_video_id_and_values_come_back(tmp_path_factory, features, video):
    path = tmp_path_factory.mktemp("csd") / "x.csd"
    write_csd(path, "r", {video: Track(features, np.zeros((3, 2)))}, METADATA)
    np.testing.assert_array_equal(read_csd(path).tracks[video].features, features)


def test_metadata_must_be_complete(tmp_path):
    with pytest.raises(InputError, match="lack 'creator'"):
        write_csd(tmp_path / "x.csd", "r", TRACKS, {k: v for k, v in METADATA.items() if k != "creator"})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.95])
def test_a_file_cut_short_is_refused_by_name(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"labels\.csd"):
        read_csd(path)


def test_bytes_changed_anywhere_never_end_in_another_error(path):
    whole = path.read_bytes()
    for place in range(0, len(whole), 389):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_csd(path)
        except InputError as error:
            assert "labels.csd" in str(error)


def test_foreign_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_csd(tmp_path / "absent.csd")
    (tmp_path / "text.csd").write_text("utt 1\n")
    with pytest.raises(InputError, match=r"text\.csd: not a whole HDF5 file"):
        read_csd(tmp_path / "text.csd")
    with h5py.File(tmp_path / "other.csd", "w") as file:
        file["feats"] = np.zeros(3)
    with pytest.raises(InputError, match="want one root group with 'data' and 'metadata'"):
        read_csd(tmp_path / "other.csd")


def change(path, name, value):
    with h5py.File(path, "r+") as file:
        del file[name]
        if value is not None:
            file[name] = value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("data/25522/intervals", np.zeros((2, 2)), r"25522.*\(1, 2\) and \(2, 2\)"),
        ("data/25522/intervals", np.array([[0, np.nan]]), "25522.*time is not a number"),
        ("data/25522/features", None, "25522.*no 'features'"),
        ("data/25522/features", np.array([[b"x", b"y"]]), "25522.*no numbers"),
        ("data/25522/features", np.zeros((1, 3)), "25522.* has 3 columns, the metadata name 2"),
        ("metadata/root name", np.array([b'"Other"']), "metadata say 'Other'"),
        ("metadata/creator", np.array([b"{"]), "'creator' are no JSON"),
    ],
)
def test_contradictions_are_told_with_the_video(path, name, value, message):
    change(path, f"All Labels/{name}", value)
    with pytest.raises(InputError, match=message):
        read_csd(path)


def test_a_type_that_kills_the_library_is_refused(path, tmp_path):
    text = b"\x19\x01\x01\x00\x10\x00\x00\x00"  # version 1, of varying length; its kind, 1, is text
    data = path.read_bytes()
    assert text in data
    (tmp_path / "odd.csd").write_bytes(data.replace(text, text[:1] + b"\x02" + text[2:]))
    with pytest.raises(InputError, match=r"odd\.csd: /All Labels/metadata/.* neither numbers nor text"):
        read_csd(tmp_path / "odd.csd")


def test_chunks_of_another_rank_than_the_data_are_refused(path):
    shape = b"\x01\x02\x01\x00\x00\x00\x00\x00"  # a data space of version 1 and two dimensions
    data = path.read_bytes()
    assert shape in data
    path.write_bytes(data.replace(shape, shape[:1] + b"\x01" + shape[2:]))
    with pytest.raises(InputError, match=r"features of shape \(2,\) has chunks \(2, 2\)"):
        read_csd(path)


def test_what_the_library_does_not_survive_is_told(path, monkeypatch):
    def end_badly(_path):
        os.kill(os.getpid(), signal.SIGKILL)

    def never_end(_path):
        while True:
            pass

    monkeypatch.setattr(csd, "_read", end_badly)
    with pytest.raises(InputError, match=r"labels\.csd: reading it ends with SIGKILL: it is damaged"):
        read_csd(path)
    monkeypatch.setattr(csd, "_read", never_end)
    with pytest.raises(InputError, match=r"labels\.csd: reading it does not end in 1 s"):
        read_csd(path, cpu_s=1)
    monkeypatch.setattr(csd, "_read", lambda _path: bytearray(1 << 40))
    with pytest.raises(InputError, match=r"labels\.csd: reading it takes too much memory"):
        read_csd(path)
    monkeypatch.setattr(csd, "_read", lambda _path: {}["mistake"])
    with pytest.raises(RuntimeError, match="KeyError: 'mistake'"):  # ours, not the file's
        read_csd(path)
