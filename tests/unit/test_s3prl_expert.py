"""The S3PRL face: the vectors of the model itself, in S3PRL's shapes."""

import dataclasses
import runpy
from pathlib import Path

import compat_fixtures as fixtures
import numpy as np
import pytest
import torch

import speechrep
from speechrep.bin import dump, import_checkpoint
from speechrep.compat.s3prl_expert import UpstreamExpert, speechrep_local
from speechrep.data.features import open_features
from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta
from speechrep.io.store import StoreWriter
from speechrep.upstream.apc import Apc, ApcConfig
from speechrep.upstream.checkpoint import save_model
from speechrep.upstream.mockingjay import Mockingjay, MockingjayConfig
from speechrep.upstream.waveform import features

FBANK = FeatureMeta("fbank", {"num_mel_bins": 20}, 20, 10.0, 16000, "utterance")


def wavs() -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    return [0.1 * torch.randn(n, generator=draw) for n in (16000, 8000, 5555)]


def saved(folder: Path, kind: str) -> Path:
    torch.manual_seed(0)
    if kind == "apc":
        save_model(folder, Apc(ApcConfig(hidden_size=8, num_layers=3), FBANK))
    else:
        sizes = {"hidden_size": 8, "num_layers": 2, "num_heads": 2, "ffn_size": 16, "init_std": 0.3}
        more = {"stacked": {"downsample": 2}, "windowed": {"window": 50}}.get(kind, {})
        save_model(folder, Mockingjay(MockingjayConfig(**more, **sizes), FBANK))
    return folder


def test_a_model_of_another_sample_rate_is_refused(tmp_path: Path) -> None:
    """S3PRL gives 16 kHz, whatever a model was made for."""
    save_model(tmp_path, Apc(ApcConfig(hidden_size=8), dataclasses.replace(FBANK, sample_rate=8000)))
    with pytest.raises(InputError, match="made for 8000 Hz, S3PRL has 16000 Hz"):
        UpstreamExpert(tmp_path)


@pytest.mark.parametrize(
    ("kind", "layers", "shift"), [("apc", 3, 160), ("mockingjay", 3, 160), ("stacked", 3, 320)]
)
def test_the_vectors_are_the_models(tmp_path: Path, kind: str, layers: int, shift: int) -> None:
    expert = UpstreamExpert(saved(tmp_path, kind)).eval()
    model = speechrep.load(tmp_path)
    out = expert(wavs())
    assert len(out["hidden_states"]) == layers and expert.get_downsample_rates("hidden_states") == shift
    assert torch.equal(out["last_hidden_state"], out["hidden_states"][-1])
    assert torch.equal(out["hidden_state_0"], out["hidden_states"][0])
    for b, wav in enumerate(wavs()):
        own = model.extract(wav.numpy(), 16000)
        first = layers - len(own.hiddens)  # S3PRL's Mockingjay has the input embedding before them
        for layer, hidden in enumerate(own.hiddens):
            got = out["hidden_states"][first + layer][b]
            length = hidden.shape[1]
            assert torch.allclose(got[:length], hidden[0], atol=1e-5)
            assert not got[length:].any()


def test_an_imported_s3prl_file_gives_s3prls_hidden_states(tmp_path: Path) -> None:
    state, head = fixtures.transformer_weights(80, 2, 12, 20)
    config = fixtures.mockingjay_config(2, 12, 4, 20, 1)
    file = fixtures.s3prl_transformer_file(tmp_path / "s.ckpt", state, head, config)
    import_checkpoint.main(["--from", "s3prl", str(file), "--out", str(tmp_path / "e")])
    expert = speechrep_local(str(tmp_path / "e")).eval()
    assert expert.sequence_length == 1500 and expert.model.meta.config["target_level"] == -25
    wav = wavs()[0]
    feats = features(wav.numpy(), 16000, expert.model.meta, None, "wav")
    got = [hidden[0].detach().numpy() for hidden in expert([wav])["hidden_states"]]
    expected, _ = fixtures.mockingjay_reference(state, None, feats, 4)
    assert len(got) == 3
    for a, b in zip(got, expected, strict=True):
        assert np.abs(a - b).max() < 2e-5
    # longer inputs: S3PRL encodes ceil(101 / 40) = 3 pieces, 34 + 34 + 33 frames, each from position 0
    expert = speechrep_local(str(tmp_path / "e"), sequence_length=40).eval()
    got = [hidden[0].detach().numpy() for hidden in expert([wav])["hidden_states"]]
    pieces = [fixtures.mockingjay_reference(state, None, feats[at : at + 34], 4)[0] for at in (0, 34, 68)]
    for layer, a in enumerate(got):
        assert np.abs(a - np.concatenate([piece[layer] for piece in pieces])).max() < 2e-5


