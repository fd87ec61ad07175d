"""extract_feats: what it leaves on disk, what it loses, and how it is interrupted and continued."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechrep.bin import decode, extract_feats, train_downstream
from speechrep.data.features import open_features
from speechrep.data.identity import require_like
from speechrep.errors import InputError
from speechrep.frontend import extraction
from speechrep.frontend.cmvn import Cmvn
from speechrep.frontend.registry import make_frontend
from speechrep.frontend.sources import AudioSource
from speechrep.io.ark import load_scp, read_matrix
from speechrep.io.audio import Wavs, read_audio
from speechrep.io.feature_meta import read_meta
from speechrep.io.files import read_marker
from speechrep.io.specifier import read_entries
from speechrep.io.table import read_table
from speechrep.upstream.registry import CONFIGS, build
from speechrep.upstream.represented import require_input_of
from tests.processes import children, matching

RATE = 16000
SPEAKERS = ("s1", "s2")
BASE = ["--feature", "fbank", "--num-mel-bins", "40"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers with ten utterances of 0.5 to 1.4 s each."""
    path = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    wavs, speakers = [], []
    for number in range(20):
        utt_id = f"{SPEAKERS[number // 10]}-{number:02d}"
        samples = 0.1 * rng.standard_normal(RATE // 2 + 700 * number) * (1 + number % 3)
        soundfile.write(path / f"{utt_id}.flac", samples, RATE)
        wavs.append(f"{utt_id} {path / utt_id}.flac\n")
        speakers.append(f"{utt_id} {SPEAKERS[number // 10]}\n")
    (path / "wav.scp").write_text("".join(wavs))
    (path / "utt2spk").write_text("".join(speakers))
    return path


@pytest.fixture
def broken(data_dir: Path, tmp_path: Path) -> Path:
    """A copy of the data directory whose tables a test may change; the audio stays where it is."""
    copy = tmp_path / "broken"
    copy.mkdir()
    for name in ("wav.scp", "utt2spk"):
        shutil.copy(data_dir / name, copy)
    return copy


def arguments(data: Path, out: Path, *options: str) -> list[str]:
    return [*BASE, "--data-dir", str(data), "--out-dir", str(out), *options]


def run_job(job: int, data: Path, out: Path, *options: str) -> None:
    extract_feats.main([*arguments(data, out, *options), "--job", str(job)])


def extract(data: Path, out: Path, *options: str, processes: bool = False) -> Path:
    """Run the command; unless ``processes``, its jobs are done here first: that is quicker."""
    if not processes:
        jobs = int(options[options.index("--nj") + 1]) if "--nj" in options else 1
        for job in range(1, jobs + 1):
            run_job(job, data, out, *options)
    extract_feats.main(arguments(data, out, *options))
    return out


def contents(out: Path) -> dict[str, bytes]:
    """What must not depend on where or in how many goes it was made."""
    names = ["cmvn.ark", "utt2num_frames", "utt2spk", *sorted(p.name for p in out.glob("feats.*.ark"))]
    return {name: (out / name).read_bytes() for name in names}


def test_what_is_left(data_dir: Path, tmp_path: Path):
    out = extract(data_dir, tmp_path / "f", "--nj", "3", "--compress", "false")
    assert sorted(p.name for p in out.iterdir() if p.name != ".done.json") == [
        "cmvn.ark", "cmvn.ark.crc32", "cmvn.scp", "feats.1.ark", "feats.1.ark.crc32", "feats.2.ark",
        "feats.2.ark.crc32", "feats.3.ark", "feats.3.ark.crc32", "feats.scp", "features.json",
        "utt2num_frames", "utt2spk",
    ]  # fmt: skip
    scp, meta = load_scp(out / "feats.scp"), read_meta(out / "features.json")
    assert list(scp) == list(read_table(data_dir / "wav.scp"))
    assert (meta.feature, meta.dim, meta.frame_shift_ms, meta.sample_rate) == ("fbank", 40, 10.0, RATE)
    assert meta.dtype == "float32"
    frontend = make_frontend(meta.feature, meta.config)
    for utt_id, wav in read_table(data_dir / "wav.scp").items():
        feats = read_matrix(scp[utt_id])
        np.testing.assert_array_equal(feats, frontend(*read_audio(wav)))
        assert read_table(out / "utt2num_frames")[utt_id] == str(len(feats))


def test_jobs_do_not_change_the_features(data_dir: Path, tmp_path: Path):
    one = extract(data_dir, tmp_path / "one")
    many = extract(data_dir, tmp_path / "many", "--nj", "3", processes=True)
    first, second = load_scp(one / "feats.scp"), load_scp(many / "feats.scp")
    assert list(first) == list(second)
    for utt_id in first:
        np.testing.assert_array_equal(read_matrix(first[utt_id]), read_matrix(second[utt_id]))
    assert (one / "cmvn.ark").read_bytes() == (many / "cmvn.ark").read_bytes()
    assert read_meta(one / "features.json").dtype == "kaldi-compressed-2"


def test_again_does_nothing_and_other_options_do_all(data_dir: Path, tmp_path: Path):
    out = extract(data_dir, tmp_path / "f", "--nj", "3")
    before = (out / "feats.1.ark").stat().st_mtime_ns
    extract(data_dir, out, "--nj", "3", processes=True)
    assert (out / "feats.1.ark").stat().st_mtime_ns == before
    extract(data_dir, out, "--nj", "3", "--norm-vars", "false", processes=True)
    assert not read_meta(out / "features.json").norm_vars
    assert (out / "feats.1.ark").stat().st_mtime_ns == before
    extract(data_dir, out, "--nj", "2", "--num-mel-bins", "30", processes=True)
    assert read_meta(out / "features.json").dim == 30
    assert not (out / "feats.3.ark").exists()
    assert {read_matrix(spec).shape[1] for spec in load_scp(out / "feats.scp").values()} == {30}


@pytest.mark.parametrize(
    "damage", [(b'"lost"', b'"losu"'), (b'"retry"', b'"retrz"'), (b"{", b"["), (b"1", b"7")]
)
def test_a_job_or_a_directory_with_a_damaged_marker_is_not_done(data_dir: Path, tmp_path: Path, damage):
    def spoil(path: Path) -> None:
        assert read_marker(path) is not None
        path.write_bytes(path.read_bytes().replace(*damage, 1))
        assert read_marker(path) is None

    out = tmp_path / "f"
    run_job(1, data_dir, out)
    spoil(out / ".jobs/1.json")
    extract(data_dir, out)
    whole = contents(out)
    if damage[0] in (out / ".done.json").read_bytes():
        spoil(out / ".done.json")
    assert contents(extract(data_dir, out)) == whole


@pytest.mark.parametrize("changed", ["low-freq", "compress", "size"])
def test_a_job_of_other_options_or_with_an_archive_of_another_size_is_done_again(
    data_dir: Path, tmp_path: Path, changed: str
):
    other = {"low-freq": ("--low-freq", "60"), "compress": ("--compress", "false"), "size": ()}[changed]
    run_job(1, data_dir, tmp_path / "f", "--nj", "2")
    if changed == "size":
        os.truncate(tmp_path / "f/feats.1.ark", 1000)
    out = extract(data_dir, tmp_path / "f", "--nj", "2", *other, processes=True)
    assert contents(out) == contents(extract(data_dir, tmp_path / "g", "--nj", "2", *other))


def test_killed_between_an_archive_and_its_marker_a_job_is_not_done(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nor by the marker of another archive that was there before, of the same size."""
    out, options = tmp_path / "f", ("--nj", "2", "--compress", "false")

    def killed(*_):
        raise KeyboardInterrupt

    run_job(1, data_dir, out, *options)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(extraction, "write_marker", killed)
        run_job(1, data_dir, out, *options, "--low-freq", "60")
    extract(data_dir, out, *options, processes=True)
    assert contents(out) == contents(extract(data_dir, tmp_path / "g", *options))


def test_another_channel_or_least_duration_is_extracted_anew(data_dir: Path, broken: Path, tmp_path: Path):
    """Both decide what is read, and neither is an option of the front end."""
    left, right = np.random.default_rng(0).normal(0, 0.1, (2, RATE))
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), RATE)
    soundfile.write(tmp_path / "b.wav", right, RATE)
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "wav.scp").write_text(f"u {tmp_path / name}.wav\n")
        (tmp_path / name / "utt2spk").write_text("u u\n")
    for channel in ("0", "1"):
        stereo = extract(tmp_path / "a", tmp_path / "f", "--channel", channel)
    assert contents(stereo) == contents(extract(tmp_path / "b", tmp_path / "g"))
    for least, lost in (("0", False), ("0.51", True), ("0", False)):
        out = extract(data_dir, tmp_path / "h", "--min-duration", least)
        assert (out / "lost_utterances").exists() == lost


def test_a_job_that_is_done_is_not_done_again(data_dir: Path, tmp_path: Path):
    """A launcher begins all of them."""
    run_job(1, data_dir, tmp_path / "f", "--nj", "2")
    before = (tmp_path / "f/feats.1.ark").stat().st_mtime_ns
    run_job(1, data_dir, tmp_path / "f", "--nj", "2")
    assert (tmp_path / "f/feats.1.ark").stat().st_mtime_ns == before


def test_nothing_vouches_for_what_is_being_extracted_anew(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def killed(*_):
        raise KeyboardInterrupt

    out = extract(data_dir, tmp_path / "f")
    monkeypatch.setattr(extract_feats, "launch", killed)
    with pytest.raises(KeyboardInterrupt):
        extract_feats.main(arguments(data_dir, out, "--low-freq", "60"))
    assert not (out / "features.json").exists()


def test_other_speakers_are_taken_over(broken: Path, tmp_path: Path):
    options = ("--cmvn", "speaker")
    out = extract(broken, tmp_path / "f", *options)
    table = (broken / "utt2spk").read_text().replace("s1-09 s1", "s1-09 s2")
    (broken / "utt2spk").write_text(table)
    extract(broken, out, *options, processes=True)
    assert contents(out) == contents(extract(broken, tmp_path / "g", *options))


def test_changed_audio_is_extracted_again(data_dir: Path, broken: Path, tmp_path: Path):
    shutil.copy(data_dir / "s1-00.flac", tmp_path / "a.flac")
    table = (broken / "wav.scp").read_text().replace(f"{data_dir / 's1-00'}.flac", str(tmp_path / "a.flac"))
    (broken / "wav.scp").write_text(table)
    out = extract(broken, tmp_path / "f", "--nj", "2")
    before = read_matrix(load_scp(out / "feats.scp")["s1-00"])
    soundfile.write(tmp_path / "a.flac", np.random.default_rng(5).normal(0, 0.1, RATE), RATE)
    extract(broken, out, "--nj", "2")
    assert read_matrix(load_scp(out / "feats.scp")["s1-00"]).shape != before.shape


def test_a_changed_archive_is_extracted_again(tmp_path: Path):
    data, archive = tmp_path / "data", tmp_path / "w.ark"
    data.mkdir()
    (data / "wav.scp").write_text(f"u {archive}:2\n")
    found = []
    for seed in (0, 1):
        soundfile.write(tmp_path / "a.wav", np.random.default_rng(seed).normal(0, 0.1, RATE), RATE)
        archive.write_bytes(b"u " + (tmp_path / "a.wav").read_bytes())
        out = extract(data, tmp_path / "f", processes=True)
        found.append(read_matrix(load_scp(out / "feats.scp")["u"]))
    assert not np.array_equal(*found)


@pytest.mark.parametrize(("frames", "kind"), [(8, b"CM2 "), (9, b"CM ")])
def test_kaldis_automatic_compression_of_few_frames_takes_two_bytes(tmp_path: Path, frames: int, kind: bytes):
    samples = np.random.default_rng(0).normal(0, 0.1, 400 + 160 * (frames - 1))
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    (tmp_path / "wav.scp").write_text(f"u {tmp_path}/a.wav\n")
    out = extract(tmp_path, tmp_path / "f", "--compression-method", "1")
    assert (out / "feats.1.ark").read_bytes().startswith(b"u \0B" + kind)


def test_a_moved_directory_still_reads(data_dir: Path, tmp_path: Path):
    extract(data_dir, tmp_path / "f").rename(tmp_path / "g")
    scp = load_scp(tmp_path / "g" / "feats.scp")
    feats = read_matrix(scp["s1-03"])
    assert len(Cmvn(tmp_path / "g", "utterance", True).apply("s1-03", feats)) == len(feats)


@pytest.mark.parametrize("scope", ["utterance", "speaker", "global", "none"])
def test_cmvn(data_dir: Path, tmp_path: Path, scope: str):
    out = extract(data_dir, tmp_path / "f", "--cmvn", scope, "--norm-vars", "false")
    assert not read_meta(out / "features.json").norm_vars
    feats = {utt_id: read_matrix(spec) for utt_id, spec in load_scp(out / "feats.scp").items()}
    groups = {
        "utterance": lambda u: u,
        "speaker": lambda u: u[:2],
        "global": lambda u: "all",
        "none": lambda u: u,
    }
    for norm_vars in (True, False):
        cmvn = Cmvn(out, scope, norm_vars)
        for group in {groups[scope](utt_id) for utt_id in feats}:
            raw = np.concatenate([feats[u] for u in feats if groups[scope](u) == group])
            read = np.concatenate([cmvn.apply(u, feats[u]) for u in feats if groups[scope](u) == group])
            if scope == "none":
                np.testing.assert_array_equal(read, raw)
                continue
            assert np.abs(read.mean(axis=0)).max() < 1e-4
            np.testing.assert_allclose(read.std(axis=0), 1 if norm_vars else raw.std(axis=0), rtol=1e-4)
    if scope == "global":
        assert read_matrix(str(out / "cmvn.ark"), dtype=np.float64).shape == (2, 41)
        assert not (out / "cmvn.scp").exists()
    else:
        keys = set(SPEAKERS) if scope == "speaker" else set(feats)
        stats = dict(read_entries(f"ark:{out / 'cmvn.ark'}"))
        assert set(stats) == keys == set(load_scp(out / "cmvn.scp"))
        assert {value.shape for value in stats.values()} == {(2, 41)}


def test_normalised_features_do_not_tell_the_loudness(data_dir: Path, tmp_path: Path):
    out = extract(data_dir, tmp_path / "f")
    cmvn = Cmvn(out, "utterance", True)
    for utt_id, spec in load_scp(out / "feats.scp").items():
        feats = cmvn.apply(utt_id, read_matrix(spec)).astype(np.float64)
        np.testing.assert_allclose(feats.std(axis=0), 1, atol=1e-6)
        np.testing.assert_allclose(feats.mean(axis=0), 0, atol=1e-6)


def test_features_that_are_not_finite_lose_their_utterance_alone(
    data_dir: Path, broken: Path, tmp_path: Path
):
    """Digital silence where nothing is added before the logarithm; uncompressed, NaN would fit in."""
    soundfile.write(tmp_path / "silent.flac", np.zeros(RATE), RATE)
    with (broken / "wav.scp").open("a") as stream:
        stream.write(f"s3-00 {tmp_path}/silent.flac\n")
    with (broken / "utt2spk").open("a") as stream:
        stream.write("s3-00 s3\n")
    words = ["--feature", "mel", "--log-offset", "0", "--compress", "false", "--cmvn", "global"]
    words += ["--data-dir", str(broken), "--out-dir", str(tmp_path / "out")]
    extract_feats.main(words)
    assert "utterance 's3-00': its features are not finite" in (tmp_path / "out/lost_utterances").read_text()
    reader = open_features(tmp_path / "out")
    assert "s3-00" not in reader.utt_ids and np.isfinite(reader.read("s1-00")).all()


def test_a_model_refuses_features_with_statistics_of_their_own(data_dir: Path, broken: Path, tmp_path: Path):
    train = open_features(extract(data_dir, tmp_path / "train", "--cmvn", "global"))
    lines = (broken / "wav.scp").read_text().splitlines(keepends=True)
    (broken / "wav.scp").write_text("".join(lines[:5]))
    own = open_features(extract(broken, tmp_path / "own", "--cmvn", "global"))
    words = ("--cmvn", "global", "--global-cmvn-from", str(train.path))
    same = open_features(extract(broken, tmp_path / "same", *words))
    model = build("apc", CONFIGS["apc"](hidden_size=4, num_layers=1), train.meta)
    model.cmvn_stats = Cmvn(train.path, "global", train.meta.norm_vars).stats("")
    require_input_of(model, same, "the model")
    with pytest.raises(
        InputError, match="own: is normalised by other global statistics than the model was made"
    ):
        require_input_of(model, own, "the model")
    require_like(train, same)  # as for the sets of target features
    with pytest.raises(InputError, match=r"own: is normalised by other global statistics than .*train"):
        require_like(train, own)


def test_a_task_refuses_features_with_statistics_of_their_own(data_dir: Path, broken: Path, tmp_path: Path):
    for name in ("wav.scp", "utt2spk"):
        lines = (broken / name).read_text().splitlines(keepends=True)
        (broken / name).write_text("".join(lines[4:16]))
    first = extract(data_dir, tmp_path / "train", "--cmvn", "global")
    same = extract(broken, tmp_path / "same", "--cmvn", "global", "--global-cmvn-from", str(first))
    own = extract(broken, tmp_path / "own", "--cmvn", "global")

    def train(name: str, valid: Path) -> None:
        train_downstream.main(
            ["--task", "speaker", "--train", str(first), "--train-data", str(data_dir), "--valid", str(valid),
             "--valid-data", str(broken), "--exp-dir", str(tmp_path / name), "--max-steps", "0"]
        )  # fmt: skip

    def decoded(feats: Path) -> None:
        decode.main(["--exp-dir", str(tmp_path / "exp"), "--data", str(feats), "--data-dir", str(broken),
                     "--out-dir", str(tmp_path / "decoded")])  # fmt: skip

    train("exp", same)
    decoded(same)
    with pytest.raises(InputError, match=r"own: is normalised by other .* than those that .*exp was trained"):
        decoded(own)
    with pytest.raises(InputError, match=r"own: is normalised by other global statistics than .*train"):
        train("other", own)


def test_statistics_of_another_set(data_dir: Path, broken: Path, tmp_path: Path):
    train = extract(data_dir, tmp_path / "train", "--cmvn", "global")
    options = ("--cmvn", "global", "--global-cmvn-from", str(train))
    test = extract(data_dir, tmp_path / "test", *options)
    first = (train / "cmvn.ark").read_bytes()
    assert (test / "cmvn.ark").read_bytes() == first
    lines = (broken / "wav.scp").read_text().splitlines(keepends=True)
    (broken / "wav.scp").write_text("".join(lines[:5]))
    extract(broken, train, "--cmvn", "global")  # that set anew, of fewer utterances
    extract(data_dir, test, *options, processes=True)
    assert (test / "cmvn.ark").read_bytes() == (train / "cmvn.ark").read_bytes() != first
    with pytest.raises(InputError, match="not global statistics of the same features"):
        extract(
            data_dir, tmp_path / "x", "--cmvn", "global", "--global-cmvn-from", str(train), "--low-freq", "60"
        )
    with pytest.raises(InputError, match="needs --cmvn global"):
        extract(data_dir, tmp_path / "x", "--global-cmvn-from", str(train))
    # What is the same features to a model is so here.
    other = extract(data_dir, tmp_path / "other", *options, "--allow-downsample", "true")
    assert (other / "cmvn.ark").read_bytes() == (train / "cmvn.ark").read_bytes()


def test_one_lost_utterance_is_listed(data_dir: Path, broken: Path, tmp_path: Path):
    table = (broken / "wav.scp").read_text().replace(f"{data_dir / 's1-05'}.flac", "/nowhere/x.flac")
    (broken / "wav.scp").write_text(table)
    out = extract(broken, tmp_path / "f", "--nj", "2")
    assert (out / "lost_utterances").read_text() == "s1-05 /nowhere/x.flac: utterance 's1-05': no such file\n"
    assert "s1-05" not in load_scp(out / "feats.scp")
    assert len(read_table(out / "utt2spk")) == 19


@pytest.mark.parametrize("place", ["/nowhere/x.ark:5", "/usr:5"])
def test_an_archive_that_is_none_loses_only_its_utterance(
    data_dir: Path, broken: Path, tmp_path: Path, place
):
    table = (broken / "wav.scp").read_text().replace(f"{data_dir / 's1-05'}.flac", place)
    (broken / "wav.scp").write_text(table)
    out = extract(broken, tmp_path / "f")
    assert (out / "lost_utterances").read_text().startswith("s1-05 ")
    assert len(load_scp(out / "feats.scp")) == 19


def test_what_a_command_lost_is_tried_again(data_dir: Path, broken: Path, tmp_path: Path):
    """Its mending shows in no file that is known here; the other job is left as it is."""
    command, path = f"cat {tmp_path}/x.flac |", data_dir / "s2-15.flac"
    (broken / "wav.scp").write_text((broken / "wav.scp").read_text().replace(str(path), command))
    out, options = tmp_path / "f", ["--nj", "2", "--allow-pipes", "true"]

    def times() -> list[int]:
        return [(out / name).stat().st_mtime_ns for name in ("feats.1.ark", "feats.2.ark")]

    extract(broken, out, *options)
    before = times()
    extract(broken, out, *options, processes=True)  # it fails still
    again = times()
    assert again[0] == before[0] and again[1] != before[1]
    assert (out / "lost_utterances").is_file() and (out / "features.json").is_file()
    shutil.copy(path, tmp_path / "x.flac")
    extract(broken, out, *options, processes=True)
    mended = times()
    assert mended[0] == before[0]
    assert contents(out) == contents(extract(data_dir, tmp_path / "g", "--nj", "2"))
    assert not (out / "lost_utterances").exists() and not (out / ".jobs").exists()
    extract(broken, out, *options, processes=True)
    assert times() == mended


def test_what_a_file_lost_is_not_tried_again(data_dir: Path, tmp_path: Path):
    out = extract(data_dir, tmp_path / "f", "--min-duration", "0.51")
    before = (out / "feats.1.ark").stat().st_mtime_ns
    extract(data_dir, out, "--min-duration", "0.51", processes=True)
    assert (out / "feats.1.ark").stat().st_mtime_ns == before


def test_too_many_lost_utterances_fail(data_dir: Path, broken: Path, tmp_path: Path):
    short = tmp_path / "short.wav"
    soundfile.write(short, np.zeros(200), RATE)
    stereo = tmp_path / "stereo.wav"
    soundfile.write(stereo, np.zeros((RATE, 2)), RATE)
    slow = tmp_path / "slow.wav"
    soundfile.write(slow, np.zeros(RATE), 8000)
    table = (broken / "wav.scp").read_text()
    for utt_id, path in (("s1-00", short), ("s1-01", stereo), ("s1-02", slow)):
        table = table.replace(f"{data_dir / utt_id}.flac", str(path))
    (broken / "wav.scp").write_text(table)
    with pytest.raises(InputError, match="3 of 20 utterances are lost") as caught:
        extract(broken, tmp_path / "f")
    assert "short.wav: utterance 's1-00': 200 samples are too few" in str(caught.value)
    lost = (tmp_path / "f" / "lost_utterances").read_text().splitlines()
    assert "stereo.wav: utterance 's1-01': has 2 channels" in lost[1]
    assert "slow.wav: utterance 's1-02': the sample rate is 8000 Hz, want 16000 Hz" in lost[2]
    assert not (tmp_path / "f" / "features.json").exists()
    assert not (tmp_path / "f" / "feats.scp").exists()
    # Two of the three can be mended by asking.
    extract(broken, tmp_path / "f", "--channel", "0", "--allow-upsample", "true")
    assert len((tmp_path / "f" / "lost_utterances").read_text().splitlines()) == 1


def test_a_recording_put_right_is_read_again(data_dir: Path, broken: Path, tmp_path: Path):
    path = tmp_path / "s1-05.flac"
    good = shutil.copy2(data_dir / path.name, path).read_bytes()
    time_ns = path.stat().st_mtime_ns
    table = (broken / "wav.scp").read_text().splitlines()[4:7]  # one of three is more than may be lost
    (broken / "wav.scp").write_text("\n".join(table).replace(str(data_dir / path.name), str(path)) + "\n")
    for data, fails in ((good[:3000] + bytes(9) + good[3009:], True), (good, False)):
        path.write_bytes(data)
        os.utime(path, ns=(time_ns, time_ns))  # as a copy that keeps times
        if fails:
            with pytest.raises(InputError, match="1 of 3 utterances are lost"):
                extract(broken, tmp_path / "f")
    assert len(load_scp(extract(broken, tmp_path / "f") / "feats.scp")) == 3


def test_commands_need_leave(data_dir: Path, broken: Path, tmp_path: Path):
    table = read_table(broken / "wav.scp")
    (broken / "wav.scp").write_text("".join(f"{utt_id} cat {path} |\n" for utt_id, path in table.items()))
    with pytest.raises(InputError, match=r"20 of 20.*--allow-pipes"):
        extract(broken, tmp_path / "f")
    piped = extract(broken, tmp_path / "f", "--allow-pipes", "true")
    assert contents(piped) == contents(extract(data_dir, tmp_path / "g"))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--nj", "0"], "--nj: want 1 or more"),
        (["--data-dir", "/nowhere"], "/nowhere: no such data directory"),
        (["--num-mel-bins", "2"], "2 mel bins"),
        (["--frame-shift", "nan"], "frame-shift is nan, want a number"),
        (["--vtln-warp", "inf"], "vtln-warp is inf, want a number"),
        (["--delta-order", "1", "--delta-window", "0"], "delta-order is 1 and delta-window 0, want"),
        (["--delta-order", "-1"], "delta-order is -1 and delta-window 2, want"),
    ],
)
def test_bad_options(data_dir: Path, tmp_path: Path, option: list[str], message: str):
    with pytest.raises(InputError, match=message):
        extract(data_dir, tmp_path / "f", *option)


def test_a_table_without_utterances_is_told(broken: Path, tmp_path: Path):
    (broken / "wav.scp").write_text("")
    with pytest.raises(InputError, match=r"wav\.scp: no utterances"):
        extract_feats.main(arguments(broken, tmp_path / "f"))
    assert not (tmp_path / "f").exists()


def test_unknown_options_and_keys(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        extract(data_dir, tmp_path / "f", "--colour", "red")
    assert "--colour" in capsys.readouterr().err
    (tmp_path / "c.yaml").write_text("feature: fbank\ncolour: red\n")
    with pytest.raises(SystemExit):
        extract(data_dir, tmp_path / "f", "--config", str(tmp_path / "c.yaml"))
    assert "colour" in capsys.readouterr().err


def test_an_utterances_identity_is_its_place_its_warp_and_its_file(broken: Path, tmp_path: Path):
    """What changes when it must be extracted again."""
    utts, frontend = list(read_table(broken / "wav.scp"))[:3], make_frontend("fbank", {})
    shutil.copy(read_table(broken / "wav.scp")[utts[0]], tmp_path / "r.flac")
    (broken / "wav.scp").write_text(f"r {tmp_path}/r.flac\n")

    def identities(places: str, warps: dict[str, float]) -> list[list[object]]:
        (broken / "segments").write_text(
            "".join(f"{u} r {p}\n" for u, p in zip(utts, places.split(","), strict=True))
        )
        source = AudioSource(Wavs(broken), frontend, warps=warps)
        return [source.identity(utt_id) for utt_id in utts]

    before = identities("0 0.2,0 0.3,0.1 0.3", {})
    for places, warps in (("0 0.25,0 0.3,0.1 0.3", {}), ("0.05 0.2,0 0.3,0.1 0.3", {}),
                          ("0 0.2,0 0.3,0.1 0.3", {utts[0]: 1.1})):  # fmt: skip
        assert [one == other for one, other in zip(before, identities(places, warps), strict=True)] == [
            False, True, True,
        ]  # fmt: skip
    os.utime(tmp_path / "r.flac", ns=(0, 10**9))
    assert not any(
        one == other for one, other in zip(before, identities("0 0.2,0 0.3,0.1 0.3", {}), strict=True)
    )


def test_vtln_map(data_dir: Path, tmp_path: Path):
    (tmp_path / "warps").write_text("s1 1.0\ns2 0.9\ns2-12 1.1\n")
    plain, warped = extract(data_dir, tmp_path / "f"), tmp_path / "g"
    extract(data_dir, warped, "--vtln-map", str(tmp_path / "warps"))
    for utt_id, warp in (("s1-03", 1.0), ("s2-12", 1.1), ("s2-13", 0.9)):
        frontend = make_frontend("fbank", {"num_mel_bins": 40, "vtln_warp": warp})
        expected = frontend(*read_audio(data_dir / f"{utt_id}.flac"))
        read = read_matrix(load_scp(warped / "feats.scp")[utt_id])
        np.testing.assert_allclose(read, expected, atol=0.1)
        same = np.allclose(read, read_matrix(load_scp(plain / "feats.scp")[utt_id]), atol=0.1)
        assert same == (warp == 1.0)
    (tmp_path / "warps").write_text("s1 1.0\n")
    with pytest.raises(InputError, match="no warp factor for utterance 's2-10'"):
        extract(data_dir, tmp_path / "h", "--vtln-map", str(tmp_path / "warps"))
    with pytest.raises(InputError, match="only fbank and mfcc warp frequencies"):
        extract(data_dir, tmp_path / "h", "--feature", "mel", "--vtln-map", str(tmp_path / "warps"))


def test_short_utterances_can_be_refused(data_dir: Path, tmp_path: Path):
    extract(data_dir, tmp_path / "f", "--min-duration", "0.51")
    lost = (tmp_path / "f" / "lost_utterances").read_text()
    assert "utterance 's1-00': lasts 0.500 s, less than --min-duration 0.51" in lost


def test_speaker_cmvn_needs_speakers(broken: Path, tmp_path: Path):
    (broken / "utt2spk").unlink()
    with pytest.raises(InputError, match="utt2spk: no such file, which CMVN by speaker needs"):
        extract(broken, tmp_path / "f", "--cmvn", "speaker")


def command(data: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "speechrep.bin.extract_feats", *arguments(data, out, *options)]


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("what", ["all", "job"])
def test_killed_in_the_middle_and_run_again(data_dir: Path, broken: Path, tmp_path: Path, what: str):
    """Kill everything, or the second job alone, while that job is in its last utterance; then run again."""
    flag, table = tmp_path / "go", read_table(broken / "wav.scp")
    hold = f"if [ -e {flag} ]; then cat {table['s2-19']}; else exec sleep 60; fi |"
    (broken / "wav.scp").write_text("".join(f"{u} {hold if u == 's2-19' else p}\n" for u, p in table.items()))
    out, options = tmp_path / "f", ["--nj", "2", "--allow-pipes", "true"]
    process = subprocess.Popen(
        command(broken, out, *options), stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    wait_for((out / ".jobs" / "1.json").is_file)
    wait_for(lambda: list(out.glob(".feats.2.ark.*.tmp")))
    if what == "all":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        (job,) = matching(f"{re.escape(str(out))}.*--job 2")
        sleeping = children(job)
        os.kill(job, signal.SIGKILL)
        for pid in sleeping:  # holds no file of ours, but must not outlive the test
            os.kill(pid, signal.SIGKILL)
    err = process.communicate()[1]
    assert process.returncode
    if what == "job":
        assert "job 2 was killed by signal 9" in err
    assert not (out / "features.json").exists()
    assert not (out / "feats.scp").exists()
    assert not (out / "feats.2.ark").exists()
    first_job = (out / "feats.1.ark").stat().st_mtime_ns
    flag.touch()
    subprocess.run(command(broken, out, *options), check=True, capture_output=True)
    assert (out / "feats.1.ark").stat().st_mtime_ns == first_job  # the finished job is not redone
    assert contents(out) == contents(extract(data_dir, tmp_path / "g", "--nj", "2"))
    assert not list(out.glob(".*.tmp"))


def test_a_full_disk_is_told(data_dir: Path, tmp_path: Path):
    out = tmp_path / "f"
    words = " ".join(command(data_dir, out, "--nj", "1", "--compress", "false"))
    done = subprocess.run(["bash", "-c", f"ulimit -f 50; exec {words}"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert not (out / "features.json").exists()
    assert not list(out.glob("feats*"))
    assert contents(extract(data_dir, out))


@pytest.mark.parametrize("name", ["feats.1.ark", "feats.scp"])
def test_what_was_removed_is_made_again(data_dir: Path, tmp_path: Path, name: str):
    out = extract(data_dir, tmp_path / "f")
    before = contents(out)
    (out / name).unlink()
    assert contents(extract(data_dir, out)) == before


def test_launcher(data_dir: Path, tmp_path: Path):
    launcher = tmp_path / "run.sh"
    launcher.write_text(
        "#!/usr/bin/env bash\nset -eu\nshift 2\n[ $1 = SPEECHREP_JOB=1:3 ]\nlog=$2; shift 2\n"
        'mkdir -p "$(dirname "$log")"\n'
        'for job in 1 2 3; do "${@//SPEECHREP_JOB/$job}" > "${log//SPEECHREP_JOB/$job}" 2>&1; done\n'
    )
    launcher.chmod(0o755)
    (tmp_path / "JOBS").mkdir()  # is a name like any other
    out = extract(data_dir, tmp_path / "JOBS/f", "--nj", "3", "--cmd", f"{launcher} --mem 1G", processes=True)
    assert contents(out) == contents(extract(data_dir, tmp_path / "g", "--nj", "3"))
    assert (out / "log" / "extract.3.log").is_file()
    run_job(1, data_dir, tmp_path / "i", "--nj", "3")  # done before; a launcher takes the range of all
    extract(data_dir, tmp_path / "i", "--nj", "3", "--cmd", f"{launcher} --mem 1G", processes=True)
    assert contents(tmp_path / "i") == contents(tmp_path / "g")
    with pytest.raises(InputError, match=r"extract\.1\.log: job 1 did not finish"):
        extract(data_dir, tmp_path / "h", "--cmd", "true", processes=True)
    with pytest.raises(InputError, match="the launcher ended with status 1"):
        extract(data_dir, tmp_path / "h", "--cmd", "false", processes=True)
    with pytest.raises(InputError, match="cannot be started"):
        extract(data_dir, tmp_path / "h", "--cmd", "/nowhere/run.pl", processes=True)


def test_workers_start_cheaply():
    code = "import sys, speechrep.bin.extract_feats; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    found = set(loaded.replace("'", "").strip("[]\n").split(", "))
    assert "numpy" in found
    assert not {"torch", "librosa", "h5py", "numba", "scipy"} & found
