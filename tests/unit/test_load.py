"""speechrep.load: the same vectors as before saving; anything else is told."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from models import batch, model
from safetensors.numpy import load_file

import speechrep
from speechrep.errors import InputError
from speechrep.io import model_files
from speechrep.io.model_files import read_model, weights_sha256, write_model
from speechrep.upstream.checkpoint import save_model


@pytest.mark.parametrize("name", ["surface", "apc", "mockingjay"])
@pytest.mark.parametrize("file", ["", "model.safetensors", "model.json"])
def test_round_trip(tmp_path, name, file):
    original = model(name).eval().requires_grad_(False)
    sha = save_model(tmp_path, original, {"step": 3})
    loaded = speechrep.load(tmp_path / file if file else str(tmp_path))
    assert loaded.meta == original.meta and loaded.config == original.config
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert loaded.weights_sha256 == sha
    feats, lens = batch([9, 5])
    for a, b in zip(original(feats, lens).hiddens, loaded(feats, lens).hiddens, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["apc", "mockingjay"])
def test_loading_draws_no_random_numbers(tmp_path, name):
    save_model(tmp_path, model(name))
    before = torch.random.get_rng_state()
    speechrep.load(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_loading_needs_no_compiler(tmp_path):
    """What torch would import of it takes a second and 70 MB in every process."""
    save_model(tmp_path, model("mockingjay"))
    check = "import sys, speechrep; speechrep.load(sys.argv[1]); assert 'torch._inductor' not in sys.modules"
    subprocess.run([sys.executable, "-c", check, str(tmp_path)], check=True)


def test_a_model_that_is_being_saved_is_read_once_it_is(tmp_path, monkeypatch):
    """A training puts new weights there a moment before it describes them."""
    save_model(tmp_path / "new", model("apc", seed=1))
    save_model(tmp_path, model("apc"))
    shutil.copy(tmp_path / "new/model.safetensors", tmp_path)

    def load_and_be_overtaken(file):
        shutil.copy(tmp_path / "new/model.json", tmp_path)
        return load_file(file)

    monkeypatch.setattr(model_files, "load_file", load_and_be_overtaken)
    assert speechrep.load(tmp_path).weights_sha256 == speechrep.load(tmp_path / "new").weights_sha256


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_who_may_read_the_description_may_read_the_weights(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_model(tmp_path, model("apc"))
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~umask}


def test_importing_the_package_does_not_import_torch():
    check = "import sys, speechrep; assert 'torch' not in sys.modules; speechrep.load; sys.modules['torch']"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_the_digest_is_of_content_not_of_layout(tmp_path):
    weights = {name: value.numpy() for name, value in model("apc").state_dict().items()}
    backwards = dict(reversed(list(weights.items())))
    assert weights_sha256(weights) == weights_sha256(backwards)
    changed = weights | {"postnet.bias": weights["postnet.bias"] + 1}
    assert weights_sha256(weights) != weights_sha256(changed)
    lying = {name: value.reshape(value.shape[::-1]) for name, value in weights.items()}  # the same bytes
    assert weights_sha256(weights) != weights_sha256(lying)


def test_global_statistics_are_kept_to_the_last_digit(tmp_path):
    """They are sums over all frames of a corpus, which a float32 cannot tell from their neighbours."""
    original = model("apc")
    original.cmvn_stats = np.array([[1e9 + 1, 1 / 3, 4e8 + 3], [1e12 + 7, 0.1, 0.0]])
    save_model(tmp_path, original)
    found = speechrep.load(tmp_path).cmvn_stats
    assert found.dtype == np.float64 and np.array_equal(found, original.cmvn_stats)


def edit(folder, **changes):
    info = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(info | changes))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda d: (d / "model.safetensors").write_bytes(b"abc"), "not a whole safetensors"),
        (lambda d: (d / "model.safetensors").unlink(), "no such file"),
        (lambda d: (d / "model.json").unlink(), "no model here"),
        (lambda d: edit(d, kind="downstream", task="phone"), "holds a downstream .* want an upstream"),
        (lambda d: edit(d, upstream="wav2vec"), "want an upstream"),
        (lambda d: edit(d, weights_sha256="0"), "not those that model.json describes"),
        (lambda d: edit(d, config={"hidden_size": 9, "num_layers": 2}), "do not fit the model at"),
        (lambda d: edit(d, config={"width": 8}), "width"),
        (lambda d: edit(d, format="x/1"), "not a model description"),
    ],
)
def test_bad_models_are_told(tmp_path, damage, complaint):
    save_model(tmp_path, model("apc"))
    damage(tmp_path)
    with pytest.raises(InputError, match=complaint) as error:
        speechrep.load(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_path_without_a_model_is_told(tmp_path):
    with pytest.raises(InputError, match="nothing: no such file or folder"):
        speechrep.load(tmp_path / "nothing")
    save_model(tmp_path / "exp/apc", model("apc"))
    with pytest.raises(InputError, match=r"no model here: .*it has models in apc"):
        speechrep.load(tmp_path / "exp")


@pytest.mark.parametrize("device", ["gpu", "cuda:7"])
def test_a_device_that_is_not_there_is_told(tmp_path, device):
    save_model(tmp_path, model("apc"))
    with pytest.raises(InputError, match=f"cannot be put on {device}: "):
        speechrep.load(tmp_path, device)


def test_weights_and_description_stay_together(tmp_path):
    write_model(tmp_path, {}, {"kind": "toy"})
    weights, info = read_model(tmp_path)
    assert weights == {} and info["kind"] == "toy"
