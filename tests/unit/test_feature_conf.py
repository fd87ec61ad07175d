"""The feature configurations of the recipe: each makes what its name says, presets are the presets."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

import speechrep
from speechrep.bin import extract_feats, feature_conf
from speechrep.compat.presets import PRESETS, preset_meta
from speechrep.config import to_dict
from speechrep.data.features import open_features
from speechrep.data.identity import require_equal
from speechrep.errors import InputError
from speechrep.frontend.cmvn import normalise, statistics
from speechrep.frontend.registry import FRONTENDS, make_frontend
from speechrep.io.audio import read_audio
from speechrep.io.feature_meta import FeatureMeta
from speechrep.upstream.checkpoint import save_model
from speechrep.upstream.registry import CONFIGS, build

CONF = Path(__file__).parents[2] / "egs/librispeech/conf"
FEATURES = sorted(p for p in CONF.glob("*.yaml") if re.search("^feature: ", p.read_text(), re.MULTILINE))
SHIFT_MS = {"mel160": 12.5, "mj-mel160": 12.5, "linear1025": 12.5, "mj-linear1025": 12.5}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for utt_id in ("a", "b"):
        soundfile.write(path / f"{utt_id}.wav", 0.1 * rng.standard_normal(16000), 16000)
    (path / "wav.scp").write_text(f"a {path}/a.wav\nb {path}/b.wav\n")
    (path / "utt2spk").write_text("a s\nb s\n")
    return path


def test_they_are_all_there():
    wanted = {
        "fbank80",
        "fbank80_delta",
        "mfcc39",
        "mel160",
        "mel80_10ms",
        "linear1025",
        "linear201",
        "kaldi_scp",
    }
    assert (wanted | set(PRESETS)) - {"fmllr40"} <= {path.stem for path in FEATURES}


@pytest.mark.parametrize("path", [p for p in FEATURES if p.stem != "kaldi_scp"], ids=lambda p: p.stem)
def test_configuration(path: Path, data_dir: Path, tmp_path: Path):
    words = ["--config", str(path), "--data-dir", str(data_dir), "--out-dir", str(tmp_path / "f")]
    extract_feats.main([*words, "--job", "1"])
    extract_feats.main(words)
    reader = open_features(tmp_path / "f")
    meta = reader.meta
    dim = {"fbank80_delta": 240}.get(path.stem) or int(re.search(r"(\d+)", path.stem.replace("s3-", ""))[0])
    assert (meta.dim, meta.frame_shift_ms) == (dim, SHIFT_MS.get(path.stem, 10.0))
    if path.stem in PRESETS:
        require_equal(preset_meta(path.stem).acoustic(), meta.acoustic(), path.stem, path)
    # What is read is what the stored options make of the samples, to the step of the compression.
    feats = make_frontend(meta.feature, meta.config)(*read_audio(data_dir / "a.wav"))
    if meta.cmvn == "utterance":
        feats = normalise(feats, statistics(feats), meta.norm_vars)
    if meta.cmvn != "speaker":
        tolerance = 1e-4 if meta.dtype == "float32" else 0.1
        np.testing.assert_allclose(reader.read("a"), feats, atol=tolerance)


def saved(folder: Path, **changed: object) -> str:
    """An upstream of 40 filters whose features are normalised as seldom as may be."""
    config = to_dict(FRONTENDS["fbank"][0](num_mel_bins=40, delta_order=1))
    given = {"feature": "fbank", "config": config, "dim": 80, "cmvn": "speaker", "norm_vars": False}
    meta = FeatureMeta(frame_shift_ms=10.0, sample_rate=16000, **(given | changed))
    save_model(folder, build("apc", CONFIGS["apc"](hidden_size=8), meta))
    return str(folder)


def test_what_models_were_trained_on_is_extracted_again(data_dir: Path, tmp_path: Path):
    models = [saved(tmp_path / name) for name in ("a", "b")]
    feature_conf.main(["--models", *models, "--out", str(tmp_path / "like.yaml")])
    words = [
        "--config",
        str(tmp_path / "like.yaml"),
        "--data-dir",
        str(data_dir),
        "--out-dir",
        str(tmp_path / "f"),
    ]
    extract_feats.main([*words, "--job", "1"])
    extract_feats.main(words)
    assert open_features(tmp_path / "f").meta.acoustic() == speechrep.load(models[0]).meta.acoustic()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"norm_vars": True}, "norm_vars is True but .*a was made for False"),
        ({"cmvn": "global"}, "statistics of its whole corpus .*--global-cmvn-from"),
        ({"feature": "kaldi", "config": {}}, "'kaldi' features, which were made elsewhere"),
    ],
)
def test_what_cannot_be_extracted_alike_is_refused(tmp_path: Path, changed: dict, told: str):
    models = [saved(tmp_path / "b", **changed)]
    if "norm_vars" in changed:
        models.insert(0, saved(tmp_path / "a"))
    with pytest.raises(InputError, match=told):
        feature_conf.main(["--models", *models, "--out", str(tmp_path / "like.yaml")])
    assert not (tmp_path / "like.yaml").exists()