def imported(folder: Path, kind: str) -> list[Path]:
    """A file in another project's layout, and the experiment it becomes."""
    if kind == "apc":
        file = fixtures.save(fixtures.apc_weights(80, 3, 10), folder / "x.model")
    else:
        dim = 160 if kind == "mockingjay" else 80
        state, head = fixtures.transformer_weights(dim, 2, 12, 20)
        config = fixtures.mockingjay_config(2, 12, 4, 20, 1)
        write = fixtures.mockingjay_file if kind == "mockingjay" else fixtures.s3prl_transformer_file
        file = write(folder / "x.ckpt", state, head, config)
    import_checkpoint.main(["--from", kind, str(file), "--out", str(folder / "exp")])
    return [file, folder / "exp"]


@pytest.mark.parametrize(
    ("whose", "kind"),
    [("imported", "mockingjay"), ("imported", "apc"), ("imported", "s3prl"),
     ("ours", "apc"), ("ours", "mockingjay"), ("ours", "stacked"), ("ours", "windowed")],
)  # fmt: skip
def test_load_dump_and_s3prl_face_give_the_same_vectors(tmp_path: Path, whose: str, kind: str) -> None:
    """``load`` by ``extract`` and ``model(feats)``; ``dump``; the expert: all layers, alone and batched."""
    sources = imported(tmp_path, kind) if whose == "imported" else [saved(tmp_path / "exp", kind)]
    model = speechrep.load(tmp_path / "exp")
    feats = [features(wav.numpy(), 16000, model.meta, None, "wav") for wav in wavs()]
    with StoreWriter(tmp_path / "feats.h5", model.meta, list("uvw"), [len(f) for f in feats]) as store:
        for utt_id, frames in zip("uvw", feats, strict=True):
            store.write(utt_id, frames)
    for source in sources:
        out = tmp_path / f"{source.name}.h5"
        dump.main(["--upstream", str(source), "--feats-dir", str(tmp_path / "feats.h5"), "--out", str(out),
                   "--layers", "all"])  # fmt: skip
        face = UpstreamExpert(source).eval()(wavs())["hidden_states"]
        for b, (utt_id, wav) in enumerate(zip("uvw", wavs(), strict=True)):
            loaded = speechrep.load(source)
            extracted = loaded.extract(wav.numpy(), 16000).hiddens
            given = loaded(torch.from_numpy(feats[b])[None]).hiddens
            dumped = open_features(out).read(utt_id)
            for layer, hidden in enumerate(extracted):
                want = hidden[0].numpy()
                shown = face[len(face) - len(extracted) + layer][b].detach().numpy()
                assert torch.equal(hidden, given[layer])
                assert np.abs(dumped[:, layer] - want).max() < 1e-5
                assert np.abs(shown[: len(want)] - want).max() < 1e-5


def test_short_utterances_survive_the_pieces_of_long_ones(tmp_path: Path) -> None:
    expert = UpstreamExpert(saved(tmp_path, "mockingjay"), sequence_length=30).eval()
    out = expert(wavs())["hidden_states"]
    assert all(torch.isfinite(hidden).all() for hidden in out)
    assert not out[-1][2, 33:].any() and out[-1][2, :33].any()


def test_an_upstream_can_be_trained_through_it(tmp_path: Path) -> None:
    expert = UpstreamExpert(saved(tmp_path, "apc"))
    expert(wavs())["last_hidden_state"].sum().backward()
    assert expert.model.rnns[0].weight_ih_l0.grad.abs().sum() > 0


def test_torch_hub_finds_it(tmp_path: Path) -> None:
    repository = str(Path(__file__).parents[2])
    expert = torch.hub.load(repository, "speechrep_local", source="local", ckpt=str(saved(tmp_path, "apc")))
    assert len(expert(wavs())["hidden_states"]) == 3


def test_torch_hub_asks_for_what_the_package_installs() -> None:
    repository, names = Path(__file__).parents[2], {"cv2": "opencv-python-headless"}
    required = (repository / "setup.py").read_text().partition("install_requires")[2].partition("]")[0]
    dependencies = runpy.run_path(str(repository / "hubconf.py"))["dependencies"]
    for module in set(dependencies) - {"speechrep"}:
        assert f'"{names.get(module, module)}>=' in required


def test_bad_input_is_told(tmp_path: Path) -> None:
    expert = UpstreamExpert(saved(tmp_path, "apc"))
    with pytest.raises(InputError, match="no waveforms"):
        expert([])
    with pytest.raises(InputError, match="waveform 1"):
        expert([wavs()[0], torch.full((8000,), float("nan"))])
    with pytest.raises(InputError, match="waveform 0"):
        expert([torch.zeros(2, 8000)])
    with pytest.raises(InputError, match="model_config"):
        speechrep_local(str(tmp_path), model_config="x.yaml")
