"""Features say what made them, and those that do not fit are refused by name."""

import dataclasses

import pytest

from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta, read_meta, require_equal, write_meta
from speechrep.io.files import read_json, write_json

META = FeatureMeta("fbank", {"num_mel_bins": 80}, dim=80, frame_shift_ms=10.0, sample_rate=16000)


def test_round_trip(tmp_path):
    meta = dataclasses.replace(META, upstream="apc", weights_sha256="ab", layers=(0, 2))
    write_meta(tmp_path / "features.json", meta)
    assert read_meta(tmp_path / "features.json") == meta


@pytest.mark.parametrize("damage", [{"dim": "80"}, {"format": "other"}, {"extra": 1}])
def test_damaged_metadata_names_the_file(tmp_path, damage):
    path = tmp_path / "features.json"
    write_meta(path, META)
    write_json(path, read_json(path) | damage)
    with pytest.raises(InputError, match=r"features\.json"):
        read_meta(path)


def test_a_mismatch_names_both_sides_and_both_values():
    other = dataclasses.replace(META, frame_shift_ms=12.5)
    with pytest.raises(InputError, match=r"train\.h5.*12\.5.*exp/apc.*10\.0"):
        require_equal(META.acoustic(), other.acoustic(), "exp/apc", "train.h5")
    require_equal(META.acoustic(), dataclasses.replace(META, created="x").acoustic(), "a", "b")
