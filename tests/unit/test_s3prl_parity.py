"""Against S3PRL itself where it is installed (``pip install --no-deps s3prl``): models and Featurizer."""

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any
from unittest import mock

import compat_fixtures as fixtures
import pytest
import torch
from test_s3prl_expert import saved, wavs

import speechrep
from speechrep.bin import export_checkpoint, import_checkpoint
from speechrep.compat.s3prl_expert import UpstreamExpert

SPEC = importlib.util.find_spec("s3prl")
pytestmark = pytest.mark.skipif(SPEC is None, reason="s3prl is not installed")
LENS = torch.tensor([50, 31])


def s3prl_module(name: str) -> Any:
    """One of its modules by file: importing the package would need torchaudio and more."""
    path = Path(SPEC.submodule_search_locations[0]) / "upstream" / f"{name.replace('.', '/')}.py"
    spec = importlib.util.spec_from_file_location(f"s3prl_upstream.{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def packages() -> Any:
    names = ("s3prl_upstream", "s3prl_upstream.apc", "s3prl_upstream.mockingjay")
    stubs = {name: types.ModuleType(name) for name in names}
    for stub in stubs.values():
        stub.__path__ = []
    with mock.patch.dict(sys.modules, stubs):
        yield


def assert_near(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        for row, length in enumerate(LENS):
            assert (a - b)[row, :length].abs().max() < 2e-5


@pytest.mark.parametrize(("dim", "residual"), [(20, True), (16, True), (16, False)])
def test_apc(tmp_path: Path, packages: Any, dim: int, residual: bool) -> None:
    s3prl_module("apc.vq")
    net = s3prl_module("apc.apc").APC(dim, 16, 3, 0.1, residual).eval()
    file = fixtures.s3prl_apc_file(tmp_path / "apc.ckpt", net.state_dict(), 3, 16, dim, residual)
    import_checkpoint.main(["--from", "s3prl", str(file), "--out", str(tmp_path / "exp")])
    feats = torch.randn(2, 50, dim)
    inputs: list[torch.Tensor] = []
    for rnn in net.rnn_layers[1:]:
        rnn.register_forward_pre_hook(
            lambda _, args: inputs.append(
                torch.nn.utils.rnn.pad_packed_sequence(args[0], batch_first=True)[0]
            )
        )
    with torch.no_grad():
        _, last = net(feats, LENS, testing=True)
    assert_near(speechrep.load(tmp_path / "exp")(feats, LENS).hiddens, [*inputs, last])
    export_checkpoint.main(["--to", "s3prl", str(tmp_path / "exp"), "--out", str(tmp_path / "back.ckpt")])
    back = torch.load(tmp_path / "back.ckpt", weights_only=True)
    again = s3prl_module("apc.apc").APC(dim, **back["config"]["model"]["paras"])
    again.load_state_dict(back["model"])


def test_transformer(tmp_path: Path, packages: Any) -> None:
    module = s3prl_module("mockingjay.model")
    config = fixtures.mockingjay_config(3, 24, 4, 40, 1)
    theirs = config["mockingjay"] | {"share_layer": False, "pre_layer_norm": False}
    net = module.TransformerModel(module.TransformerConfig(theirs), 10).eval()
    head = module.TransformerSpecPredictionHead(module.TransformerConfig(theirs), 10).eval()
    file = fixtures.s3prl_transformer_file(tmp_path / "s.ckpt", net.state_dict(), head.state_dict(), config)
    import_checkpoint.main(
        ["--from", "s3prl", str(file), "--out", str(tmp_path / "exp"), "--embedding-layer"]
    )
    feats = torch.randn(2, 50, 10)
    model = speechrep.load(tmp_path / "exp")
    positions = torch.from_numpy(fixtures.positions(50, 24)).expand(2, -1, -1)
    mask = (torch.arange(50)[None] < LENS[:, None]).float()
    with torch.no_grad():
        hiddens = net(feats, positions, mask, output_all_encoded_layers=True)
        target, _ = head(hiddens[-1])
    ours = model(feats, LENS).hiddens
    assert_near(ours, hiddens)
    assert_near([model.reconstruct(ours[-1])], [target])
    export_checkpoint.main(["--to", "s3prl", str(tmp_path / "exp"), "--out", str(tmp_path / "back.ckpt")])
    back = torch.load(tmp_path / "back.ckpt", weights_only=True)
    again = module.TransformerConfig(back["Upstream_Config"]["transformer"])
    module.TransformerModel(again, 10).load_state_dict(back["Transformer"])
    module.TransformerSpecPredictionHead(again, 10).load_state_dict(back["SpecHead"])


@pytest.mark.parametrize("kind", ["apc", "mockingjay"])
def test_its_featurizer_takes_our_expert(tmp_path: Path, packages: Any, kind: str) -> None:
    expert = UpstreamExpert(saved(tmp_path, kind))
    featurizer = s3prl_module("interfaces").Featurizer(expert, "hidden_states", upstream_device="cpu")
    assert featurizer.output_dim == 8 and featurizer.downsample_rate == 160
    frames = featurizer(wavs(), expert(wavs()))
    assert [len(one) for one in frames] == [98, 50, 35]
