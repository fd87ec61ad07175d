"""Audio: what is read, and what is refused by name."""

import os
import struct
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from speechrep.errors import InputError
from speechrep.io.audio import Wavs, audio_info, read_audio

RATE = 16000


@pytest.fixture
def tone() -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def make(path: Path, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.flac", {}, 1e-4),
        ("a.wav", {"subtype": "PCM_U8"}, 1e-2),
        ("a.wav", {"subtype": "PCM_16"}, 1e-4),
        ("a.wav", {"subtype": "PCM_24"}, 1e-6),
        ("a.wav", {"subtype": "PCM_32"}, 1e-7),
        ("a.wav", {"subtype": "FLOAT"}, 0),
        ("a.wav", {"subtype": "DOUBLE"}, 0),
        ("a.ogg", {}, 0.1),
        ("a.mp3", {}, 0.1),
        ("a.sph", {"format": "NIST"}, 1e-4),
    ],
)
def test_formats(tmp_path: Path, tone: np.ndarray, name: str, options: dict, tolerance: float):
    samples, rate = read_audio(make(tmp_path / name, tone, **options))
    assert rate == RATE
    assert samples.dtype == np.float32
    assert abs(len(samples) - len(tone)) <= (2000 if name.endswith("mp3") else 0)
    if len(samples) == len(tone):
        assert np.abs(samples - tone).max() <= tolerance


def test_stereo_needs_a_channel(tmp_path: Path, tone: np.ndarray):
    path = make(tmp_path / "s.wav", np.stack([tone, -tone], axis=1))
    with pytest.raises(InputError, match=r"s\.wav: has 2 channels.*--channel"):
        read_audio(path)
    np.testing.assert_allclose(read_audio(path, channel=1)[0], -tone, atol=1e-4)
    with pytest.raises(InputError, match="no channel 2"):
        read_audio(path, channel=2)


def test_wrong_rate_is_refused(tmp_path: Path, tone: np.ndarray):
    path = make(tmp_path / "r.wav", tone, 8000)
    with pytest.raises(InputError, match=r"r\.wav: the sample rate is 8000 Hz, want 16000"):
        read_audio(path, RATE)


def test_parts(tmp_path: Path, tone: np.ndarray):
    path = make(tmp_path / "p.flac", tone)
    np.testing.assert_allclose(read_audio(path, start_s=0.25, end_s=0.5)[0], tone[4000:8000], atol=1e-4)
    assert len(read_audio(path, start_s=0.25, end_s=1.4)[0]) == 12000  # cut at the end, as in Kaldi
    for start_s, end_s in ((0.2, 1.6), (1.0, 1.2), (3, None)):
        with pytest.raises(InputError, match=r"p\.flac: the part from .* goes beyond the end, 1\.000 s"):
            read_audio(path, start_s=start_s, end_s=end_s)


def test_a_part_begins_at_the_nearest_sample(tmp_path: Path):
    """The product of a time and the rate may come out a little below the number of a sample."""
    path = make(tmp_path / "p.wav", np.arange(RATE) / 32768)
    for start in range(0, RATE - 10, 101):
        samples, _ = read_audio(path, start_s=start / RATE, end_s=(start + 10) / RATE)
        np.testing.assert_array_equal(samples * 32768, np.arange(start, start + 10))


def test_missing_empty_and_not_audio(tmp_path: Path, tone: np.ndarray):
    with pytest.raises(InputError, match=r"no\.flac: no such file"):
        read_audio(tmp_path / "no.flac")
    with pytest.raises(InputError, match=r"e\.wav: holds no samples"):
        read_audio(make(tmp_path / "e.wav", tone[:0]))
    for content in (b"", b"not audio at all" * 100):
        (tmp_path / "x.flac").write_bytes(content)
        with pytest.raises(InputError, match=r"x\.flac: not readable as audio"):
            read_audio(tmp_path / "x.flac")


