"""Dumping gives what the model gives, utterance by utterance, with its provenance, or nothing at all."""

import dataclasses

import numpy as np
import pytest
import torch
from models import meta, model

import speechrep
from speechrep.bin import dump
from speechrep.data.features import open_features
from speechrep.errors import InputError
from speechrep.io.store import StoreWriter
from speechrep.upstream.checkpoint import save_model
from speechrep.upstream.dumping import parse_layers

LENGTHS = [7, 30, 12, 25, 3, 18]


def write_feats(path, **changes):
    rng = np.random.default_rng(0)
    with StoreWriter(path, meta(**changes), [f"u{i}" for i in range(len(LENGTHS))], LENGTHS) as writer:
        for i, length in enumerate(LENGTHS):
            writer.write(f"u{i}", rng.standard_normal((length, changes.get("dim", 6))).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def feats(tmp_path_factory):
    return write_feats(tmp_path_factory.mktemp("feats") / "feats.h5")


def run(feats, exp_dir, out, *more):
    dump.main(["--upstream", str(exp_dir), "--feats-dir", str(feats), "--out", str(out), *more])
    return open_features(out)


@pytest.mark.parametrize("name", ["apc", "mockingjay", "surface"])
@pytest.mark.parametrize("layers", ["last", "all", "1,0"])
def test_the_store_holds_the_models_vectors(feats, tmp_path, name, layers):
    if name == "surface" and layers == "1,0":
        return  # has one layer
    save_model(tmp_path / "exp", model(name))
    loaded = speechrep.load(tmp_path / "exp")
    store = run(feats, tmp_path / "exp", tmp_path / "x.h5", "--layers", layers, "--max-frames", "60")
    reader = open_features(feats)
    assert store.utt_ids == reader.utt_ids and store.num_frames.tolist() == LENGTHS
    for utt_id in reader.utt_ids:
        alone = loaded(torch.from_numpy(reader.read(utt_id))[None]).hiddens
        chosen = parse_layers(layers, len(alone))
        want = torch.stack([alone[layer][0] for layer in chosen], 1).numpy()
        want = want if len(chosen) > 1 else want[:, 0]
        np.testing.assert_allclose(store.read(utt_id), want, atol=2e-5)
    assert store.meta.upstream == name and store.meta.weights_sha256 == loaded.weights_sha256
    assert store.meta.layers == chosen and store.meta.dim == want.shape[-1]
    assert store.meta.config == reader.meta.config and store.meta.frame_shift_ms == 10.0


def test_a_down_sampling_model_gives_fewer_frames(feats, tmp_path):
    save_model(tmp_path / "exp", model("mockingjay", downsample=3))
    store = run(feats, tmp_path / "exp", tmp_path / "x.h5")
    assert store.num_frames.tolist() == [length // 3 for length in LENGTHS]
    assert store.meta.frame_shift_ms == 30.0


def test_float16(feats, tmp_path):
    save_model(tmp_path / "exp", model("apc"))
    full = run(feats, tmp_path / "exp", tmp_path / "x.h5")
    half = run(feats, tmp_path / "exp", tmp_path / "y.h5", "--dtype", "float16")
    assert half.meta.dtype == "float16"
    np.testing.assert_allclose(half.read("u1"), full.read("u1"), atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 4}, "dim is 4 but"),
        ({"frame_shift_ms": 12.5}, r"frame_shift_ms is 12\.5 but"),
        ({"cmvn": "none"}, "cmvn is 'none' but"),
        ({"upstream": "apc"}, "holds representations of apc"),
    ],
)
def test_refuses_features_of_another_make(tmp_path, changes, message):
    save_model(tmp_path / "exp", model("apc"))
    other = write_feats(tmp_path / "other.h5", **changes)
    with pytest.raises(InputError, match=message):
        run(other, tmp_path / "exp", tmp_path / "x.h5")
    assert not list(tmp_path.glob("*x.h5*"))


def test_refuses_unknown_layers(feats, tmp_path):
    save_model(tmp_path / "exp", model("apc"))
    for layers, message in [
        ("7", "the layers 0 to 1"),
        ("0,0", "the layers 0 to 1"),
        ("top", "layers is 'top'"),
    ]:
        with pytest.raises(InputError, match=message):
            run(feats, tmp_path / "exp", tmp_path / "x.h5", "--layers", layers)
    with pytest.raises(InputError, match=r"does not end in \.h5"):
        run(feats, tmp_path / "exp", tmp_path / "x.hdf")


def test_an_utterance_too_short_for_the_model_is_named(tmp_path, feats):
    save_model(tmp_path / "exp", model("mockingjay", downsample=4))
    with pytest.raises(InputError, match="u4: no frames"):
        run(feats, tmp_path / "exp", tmp_path / "x.h5")
    assert not list(tmp_path.glob("*x.h5*"))


def test_meta_of_a_dump_is_not_that_of_its_input(feats, tmp_path):
    save_model(tmp_path / "exp", model("surface", context=1))
    store = run(feats, tmp_path / "exp", tmp_path / "x.h5")
    assert store.meta.dim == 18
    assert store.meta.identity() != dataclasses.replace(open_features(feats).meta, dim=18).identity()
