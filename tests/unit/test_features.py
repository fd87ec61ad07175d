"""One reader for directories of archives and stores, and what they refuse."""

import dataclasses
import shutil

import numpy as np
import pytest

from speechrep.data.features import open_features
from speechrep.errors import InputError
from speechrep.frontend.cmvn import statistics
from speechrep.io.ark import write_ark
from speechrep.io.feature_meta import FeatureMeta, write_meta
from speechrep.io.store import StoreWriter
from speechrep.io.table import write_table

META = FeatureMeta("fbank", {}, 4, 10.0, 16000, cmvn="speaker")
RNG = np.random.default_rng(0)
FEATS = {f"{spk}-{i}": RNG.normal(3, 2, (20 + i, 4)).astype(np.float32) for spk in "ab" for i in range(3)}


@pytest.fixture
def feature_dir(tmp_path):
    write_ark(tmp_path / "feats.1.ark", FEATS.items(), scp=tmp_path / "feats.scp")
    stats = {
        spk: sum(statistics(feats) for utt_id, feats in FEATS.items() if utt_id[0] == spk) for spk in "ab"
    }
    write_ark(tmp_path / "cmvn.ark", stats.items(), scp=tmp_path / "cmvn.scp")
    write_table(tmp_path / "utt2spk", {utt_id: utt_id[0] for utt_id in FEATS})
    write_table(tmp_path / "utt2num_frames", {utt_id: str(len(feats)) for utt_id, feats in FEATS.items()})
    write_meta(tmp_path / "features.json", META)
    return tmp_path


@pytest.mark.parametrize("norm_vars", [True, False])
def test_a_directory_is_read_normalised(feature_dir, norm_vars):
    meta = dataclasses.replace(META, norm_vars=norm_vars)
    write_meta(feature_dir / "features.json", meta)
    reader = open_features(feature_dir)
    assert reader.utt_ids == list(FEATS) and reader.num_frames.tolist() == [20, 21, 22] * 2
    assert reader.meta == meta
    frames, raw = (
        np.concatenate([read(u) for u in FEATS if u[0] == "a"]) for read in (reader.read, FEATS.get)
    )
    assert frames.dtype == np.float32
    deviation = 1 if norm_vars else raw.std(0)
    assert np.allclose(frames.mean(0), 0, atol=1e-5) and np.allclose(frames.std(0), deviation, atol=1e-4)
    assert np.array_equal(reader.read("a-1", 5, 9), reader.read("a-1")[5:9])


def test_a_store_reads_the_same(feature_dir, tmp_path):
    reader = open_features(feature_dir)
    with StoreWriter(tmp_path / "x.h5", META, reader.utt_ids, reader.num_frames.tolist()) as writer:
        for utt_id in reader.utt_ids:
            writer.write(utt_id, reader.read(utt_id))
    store = open_features(tmp_path / "x.h5")
    assert store.utt_ids == reader.utt_ids and np.array_equal(store.num_frames, reader.num_frames)
    for utt_id in reader.utt_ids:
        assert np.array_equal(store.read(utt_id, 3, 12), reader.read(utt_id, 3, 12))


def test_an_archive_at_its_place_is_meant_and_not_one_of_its_name_beside_the_table(feature_dir, tmp_path):
    """As where sets were combined, each of which has its ``feats.1.ark``."""
    shutil.copytree(feature_dir, tmp_path / "other", ignore=shutil.ignore_patterns("other"))
    write_ark(tmp_path / "other/feats.1.ark", [(utt_id, feats + 9) for utt_id, feats in FEATS.items()])
    want = open_features(feature_dir).read("a-1")
    np.testing.assert_array_equal(open_features(tmp_path / "other").read("a-1"), want)


def test_lengths_come_from_the_archives_where_no_table_has_them(feature_dir):
    (feature_dir / "utt2num_frames").unlink()
    assert open_features(feature_dir).num_frames.tolist() == [20, 21, 22] * 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("feats.scp", "", "feats.scp: no utterances"),
        ("features.json", "{}", "features.json: not feature metadata"),
        ("utt2num_frames", "a-0 20\n", "utt2num_frames: no utterance a-1"),
        ("utt2num_frames", "".join(f"{u} many\n" for u in FEATS), "not a number of frames"),
    ],
)
def test_damaged_tables_are_told(feature_dir, name, text, message):
    (feature_dir / name).write_text(text)
    with pytest.raises(InputError, match=message):
        open_features(feature_dir)


def test_damage_is_told_with_file_and_utterance(feature_dir):
    with pytest.raises(InputError, match=r"feats\.scp: no utterance c-0"):
        open_features(feature_dir).read("c-0")
    write_meta(feature_dir / "features.json", dataclasses.replace(META, dim=5))
    with pytest.raises(InputError, match=r"utterance a-0: 4 values per frame, features\.json says 5"):
        open_features(feature_dir).read("a-0")
    write_meta(feature_dir / "features.json", META)
    ark = feature_dir / "feats.1.ark"
    ark.write_bytes(ark.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"feats\.1\.ark.*: utterance b-2"):
        open_features(feature_dir).read("b-2")


def test_refuses_what_holds_no_features(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for path, message in [
        (tmp_path / "absent", "no such feature directory or store"),
        (tmp_path / "notes.txt", "no features here"),
        (tmp_path, "no feats.scp"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            open_features(path)
        assert str(path) in str(caught.value)
