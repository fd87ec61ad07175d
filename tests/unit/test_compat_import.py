"""Checkpoints in the original layouts: every layer equals a plain reference, and the way back is exact."""

import argparse
import dataclasses
import json
import logging
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import compat_fixtures as fixtures
import kaldiio
import numpy as np
import pytest
import torch

import speechrep
from speechrep.bin import dump, export_checkpoint, import_checkpoint
from speechrep.bin.extract_feats import ExtractConfig
from speechrep.compat.convert import export_model, import_model
from speechrep.compat.presets import PRESETS, preset_meta, preset_name
from speechrep.compat.pretrained import save_pretrained
from speechrep.config import add_options, make_parser, parse_choice, to_dict
from speechrep.errors import InputError
from speechrep.frontend.registry import FRONTENDS
from speechrep.io.feature_meta import FeatureMeta, write_meta
from speechrep.io.files import read_json
from speechrep.io.store import StoreWriter
from speechrep.upstream.checkpoint import save_model
from speechrep.upstream.registry import CONFIGS, build

TOLERANCE = 2e-5
LENS = [13, 9, 1]


def utterances(dim: int, lens: list[int] = LENS) -> list[np.ndarray]:
    draw = np.random.default_rng(7)
    return [draw.standard_normal((length, dim)).astype(np.float32) for length in lens]


