"""Features say what made them, and those that do not fit are refused by name."""

import dataclasses

import pytest

from speechrep.config import to_dict
from speechrep.data.identity import are_equal, require_equal
from speechrep.errors import InputError
from speechrep.frontend.fbank import FbankConfig
from speechrep.io.feature_marks import invalidate, invalidate_all
from speechrep.io.feature_meta import FeatureMeta, read_meta, write_meta
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


CHANGED = {
    "feature": "mel", "config": {"num_mel_bins": 40}, "dim": 40, "frame_shift_ms": 12.5, "sample_rate": 8000,
    "cmvn": "utterance", "norm_vars": False, "upstream": "apc", "weights_sha256": "ab", "layers": (1,),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED)
def test_what_makes_features_others(name):
    """The model behind them does for a task, not for an upstream, which takes what is acoustic."""
    other = dataclasses.replace(META, **{name: CHANGED[name]})
    assert not are_equal(META.identity(), other.identity())
    acoustic = name not in ("upstream", "weights_sha256", "layers")
    assert are_equal(META.acoustic(), other.acoustic()) != acoustic


@pytest.mark.parametrize("name", ["dtype", "precision", "commit", "created"])
def test_what_makes_no_other_features(name):
    other = dataclasses.replace(META, **{name: "x"})
    assert META.identity() == other.identity() and META.acoustic() == other.acoustic()


def test_what_says_that_a_directory_is_whole_goes_before_it_changes(tmp_path):
    names = {"features.json", ".done.json", "feats.scp", "feats.1.ark"}
    for forget, left in ((invalidate, {"feats.1.ark", ".jobs"}), (invalidate_all, {"feats.1.ark"})):
        for name in names:
            (tmp_path / name).write_text("x")
        (tmp_path / ".jobs").mkdir(exist_ok=True)
        forget(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == left
    invalidate_all(tmp_path / "nothing")


def test_an_option_that_came_later_means_its_default():
    """A model made before an option existed takes features made since, but for another value of it."""
    options = to_dict(FbankConfig(num_mel_bins=80))
    older = {name: value for name, value in options.items() if name != "dither"}
    now = dataclasses.replace(META, config=options)
    resampled = options | {"allow_downsample": True}
    for want, got in [(older, options), (options, older), (older, older), (options, resampled)]:
        metas = [dataclasses.replace(META, config=config).acoustic() for config in (want, got)]
        require_equal(*metas, "exp/apc", "train")
        assert are_equal(*metas)
    other = dataclasses.replace(META, config=options | {"dither": 1.0})
    with pytest.raises(InputError, match=r"^[^;{]*dither is 1\.0 but exp/apc was made for 0\.0[^;]*$"):
        require_equal(
            dataclasses.replace(META, config=older).identity(), other.identity(), "exp/apc", "train"
        )
    assert not are_equal(now.acoustic(), other.acoustic())


@pytest.mark.parametrize(("feature", "config"), [("kaldi", {"kind": "fmllr"}), ("fbank", {"unheard_of": 1})])
def test_options_that_nobody_here_knows_are_compared_as_they_are(feature, config):
    identity = dataclasses.replace(META, feature=feature, config=config).identity()
    assert are_equal(identity, dict(identity)) and not are_equal(identity, identity | {"config": {}})