def test_nan_is_refused(tmp_path: Path, tone: np.ndarray):
    tone[100] = np.nan
    with pytest.raises(InputError, match=r"n\.wav: holds NaN"):
        read_audio(make(tmp_path / "n.wav", tone, subtype="FLOAT"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("c.flac", {}),
        ("c.wav", {}),
        ("c.ogg", {}),
        ("c.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("c.sph", {"format": "NIST"}),
        ("c.sph", {"format": "NIST", "subtype": "ULAW"}),
    ],
)
def test_cut_short(tmp_path: Path, tone: np.ndarray, name: str, options: dict):
    noise = 0.1 * np.random.default_rng(0).normal(size=(4 * RATE, 2))
    path = make(tmp_path / name, np.tile(tone, 4)[:, None] + noise, **options)
    whole = path.read_bytes()
    assert len(read_audio(path, channel=1)[0]) == 4 * RATE
    last_page = len(whole) - whole.rfind(b"OggS")
    for missing in (1, 3000, *([last_page, last_page - 9, last_page - 27] if whole[:4] == b"OggS" else [])):
        path.write_bytes(whole[:-missing])
        with pytest.raises(InputError, match=name + ": (is cut short|not readable as audio)") as caught:
            read_audio(path, channel=1)
        assert name == "c.flac" or caught.value.what.startswith("is cut short")


def test_a_wav_cut_short_after_a_chunk_of_odd_length(tmp_path: Path, tone: np.ndarray):
    """Chunks begin at even places: a byte that its size does not count follows such a chunk."""
    path = make(tmp_path / "o.wav", tone)
    whole = path.read_bytes()
    whole = whole[:12] + b"LIST" + struct.pack("<I", 5) + b"hello\0" + whole[12:]
    whole = whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
    path.write_bytes(whole)
    assert len(read_audio(path)[0]) == RATE
    path.write_bytes(whole[:-1000])
    with pytest.raises(InputError, match=r"o\.wav: is cut short"):
        read_audio(path)


def test_headers_that_do_not_tell_the_length(tmp_path: Path, tone: np.ndarray):
    """A SPHERE header without a count, and bytes after the last page of an OGG, are libsndfile's to judge."""
    path = make(tmp_path / "a.ogg", tone)
    path.write_bytes(path.read_bytes() + bytes(100))
    assert len(read_audio(path)[0]) == RATE
    path = make(tmp_path / "a.sph", tone, format="NIST")
    path.write_bytes(path.read_bytes().replace(b"sample_count", b"sample_Count")[:-100])
    try:
        assert len(read_audio(path)[0]) < RATE
    except InputError as error:
        assert error.what.startswith(("not readable as audio", "holds no samples"))


def test_damaged_flac(tmp_path: Path, tone: np.ndarray):
    path = make(tmp_path / "d.flac", tone + 0.1 * np.random.default_rng(0).normal(size=RATE))
    content = bytearray(path.read_bytes())
    content[12000] ^= 16
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"d\.flac: not readable as audio"):
        read_audio(path)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0x7FFFEFFF, 0x7FFFEFFC])
def test_a_wav_of_unknown_length_is_read(tmp_path: Path, tone: np.ndarray, size: int):
    """What programs write into a pipe; the last two are SoX's of 24 bits, and of 6 channels."""
    path = make(tmp_path / "u.wav", tone)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", size)
    path.write_bytes(content)
    assert len(read_audio(path)[0]) == len(tone)


def without_length(path: Path) -> Path:
    """A FLAC file as an encoder leaves it that cannot go back: STREAMINFO, from byte 8, has 0 samples."""
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    return path


def test_a_flac_of_unknown_length_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("speechrep.io.audio._BLOCK", 7000)  # several blocks
    samples = 0.1 * np.random.default_rng(0).normal(size=(3 * RATE, 2))
    known, path = make(tmp_path / "k.flac", samples), make(tmp_path / "u.flac", samples)
    without_length(path)
    assert soundfile.info(path).frames > 1 << 60
    assert audio_info(path) == audio_info(known) == (3 * RATE, RATE, 2) and audio_info(path).duration == 3
    for part in ((0, None), (0, 1), (0.7, 2.1), (2.9, None), (1, 3.4)):
        want = read_audio(known, channel=1, start_s=part[0], end_s=part[1])[0]
        np.testing.assert_array_equal(read_audio(path, channel=1, start_s=part[0], end_s=part[1])[0], want)
    np.testing.assert_array_equal(
        read_audio(f"cat {path} |", channel=1, allow_pipes=True)[0], read_audio(known, channel=1)[0]
    )
    for part in ((0.2, 3.6), (3, 3.2), (5, None), (0.5, 0.5), (0, 0)):
        with pytest.raises(InputError) as caught:
            read_audio(path, channel=1, start_s=part[0], end_s=part[1])
        with pytest.raises(InputError) as wanted:
            read_audio(known, channel=1, start_s=part[0], end_s=part[1])
        assert caught.value.what == wanted.value.what
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match=r"u\.flac: not readable as audio"):
        read_audio(path, channel=1)


def test_commands_run_only_when_allowed(tmp_path: Path, tone: np.ndarray):
    path = make(tmp_path / "a.wav", tone)
    command = f"cat {path} | cat |"
    with pytest.raises(InputError, match=r"is a command.*--allow-pipes true"):
        read_audio(command)
    assert len(read_audio(command, allow_pipes=True)[0]) == len(tone)
    with pytest.raises(InputError, match="failed with status 1"):
        read_audio(f"cat {tmp_path}/none | cat |", allow_pipes=True)