def outputs(exp_dir: Path, feats: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Per utterance, per layer, from one padded batch whose padding is not zero."""
    model = speechrep.load(exp_dir)
    batch = torch.full((len(feats), max(map(len, feats)), feats[0].shape[1]), 3.0)
    for row, one in zip(batch, feats, strict=True):
        row[: len(one)] = torch.from_numpy(one)
    output = model(batch, torch.tensor([len(one) for one in feats]))
    return [
        [hidden[b, : output.hidden_lens[b]].numpy() for hidden in output.hiddens] for b in range(len(feats))
    ]


def assert_layers(got: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(got) == len(expected)
    for layer, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a.shape == b.shape
        assert np.abs(a - b).max(initial=0) < TOLERANCE, f"layer {layer}"


def convert(project: str, file: Path, out: Path, *options: str) -> Path:
    import_checkpoint.main(["--from", project, str(file), "--out", str(out), *options])
    return out


def weights(exp_dir: Path) -> dict[str, torch.Tensor]:
    return speechrep.load(exp_dir).state_dict()


def assert_round_trip(exp_dir: Path, project: str, file: Path, *options: str) -> Path:
    """Export and import again: the same weights to the bit, the same options; returns the new experiment."""
    export_checkpoint.main(["--to", project, str(exp_dir), "--out", str(file)])
    again = convert(project, file, file.parent / f"again-{file.name}", *options)
    assert (
        read_json(again / "model.json")["weights_sha256"]
        == read_json(exp_dir / "model.json")["weights_sha256"]
    )
    assert speechrep.load(again).config == speechrep.load(exp_dir).config
    return again


MOCKINGJAYS = [
    {"rate": 1, "out": None, "act": "gelu", "dim": 160},
    {"rate": 3, "out": 1025, "act": "gelu", "dim": 160},
    {"rate": 1, "out": None, "act": "relu", "dim": 5},
    {"rate": 2, "out": None, "act": "swish", "dim": 4},
]


@pytest.mark.parametrize("case", MOCKINGJAYS)
@pytest.mark.parametrize(
    ("legacy", "gamma", "timer"), [(True, True, "utils.timer.Timer"), (False, False, "utility.timer.Timer")]
)
def test_original_mockingjay(
    tmp_path: Path, case: dict[str, Any], legacy: bool, gamma: bool, timer: str
) -> None:
    rate, dim, act = case["rate"], case["dim"], case["act"]
    state, head = fixtures.transformer_weights(dim, 3, 12, 20, rate, case["out"])
    config = fixtures.mockingjay_config(3, 12, 4, 20, rate, act)
    stored = fixtures.gamma_beta(state) if gamma else state
    file = fixtures.mockingjay_file(tmp_path / "m.ckpt", stored, head, config, legacy, timer=timer)
    exp = convert("mockingjay", file, tmp_path / "exp")
    feats = utterances(dim)
    for got, one in zip(outputs(exp, feats), feats, strict=True):
        hiddens, target = fixtures.mockingjay_reference(state, head, one, 4, rate, act)
        assert_layers(got, hiddens[1:])
        model = speechrep.load(exp)
        ours = model.reconstruct(torch.from_numpy(got[-1])).reshape(target.shape).numpy()
        assert np.abs(ours - target).max(initial=0) < TOLERANCE
    assert model.meta.dim == dim and model.downsample == rate and model.config.layer_norm_eps == 1e-12
    again = assert_round_trip(exp, "mockingjay", tmp_path / "back.ckpt")
    assert speechrep.load(again).meta == speechrep.load(exp).meta


def test_mockingjay_at_the_papers_width(tmp_path: Path) -> None:
    state, head = fixtures.transformer_weights(160, 2, 768, 3072)
    file = fixtures.mockingjay_file(
        tmp_path / "m.ckpt", state, head, fixtures.mockingjay_config(2, 768, 12, 3072, 1)
    )
    exp = convert("mockingjay", file, tmp_path / "exp")
    feats = utterances(160, [40])
    hiddens, _ = fixtures.mockingjay_reference(state, None, feats[0], 12)
    assert_layers(outputs(exp, feats)[0], hiddens[1:])


def test_mockingjay_without_head_and_with_embedding_layer(tmp_path: Path) -> None:
    state, _ = fixtures.transformer_weights(6, 2, 12, 20)
    file = fixtures.mockingjay_file(
        tmp_path / "m.ckpt", state, None, fixtures.mockingjay_config(2, 12, 4, 20, 1)
    )
    exp = convert("mockingjay", file, tmp_path / "exp", "--embedding-layer")
    feats = utterances(6)
    for got, one in zip(outputs(exp, feats), feats, strict=True):
        assert_layers(got, fixtures.mockingjay_reference(state, None, one, 4)[0])
    assert any("no prediction head" in note for note in read_json(exp / "import.json")["notes"])
    trained = speechrep.load(exp)
    trained.head["dense"].bias.add_(1.0)
    save_pretrained(trained, tmp_path / "trained")  # there is something to keep now
    export_model(tmp_path / "trained", "s3prl", tmp_path / "c.ckpt")
    back = torch.load(tmp_path / "c.ckpt", weights_only=True)
    assert torch.equal(back["SpecHead"]["dense.bias"], trained.head["dense"].bias)
    assert_round_trip(exp, "s3prl", tmp_path / "b.s3prl")  # the embedding layer comes back too
    export_checkpoint.main(["--to", "mockingjay", str(exp), "--out", str(tmp_path / "b.ckpt")])
    with torch.serialization.safe_globals([argparse.Namespace]):
        assert "SpecHead" not in torch.load(tmp_path / "b.ckpt", weights_only=True)
    torch.manual_seed(5)  # the head that we give it is the same at every reading
    imported = import_model(file, embedding_layer=True)
    assert imported.model.weights_sha256 == speechrep.load(exp).weights_sha256
    assert not any(module.training for module in imported.model.modules())


@pytest.mark.parametrize("old", [True, False])
def test_s3prl_transformer(tmp_path: Path, old: bool) -> None:
    state, head = fixtures.transformer_weights(80, 3, 12, 20, out=201)
    config = fixtures.mockingjay_config(3, 12, 4, 20, 1)
    file = fixtures.s3prl_transformer_file(tmp_path / "states.ckpt", state, head, config, old)
    exp = convert("s3prl", file, tmp_path / "exp")
    feats = utterances(80)
    for got, one in zip(outputs(exp, feats), feats, strict=True):
        assert_layers(got, fixtures.mockingjay_reference(state, None, one, 4)[0][1:])
    info = read_json(exp / "model.json")["imported"]
    assert info["preset"] == "s3-mel80" and info["sequence_length"] == 1500
    assert_round_trip(exp, "s3prl", tmp_path / "back.ckpt")
    back = torch.load(tmp_path / "back.ckpt", weights_only=True)
    assert {"Transformer", "SpecHead", "Upstream_Config", "Config"} <= set(back)
    assert back["Upstream_Config"]["audio"]["target_level"] == -25 and back["Step"] == 7
    assert back["Upstream_Config"]["task"]["sequence_length"] == 1500
    notes = export_model(exp, "mockingjay", tmp_path / "back.mj")
    assert "S3PRL's pieces of so many frames have no place in it" in notes
    # Which of torch's two formats their code can read.
    assert zipfile.is_zipfile(tmp_path / "back.ckpt") and not zipfile.is_zipfile(tmp_path / "back.mj")
    for key, value in state.items():
        assert torch.equal(back["Transformer"][key], value)


@pytest.mark.parametrize("project", ["mockingjay", "s3prl"])
@pytest.mark.parametrize(
    ("told", "options"),
    [
        (
            {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3, "initializer_range": 0.04,
             "layer_norm_eps": "1e-6"},
            (0.2, 0.3, 0.04, 1e-6),
        ),
        ({}, (0.1, 0.1, 0.02, 1e-12)),  # what the original has where a file does not say
    ],
)  # fmt: skip
def test_transformers_keep_their_options_of_training(
    tmp_path: Path, project: str, told: dict[str, Any], options: tuple[float, ...]
) -> None:
    state, head = fixtures.transformer_weights(6, 2, 12, 20)
    config = fixtures.mockingjay_config(2, 12, 4, 20, 1)
    for key in ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "layer_norm_eps"):
        del config["mockingjay"][key]
    config["mockingjay"] |= told
    write = fixtures.mockingjay_file if project == "mockingjay" else fixtures.s3prl_transformer_file
    exp = convert(project, write(tmp_path / "x.ckpt", state, head, config), tmp_path / "exp")
    found = speechrep.load(exp).config
    assert (found.dropout, found.attention_dropout, found.init_std, found.layer_norm_eps) == options
    assert_round_trip(exp, project, tmp_path / "back.ckpt")


@pytest.mark.parametrize(("prenet", "conv"), [(0, False), (2, False), (2, True)])
@pytest.mark.parametrize("dim", [7, 10])
@pytest.mark.parametrize("residual", ["", "none"])
def test_original_apc(tmp_path: Path, prenet: int, conv: bool, dim: int, residual: str) -> None:
    state = fixtures.apc_weights(dim, 3, 10, prenet, conv)
    ending = ".pt" if conv else ""  # the point of rd0.1 begins no ending
    file = fixtures.save(state, tmp_path / f"bs32-rhl3-rhs10-rd0.1-adam-res-ts5{ending}")
    options = ["--residual", residual] if residual else []
    exp = convert("apc", file, tmp_path / "exp", *options)
    feats = utterances(dim)
    for got, one in zip(outputs(exp, feats), feats, strict=True):
        hiddens, predicted = fixtures.apc_reference(state, one, residual != "none")
        assert_layers(got, hiddens)
        ours = speechrep.load(exp).predict(torch.from_numpy(one)[None])[0].numpy()
        assert np.abs(ours - predicted).max(initial=0) < TOLERANCE
    config = speechrep.load(exp).config
    assert config.time_shift == 5 and config.dropout == 0.1 and config.residual == (residual or "all")
    name = f"x-rhl3-rhs10-rd0.1-adam{'' if residual else '-res'}-ts5.pt"
    assert_round_trip(exp, "apc", tmp_path / name)
    back = torch.load(tmp_path / name, weights_only=True)
    for key, value in state.items():
        assert torch.equal(back[key].reshape(value.shape), value)


@pytest.mark.parametrize("dim", [7, 10])
@pytest.mark.parametrize("residual", [True, False])
def test_s3prl_apc(tmp_path: Path, dim: int, residual: bool) -> None:
    state = fixtures.s3prl_apc_weights(fixtures.apc_weights(dim, 3, 10))
    file = fixtures.s3prl_apc_file(tmp_path / "apc.ckpt", state, 3, 10, dim, residual)
    exp = convert("s3prl", file, tmp_path / "exp")
    feats = utterances(dim)
    for got, one in zip(outputs(exp, feats), feats, strict=True):
        assert_layers(got, fixtures.apc_reference(state, one, residual, s3prl=True)[0])
    assert_round_trip(exp, "s3prl", tmp_path / "back.ckpt")
    back = torch.load(tmp_path / "back.ckpt", weights_only=True)
    assert back["config"]["model"]["paras"] == {
        "num_layers": 3, "hidden_size": 10, "dropout": 0.1, "residual": residual
    }  # fmt: skip
    assert all(torch.equal(back["model"][key], state[key]) for key in state)


@pytest.mark.parametrize(("more", "time_shift"), [({}, 5), ({"task": {}}, 5), ({"task": {"n_future": 2}}, 2)])
def test_s3prl_apc_looks_as_far_ahead_as_its_file_says(
    tmp_path: Path, more: dict[str, Any], time_shift: int
) -> None:
    """Or, where it says nothing, 5 frames."""
    paras = {"num_layers": 3, "hidden_size": 10, "dropout": 0.1, "residual": True}
    state = fixtures.s3prl_apc_weights(fixtures.apc_weights(6, 3, 10))
    tree = {"model": state, "config": {"model": {"paras": paras}, **more}}
    exp = convert("s3prl", fixtures.save(tree, tmp_path / "apc.ckpt"), tmp_path / "exp")
    assert speechrep.load(exp).config.time_shift == time_shift


def test_from_one_project_to_another(tmp_path: Path) -> None:
    """APC original -> S3PRL where the residual rules agree; Mockingjay original <-> S3PRL."""
    state = fixtures.apc_weights(80, 3, 10)
    exp = convert("apc", fixtures.save(state, tmp_path / "a.model"), tmp_path / "apc")
    export_checkpoint.main(["--to", "s3prl", str(exp), "--out", str(tmp_path / "a.ckpt")])
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    one = utterances(80, [8])[0]
    theirs, _ = fixtures.apc_reference(
        content["model"], one, content["config"]["model"]["paras"]["residual"], s3prl=True
    )
    assert_layers(theirs, fixtures.apc_reference(state, one, True)[0])
    # its features are not those that S3PRL makes: S3PRL must not take it for one of its own
    assert content["config"]["data"]["audio"]["feat_type"] != "fbank"

    state, head = fixtures.transformer_weights(160, 2, 12, 20)
    file = fixtures.mockingjay_file(
        tmp_path / "m.ckpt", state, head, fixtures.mockingjay_config(2, 12, 4, 20, 1)
    )
    exp = convert("mockingjay", file, tmp_path / "mj")
    again = assert_round_trip(exp, "s3prl", tmp_path / "m.s3prl")
    assert speechrep.load(again).meta == speechrep.load(exp).meta  # our exports say what features they need


@pytest.mark.parametrize(
    ("kind", "project", "complaint"),
    [
        ("prenet", "s3prl", "pre-net"),
        ("wide", "s3prl", "residual is 'all'"),
        ("two", "s3prl", "exactly 3"),
        ("s3wide", "apc", "residual is 'inner'"),
        ("stacked", "s3prl", "stacks 3 frames"),
        ("stacked", "apc", "no counterpart"),
        ("two", "mockingjay", "no counterpart"),
    ],
)
def test_lossy_exports_are_refused(tmp_path: Path, kind: str, project: str, complaint: str) -> None:
    if kind == "stacked":
        state, head = fixtures.transformer_weights(6, 2, 12, 20, 3)
        config = fixtures.mockingjay_config(2, 12, 4, 20, 3)
        source, file = "mockingjay", fixtures.mockingjay_file(tmp_path / "x.ckpt", state, head, config)
    elif kind == "s3wide":
        state = fixtures.s3prl_apc_weights(fixtures.apc_weights(10, 3, 10))
        source, file = "s3prl", fixtures.s3prl_apc_file(tmp_path / "x.ckpt", state, 3, 10, 10)
    else:
        sizes = {"prenet": (7, 3, 10, 1), "wide": (10, 3, 10, 0), "two": (7, 2, 10, 0)}[kind]
        source, file = "apc", fixtures.save(fixtures.apc_weights(*sizes), tmp_path / "x.model")
    exp = convert(source, file, tmp_path / "exp")
    with pytest.raises(InputError, match=complaint):
        export_checkpoint.main(["--to", project, str(exp), "--out", str(tmp_path / "out.ckpt")])
    assert not (tmp_path / "out.ckpt").exists()


def test_what_counts_in_training_only_is_told_where_the_format_does_not_say_it(tmp_path: Path) -> None:
    options = {"prenet_layers": 1, "prenet_dropout": 0.3, "loss_on": "padded", "dropout": 1e-5}
    save_model(
        tmp_path / "exp", build("apc", CONFIGS["apc"](hidden_size=6, **options), preset_meta("apc-kaldi80"))
    )
    *_, told = notes = export_model(tmp_path / "exp", "apc", tmp_path / "out.pt")
    assert told == "it does not say what counts in training only: prenet-dropout 0.3, loss-on padded"
    assert any("-rd0.00001-" in note for note in notes)


@pytest.mark.parametrize("name", ["surface", "apc_transformer"])
@pytest.mark.parametrize("project", ["mockingjay", "apc", "s3prl"])
def test_models_that_nobody_else_has_are_refused(tmp_path: Path, name: str, project: str) -> None:
    save_model(tmp_path / "exp", build(name, CONFIGS[name](), preset_meta("apc-kaldi80")))
    with pytest.raises(InputError, match=f"{project} has no counterpart of the model '{name}'"):
        export_checkpoint.main(["--to", project, str(tmp_path / "exp"), "--out", str(tmp_path / "out")])


def test_what_the_format_has_no_place_for_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    meta = FeatureMeta("fbank", {"num_mel_bins": 20}, 20, 10.0, 16000, "global")
    options = {
        "hidden_size": 8,
        "num_layers": 2,
        "num_heads": 2,
        "ffn_size": 16,
        "window": 50,
        "mask_span": 3,
    }
    model = build("mockingjay", CONFIGS["mockingjay"](**options), meta)
    model.cmvn_stats = np.arange(42.0).reshape(2, 21)
    save_model(tmp_path / "exp", model, {"step": 70})
    for project in ("mockingjay", "s3prl"):
        again = speechrep.load(assert_round_trip(tmp_path / "exp", project, tmp_path / project))
        assert again.meta == meta and np.array_equal(again.cmvn_stats, model.cmvn_stats)
        other = dataclasses.replace(meta, cmvn="none")  # of features that it is said to be for instead
        assert import_model(tmp_path / project, meta=other).model.cmvn_stats is None
    assert "above 50 positions" in caplog.text


def test_options_stand_in_a_file_where_the_other_project_looks_for_them(tmp_path: Path) -> None:
    """Not only under our own key, by which what we wrote comes back to us."""
    values = {"dropout": 0.2, "attention_dropout": 0.3, "init_std": 0.04, "layer_norm_eps": 1e-6,
              "mask_share": 0.25, "mask_span": 3}  # fmt: skip
    sizes = {"hidden_size": 8, "num_layers": 3, "num_heads": 4, "ffn_size": 16}
    model = build("mockingjay", CONFIGS["mockingjay"](**sizes, **values), preset_meta("s3-mel80"))
    save_model(tmp_path / "exp", model, {"step": 70})
    shared = {
        "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 16,
        "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3, "initializer_range": 0.04,
        "layer_norm_eps": "1e-06",  # as text, as YAML of old reads it
    }  # fmt: skip
    export_model(tmp_path / "exp", "mockingjay", tmp_path / "m.ckpt")
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(tmp_path / "m.ckpt", weights_only=True)
    told = shared | {"mask_proportion": 0.25, "mask_consecutive": 3}
    assert told.items() <= content["Settings"]["Config"]["mockingjay"].items()
    assert content["Global_step"] == 70
    export_model(tmp_path / "exp", "s3prl", tmp_path / "s.ckpt")
    content = torch.load(tmp_path / "s.ckpt", weights_only=True)
    upstream = content["Upstream_Config"]
    assert shared.items() <= upstream["transformer"].items() and content["Step"] == 70
    told = {"mask_proportion": 0.25, "mask_consecutive_min": 3, "mask_consecutive_max": 3}
    assert told.items() <= upstream["task"].items()
    options = {"hidden_size": 8, "time_shift": 4, "dropout": 0.1, "residual": "inner"}
    model = build("apc", CONFIGS["apc"](**options), preset_meta("s3-apc80"))
    save_model(tmp_path / "apc", model, {"step": 9})
    export_model(tmp_path / "apc", "s3prl", tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert content["config"]["task"]["n_future"] == 4 and content["Step"] == 9
    paras = {"num_layers": 3, "hidden_size": 8, "dropout": 0.1, "residual": True}
    assert content["config"]["model"]["paras"] == paras


def test_an_apc_that_several_gpus_trained_on_mockingjays_features(tmp_path: Path) -> None:
    state = fixtures.apc_weights(160, 3, 10)
    wrapped = {f"module.{name}": value for name, value in state.items()}  # as torch's DataParallel has it
    one, other = (
        import_model(fixtures.save(tree, tmp_path / name), "apc")
        for tree, name in ((state, "a.model"), (wrapped, "b.model"))
    )
    assert one.model.weights_sha256 == other.model.weights_sha256
    assert one.about["preset"] == other.about["preset"] == "mj-mel160"


def test_what_s3prl_says_of_masks_and_layers(tmp_path: Path) -> None:
    state, head = fixtures.transformer_weights(240, 2, 12, 20)
    transformer = fixtures.mockingjay_config(2, 12, 4, 20, 1)["mockingjay"] | {"share_layer": True}
    task = {"mask_proportion": 0.3, "mask_consecutive_min": 5}
    tree = {"Transformer": state, "SpecHead": head, "Config": {"transformer": transformer, "task": task}}
    imported = import_model(fixtures.save(tree, tmp_path / "x.ckpt"))
    assert (imported.model.config.mask_share, imported.model.config.mask_span) == (0.3, 5)
    assert imported.about["preset"] == ""  # 240 values are Kaldi's where it says so
    assert any("its layers share their weights" in note for note in imported.about["notes"])


def test_every_key_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state, head = fixtures.transformer_weights(160, 2, 12, 20)
    file = fixtures.mockingjay_file(
        tmp_path / "m.ckpt", state, head, fixtures.mockingjay_config(2, 12, 4, 20, 1)
    )
    with caplog.at_level(logging.INFO):
        exp = convert("mockingjay", file, tmp_path / "exp")
    report = read_json(exp / "import.json")
    assert {row["theirs"] for row in report["keys"]} == {f"Mockingjay.{key}" for key in state} | {
        f"SpecHead.{key}" for key in head
    }
    assert {row["ours"] for row in report["keys"]} == set(weights(exp))
    assert "SpecHead.dense.weight [12, 12] -> head.dense.weight" in caplog.text
    assert report["preset"] == "mj-mel160"


def drop(tree: dict[str, Any], key: str) -> None:
    del tree[key]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda t: drop(t["Mockingjay"], "encoder.layer.1.output.dense.bias"),
            r"encoder\.layer\.\{i\}\.output\.dense\.bias .* is missing",
        ),
        (lambda t: t["Mockingjay"].update({"extra": torch.zeros(2)}), r"Mockingjay\.extra \[2\] is unknown"),
        (
            lambda t: t["Mockingjay"].update({"input_representations.LayerNorm.weight": torch.zeros(3)}),
            "has shape",
        ),
        (lambda t: t["SpecHead"].update({"dense.bias": torch.full((12,), float("nan"))}), "NaN"),
        (lambda t: t["SpecHead"].update({"dense.bias": 3}), "not a tensor"),
        (lambda t: t["SpecHead"].update({"output.weight": torch.tensor(0.5)}), r"shape \(\), want a matrix"),
        (
            lambda t: t["Mockingjay"].update(
                {"encoder.layer.0.intermediate.dense.weight": torch.tensor(0.5)}
            ),
            r"shape \(\), want a matrix",
        ),
        (
            lambda t: t["Settings"]["Config"]["mockingjay"].update({"num_hidden_layers": 5}),
            "num_hidden_layers 5",
        ),
        (lambda t: t["Settings"]["Config"]["mockingjay"].update({"num_attention_heads": 5}), "num-heads 5"),
        (lambda t: t["Settings"]["Config"]["mockingjay"].update({"hidden_act": "mish"}), "mish"),
        (
            lambda t: t["Settings"]["Config"]["mockingjay"].update({"layer_norm_eps": "tiny"}),
            "layer_norm_eps",
        ),
        (lambda t: t["Settings"]["Config"]["mockingjay"].update({"downsample_rate": 7}), "7 frames"),
        (lambda t: t["Settings"]["Config"]["mockingjay"].update({"downsample_rate": float("nan")}), "nan"),
        (lambda t: t.update({"speechrep": {"config": {"layer_norm_eps": float("inf")}}}), "infinite"),
        (lambda t: t["Settings"]["Config"]["mockingjay"].update({"downsample_rate": "inf"}), "'inf'"),
        (lambda t: t["Settings"]["Config"]["mockingjay"].update({"downsample_rate": 10**400}), "number"),
        (lambda t: t["Settings"]["Config"]["mockingjay"].update({"downsample_rate": 10**5000}), "bits"),
        (lambda t: t["Settings"]["Config"]["mockingjay"].update({"initializer_range": -1}), "init-std"),
        (
            lambda t: (
                t["Settings"]["Config"]["mockingjay"].update({"intermediate_size": 10**9}),
                drop(t["Mockingjay"], "encoder.layer.0.intermediate.dense.weight"),
            ),
            "do not fit",
        ),
        (lambda t: drop(t["Settings"], "Config"), r"no Settings\.Config"),
        (lambda t: t.update({"Mockingjay": None}), "not fine-tuned"),
        (lambda t: t.update({"Mockingjay": {}}), "no state dict"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, change: Any, complaint: str) -> None:
    state, head = fixtures.transformer_weights(6, 2, 12, 20)
    tree = {
        "Mockingjay": state, "SpecHead": head,
        "Settings": {"Config": fixtures.mockingjay_config(2, 12, 4, 20, 1)},
    }  # fmt: skip
    change(tree)
    file = fixtures.save(tree, tmp_path / "m.ckpt")
    with pytest.raises(InputError, match=complaint) as caught:
        convert("mockingjay", file, tmp_path / "exp")
    assert "m.ckpt" in str(caught.value)
    assert not (tmp_path / "exp").exists()


def test_s3prl_variants_that_we_do_not_have_are_refused(tmp_path: Path) -> None:
    state, head = fixtures.transformer_weights(6, 2, 12, 20)
    config = fixtures.mockingjay_config(2, 12, 4, 20, 1)
    transformer = config["mockingjay"] | {"pre_layer_norm": True}
    tree = {"Transformer": state, "SpecHead": head, "Config": {"transformer": transformer}}
    with pytest.raises(InputError, match="pre_layer_norm"):
        convert("s3prl", fixtures.save(tree, tmp_path / "pre.ckpt"), tmp_path / "exp")
    paras = {
        "num_layers": 3,
        "hidden_size": 10,
        "dropout": 0.1,
        "residual": True,
        "vq": {"codebook_size": [512]},
    }
    tree = {"model": fixtures.apc_weights(6, 3, 10), "config": {"model": {"paras": paras}}}
    with pytest.raises(InputError, match="VQ-APC"):
        convert("s3prl", fixtures.save(tree, tmp_path / "vq.ckpt"), tmp_path / "exp")


def test_the_wrong_kind_of_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--residual"):
        convert("s3prl", tmp_path / "absent", tmp_path / "exp", "--residual", "none")
    apc = fixtures.save(fixtures.apc_weights(6, 3, 10), tmp_path / "apc.model")
    for project in ("mockingjay", "s3prl"):
        with pytest.raises(InputError, match="--from"):
            convert(project, apc, tmp_path / "exp")
    state = fixtures.save(
        {"model": {}, "optimizer": {}, "progress": {}, "config": {}}, tmp_path / "step-3.pt"
    )
    with pytest.raises(InputError, match="experiment directory"):
        speechrep.load(state)
    other = fixtures.save({"state": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt.*no known project"):
        speechrep.load(other)


def test_load_takes_another_projects_file_as_it_is(tmp_path: Path) -> None:
    state, head = fixtures.transformer_weights(160, 2, 12, 20)
    file = fixtures.mockingjay_file(
        tmp_path / "m.ckpt", state, head, fixtures.mockingjay_config(2, 12, 4, 20, 1)
    )
    direct, imported = speechrep.load(file), speechrep.load(convert("mockingjay", file, tmp_path / "exp"))
    assert (
        direct.weights_sha256 == imported.weights_sha256
        and direct.meta.acoustic() == imported.meta.acoustic()
    )
    assert not direct.training and not any(p.requires_grad for p in direct.parameters())
    feats = torch.randn(2, 9, 160)
    assert torch.equal(direct.reps(feats, all_layers=True), imported.reps(feats, all_layers=True))


def test_features_are_stored_and_checked(tmp_path: Path) -> None:
    file = fixtures.save(fixtures.apc_weights(80, 3, 10), tmp_path / "apc.model")
    meta = speechrep.load(convert("apc", file, tmp_path / "guessed")).meta
    assert (meta.feature, meta.cmvn, meta.norm_vars) == ("fbank", "speaker", False)
    assert meta.config["window_type"] == "hamming"
    meta = speechrep.load(convert("apc", file, tmp_path / "said", "--preset", "s3-apc80")).meta
    assert meta.cmvn == "none" and meta.config["unit_norm"] == "sample" and meta.config["sample_scale"] == 1.0
    with pytest.raises(InputError, match="80 values per frame, mj-mel160 has 160"):
        convert("apc", file, tmp_path / "wrong", "--preset", "mj-mel160")
    features = tmp_path / "features.json"
    write_meta(features, meta)
    assert speechrep.load(convert("apc", file, tmp_path / "dir", "--features", str(features))).meta == meta
    folder = tmp_path / "feats"
    folder.mkdir()
    write_meta(folder / "features.json", dataclasses.replace(meta, cmvn="global"))
    stats = np.stack([np.r_[np.arange(80.0), 2.0], np.r_[np.arange(80.0) ** 2, 0.0]])
    kaldiio.save_mat(str(folder / "cmvn.ark"), stats)
    given = speechrep.load(convert("apc", file, tmp_path / "global", "--features", str(folder)))
    assert np.array_equal(given.cmvn_stats, stats)  # so that it takes audio, too
    odd = fixtures.save(fixtures.apc_weights(7, 3, 10), tmp_path / "odd.model")
    exp = convert("apc", odd, tmp_path / "odd")
    assert speechrep.load(exp).meta.feature == "unknown"
    assert any("--preset" in note for note in read_json(exp / "import.json")["notes"])


@pytest.mark.parametrize("preset", ["s3-apc80", "guessed", "unknown"])
def test_other_features_than_a_models_own_are_refused(tmp_path: Path, preset: str) -> None:
    dim = 7 if preset == "unknown" else 80
    file = fixtures.save(fixtures.apc_weights(dim, 3, 10), tmp_path / "apc.model")
    exp = convert("apc", file, tmp_path / "exp", *(["--preset", preset] if preset in PRESETS else []))
    meta = FeatureMeta("fbank", {"num_mel_bins": dim}, dim, 10.0, 16000, "utterance")
    with StoreWriter(tmp_path / "feats.h5", meta, ["u"], [20]) as store:
        store.write("u", np.zeros((20, dim), np.float32))
    words = [
        "--upstream",
        str(exp),
        "--feats-dir",
        str(tmp_path / "feats.h5"),
        "--out",
        str(tmp_path / "out.h5"),
    ]
    with pytest.raises(InputError, match="made for"):
        dump.main(words)
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_what_extraction_makes_of_the_shipped_configurations(name: str) -> None:
    meta = preset_meta(name)
    assert preset_name(meta) == name and meta.dim == int(re.findall(r"\d+", name)[-1])
    path = Path(__file__).parents[2] / "egs/librispeech/conf" / f"{name}.yaml"
    if name == "fmllr40":  # ready-made
        assert meta.config == {"kind": "fmllr"}
        return
    parser = make_parser("")
    add_options(parser, ExtractConfig)
    args = parse_choice(
        parser, "feature", {key: config for key, (config, _) in FRONTENDS.items()}, ["--config", str(path)]
    )
    assert (args.feature, to_dict(args.feature_config)) == (meta.feature, meta.config)
    assert (args.cmvn, args.norm_vars) == (meta.cmvn, meta.norm_vars)


def test_an_existing_model_is_not_overwritten(tmp_path: Path) -> None:
    file = fixtures.save(fixtures.apc_weights(80, 3, 10), tmp_path / "apc.model")
    exp = convert("apc", file, tmp_path / "exp")
    before = (exp / "model.json").read_text()
    with pytest.raises(InputError, match="a model already"):
        convert("apc", file, exp)
    assert (exp / "model.json").read_text() == before
    shutil.rmtree(exp)
    convert("apc", file, exp)


def test_the_file_is_remembered(tmp_path: Path) -> None:
    file = fixtures.save(fixtures.apc_weights(80, 3, 10), tmp_path / "apc.model")
    exp = convert("apc", file, tmp_path / "exp")
    stored = json.loads((exp / "model.json").read_text())["imported"]
    assert stored["from"] == "apc" and stored["file"] == "apc.model" and len(stored["file_sha256"]) == 64
    assert any("residual" in note for note in stored["notes"])


@pytest.mark.parametrize(
    ("audio", "told"),
    [
        ({"hop_ms": 20}, "hop_ms 20, not 10"),
        ({"input": {"feat_type": "mel", "log": False}}, "log False, not True"),
        ({"input": {"feat_type": "mel", "delta": 1}}, "delta 1, not 0"),
        ({"kaldi": {"feat_type": "fbank", "fbank": {"frame_shift": 20}}}, "frame_shift 20, not 10"),
        ({"kaldi": {"feat_type": "fbank"}, "cmvn": {"use_cmvn": False}}, "use_cmvn False, not True"),
        ({"input": {"feat_type": "mel"}, "n_mels": 40}, "not fmllr40: feat_type 'mel', not 'fmllr'"),
    ],
)
def test_settings_that_no_preset_has(tmp_path: Path, audio: dict, told: str) -> None:
    width = 240 if "kaldi" in audio else audio.get("n_mels", 80)
    state, head = fixtures.transformer_weights(width, 3, 12, 20, out=201)
    config = fixtures.mockingjay_config(3, 12, 4, 20, 1)
    file = fixtures.s3prl_transformer_file(
        tmp_path / "states.ckpt", state, head, config, audio=audio, task={"mask_frequency": 0.2}
    )
    notes = read_json(convert("s3prl", file, tmp_path / "exp") / "import.json")["notes"]
    assert any(told in note for note in notes)
    assert any("--preset or --features" in note for note in notes)
    assert any("mask_frequency 0.2, which our pre-training has not" in note for note in notes)


def test_settings_of_a_linear_spectrogram_are_its_own(tmp_path: Path) -> None:
    state, head = fixtures.transformer_weights(201, 3, 12, 20)
    config = fixtures.mockingjay_config(3, 12, 4, 20, 1)
    audio = {"input": {"feat_type": "linear", "log": True}, "n_mels": 40}
    file = fixtures.s3prl_transformer_file(tmp_path / "states.ckpt", state, head, config, audio=audio)
    about = read_json(convert("s3prl", file, tmp_path / "exp") / "import.json")
    assert about["preset"] == "s3-linear201"


@pytest.mark.parametrize(
    ("preset", "width", "audio"),
    [
        ("s3-linear201", 201, {"input": {"feat_type": "linear", "log": True}}),
        ("s3-fbank240", 240, {"kaldi": {"feat_type": "fbank"}, "delta": {"order": 2, "win_length": 5}}),
    ],
)
def test_s3prls_own_features_go_back_with_the_model(
    tmp_path: Path, preset: str, width: int, audio: dict
) -> None:
    state, head = fixtures.transformer_weights(width, 3, 12, 20)
    config = fixtures.mockingjay_config(3, 12, 4, 20, 1)
    file = fixtures.s3prl_transformer_file(tmp_path / "states.ckpt", state, head, config, audio=audio)
    exp = convert("s3prl", file, tmp_path / "exp")
    assert export_model(exp, "s3prl", tmp_path / "back.ckpt") == []
    back = torch.load(tmp_path / "back.ckpt", weights_only=True)
    del back["speechrep"]
    torch.save(back, tmp_path / "back.ckpt")  # as S3PRL would hand it on
    again = read_json(convert("s3prl", tmp_path / "back.ckpt", tmp_path / "again") / "import.json")
    assert again["preset"] == preset and again["step"] == 7
    for key, value in audio.items():
        assert value.items() <= back["Upstream_Config"]["audio"][key].items()


def test_apc_features_that_its_file_cannot_tell(tmp_path: Path) -> None:
    file = fixtures.save(fixtures.apc_weights(80, 3, 10, 0, False), tmp_path / "rhl3-res-ts3.pt")
    notes = read_json(convert("apc", file, tmp_path / "exp") / "import.json")["notes"]
    assert notes == ["the file does not say its features: apc-kaldi80 assumed (--preset or --features)"]
    notes = read_json(convert("apc", file, tmp_path / "given", "--preset", "s3-apc80") / "import.json")[
        "notes"
    ]
    assert not notes
    told = export_model(tmp_path / "exp", "apc", tmp_path / "back.pt")
    assert any("fbank, 80 values" in note for note in told)
