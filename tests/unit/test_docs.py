"""The code that the documents show runs as it stands."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch
from models import meta, model

from speechrep.config import to_dict
from speechrep.frontend.fbank import FbankConfig
from speechrep.io.store import StoreWriter
from speechrep.upstream.apc import ApcConfig
from speechrep.upstream.checkpoint import save_model
from speechrep.upstream.registry import build

DOCS = Path(__file__).parents[2] / "docs"


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL)


def test_fine_tuning_by_hand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model("exp/apc", model("apc"))
    (code,) = (block for block in blocks("downstream.md") if "optimizer.step()" in block)
    before = model("apc").state_dict()
    names: dict = {}
    exec(compile(code, "docs/downstream.md", "exec"), names)
    assert names["loss"].isfinite() and names["vectors"].shape == (4, 300, 8)
    after = names["upstream"]
    assert not after.training and not any(p.requires_grad for p in after.parameters())
    changed = {name for name, value in after.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in changed} == {"rnns"}  # what only pre-training needs is left alone
    assert Path("phones/upstream/model.safetensors").exists()


def test_representations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frontend = FbankConfig(num_mel_bins=6)
    save_model("exp/apc", build("apc", ApcConfig(hidden_size=8), meta(config=to_dict(frontend), cmvn="none")))
    noise = np.random.default_rng(0).normal(0, 0.1, 16000 * 12)
    soundfile.write("speech.flac", noise, 16000)
    names: dict = {}
    exec(compile("".join(blocks("representations.md")), "docs/representations.md", "exec"), names)
    assert names["output"].hiddens[-1].shape == (1, 1198, 8) and names["output"].frame_shift_ms == 10.0
    assert names["piece"].hiddens[-1].shape == (1, 198, 8)


@pytest.mark.parametrize("layers", [0, 2])
def test_a_store_is_read_by_h5py_alone(tmp_path, monkeypatch, layers):
    monkeypatch.chdir(tmp_path)
    feats = torch.randn(5, *([layers] if layers else []), 6).numpy()
    with StoreWriter("dev.h5", model("apc").meta, ["x", "1272-128104-0000"], [5, 5], layers) as writer:
        writer.write("x", feats - 1)
        writer.write("1272-128104-0000", feats)
    (code,) = (block for block in blocks("downstream.md") if "h5py.File" in block)
    names: dict = {"h5py": h5py}
    exec(compile(code, "docs/downstream.md", "exec"), names)
    assert (names["feats"] == feats).all()


def test_adding_a_front_end_and_a_model():
    energy, smooth = blocks("adding.md")
    names: dict = {"__name__": "adding"}
    exec(compile(energy, "docs/adding.md", "exec"), names)
    frontend = names["Energy"](names["EnergyConfig"]())
    feats = frontend(np.full(16000, 0.1, np.float32), 16000)
    assert feats.shape == (100, 1) and np.allclose(feats, np.log(0.01), atol=1e-4)

    exec(compile(smooth, "docs/adding.md", "exec"), names)
    upstream = names["Smooth"](names["SmoothConfig"](), meta())
    feats, lens = torch.randn(2, 20, meta().dim), torch.tensor([20, 12])
    loss, stats = upstream.pretrain_loss(feats, lens)
    loss.backward()
    assert stats["weight"] == 32 and upstream.filter.weight.grad.abs().sum() > 0
    alone = upstream(feats[1:, :12], lens[1:]).hiddens[-1]
    torch.testing.assert_close(upstream(feats, lens).hiddens[-1][1:, :12], alone)