def test_wav_within_an_archive(tmp_path: Path, tone: np.ndarray):
    one = make(tmp_path / "a.wav", tone).read_bytes()
    (tmp_path / "w.ark").write_bytes(b"u1 " + one + b"u2 " + one)
    samples, _ = read_audio(f"{tmp_path / 'w.ark'}:{len(one) + 6}")
    np.testing.assert_allclose(samples, tone, atol=1e-4)
    with pytest.raises(InputError, match=r"w\.ark:5: no audio"):
        read_audio(f"{tmp_path / 'w.ark'}:5")
    with pytest.raises(InputError, match=r"none\.ark: no such file"):
        read_audio(f"{tmp_path / 'none.ark'}:5")
    with pytest.raises(InputError, match=rf"{tmp_path}: Is a directory"):
        read_audio(f"{tmp_path}:5")
    with pytest.raises(InputError, match=r"w\.ark:9"):
        read_audio(f"{tmp_path / 'w.ark'}:{'9' * 30}")


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_audio_within_an_archive_of_kaldiios(tmp_path: Path, tone: np.ndarray, audio_format: str):
    """As ESPnet's recipes make them of ``--audio_format flac.ark``."""
    archive, samples = tmp_path / "w.ark", {"u1": tone / 2, "u2": tone}
    kaldiio.save_ark(
        str(archive), {utt_id: (values, RATE) for utt_id, values in samples.items()},
        scp=str(tmp_path / "wav.scp"), write_function="soundfile", write_kwargs={"format": audio_format},
    )  # fmt: skip
    wavs = Wavs(tmp_path, RATE)
    for utt_id, values in samples.items():
        np.testing.assert_allclose(wavs.read(utt_id)[0], values, atol=1e-4)
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"w\.ark:\d+: utterance 'u2': is cut short: "):
        wavs.read("u2")
    data = archive.read_bytes()
    for end in range(data.index(b"AUDIO"), data.index(b"AUDIO") + 12):
        archive.write_bytes(data[:end])
        with pytest.raises(InputError, match=r"w\.ark"):
            wavs.read("u1")


def test_a_pipe_in_the_place_of_a_file_is_told(tmp_path: Path):
    os.mkfifo(tmp_path / "p.wav")
    descriptor = os.open(tmp_path / "p.wav", os.O_RDWR)  # a writer, so that opening it does not wait
    os.write(descriptor, bytes(100))
    try:
        with pytest.raises(InputError, match=r"p\.wav: .*seek"):
            read_audio(tmp_path / "p.wav")
    finally:
        os.close(descriptor)


def test_wavs_through_segments(tmp_path: Path, tone: np.ndarray):
    make(tmp_path / "a.flac", tone)
    (tmp_path / "wav.scp").write_text(f"a {tmp_path / 'a.flac'}\n")
    assert Wavs(tmp_path).utt_ids == ["a"] and len(Wavs(tmp_path).read("a")[0]) == RATE
    (tmp_path / "segments").write_text("s1 a 0 0.5\ns2 a 0.5 -1\ns3 a 0.9 2\n")
    wavs = Wavs(tmp_path, RATE)
    assert wavs.utt_ids == ["s1", "s2", "s3"]
    assert [len(wavs.read(utt_id)[0]) for utt_id in ("s1", "s2")] == [8000, 8000]
    with pytest.raises(InputError, match=r"a\.flac: utterance 's3': the part from 0\.9 s"):
        wavs.read("s3")
    with pytest.raises(InputError, match="no utterance 'x'"):
        wavs.read("x")
    (tmp_path / "segments").write_text("s1 b 0 0.5\n")
    with pytest.raises(InputError, match=r"recording 'b' is not in wav\.scp"):
        Wavs(tmp_path)


def test_a_command_runs_once_for_the_segments_of_its_recording(tmp_path: Path, tone: np.ndarray):
    log = tmp_path / "log"
    for reco_id, scale in (("a", 1), ("b", 0.5)):
        make(tmp_path / f"{reco_id}.wav", scale * tone)
    (tmp_path / "wav.scp").write_text(
        "".join(f"{reco} echo {reco} >> {log}; cat {tmp_path}/{reco}.wav |\n" for reco in "ab")
    )
    (tmp_path / "segments").write_text("a1 a 0 0.5\na2 a 0.5 1\nb1 b 0 0.5\nb2 b 0.25 1\n")
    wavs = Wavs(tmp_path, allow_pipes=True)
    read = {utt_id: wavs.read(utt_id)[0] for utt_id in wavs.utt_ids}
    assert log.read_text().split() == ["a", "b"]
    for utt_id, want in {"a1": tone[:8000], "a2": tone[8000:], "b2": 0.5 * tone[4000:]}.items():
        np.testing.assert_allclose(read[utt_id], want, atol=1e-4)
    wavs.read("a1")
    assert log.read_text().split() == ["a", "b", "a"]  # only the last one is kept
    (tmp_path / "b.wav").unlink()
    for utt_id in ("b1", "b2"):
        with pytest.raises(InputError, match=f"utterance '{utt_id}': the command failed"):
            wavs.read(utt_id)
