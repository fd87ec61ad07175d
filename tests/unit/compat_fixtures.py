"""Checkpoint files in the layouts of the original projects, and slow plain models of what they compute.

The files are written by ``torch.save`` with classes of the original module names; the references work on one
unpadded utterance in float64 numpy and know nothing of our models.
"""

import argparse
import contextlib
import math
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy.special import erf

Weights = dict[str, torch.Tensor]


# ---- files -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def foreign_class(dotted: str, **attributes: Any) -> Iterator[Any]:
    """An object of a class that pickles under ``dotted`` and can be imported only inside the block."""
    module_name, _, name = dotted.rpartition(".")
    parts = module_name.split(".")
    modules = {
        ".".join(parts[: i + 1]): types.ModuleType(".".join(parts[: i + 1])) for i in range(len(parts))
    }
    cls = type(name, (), {"__module__": module_name})
    setattr(modules[module_name], name, cls)
    with mock.patch.dict(sys.modules, modules):
        thing = cls()
        thing.__dict__.update(attributes)
        yield thing


def save(value: Any, path: Path, legacy: bool = True, cuda: bool = True) -> Path:
    """``torch.save`` as an old torch (``legacy``) on a GPU machine (``cuda``) did it."""
    tag = mock.patch("torch.serialization.location_tag", return_value="cuda:0")
    with tag if cuda else contextlib.nullcontext():
        torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


def mockingjay_config(
    layers: int, hidden: int, heads: int, ffn: int, rate: int, act: str = "gelu", data: str = "libri_mel160"
) -> dict[str, Any]:
    """The part of the original's YAML that matters, numbers as text where it has them so."""
    return {
        "mockingjay": {
            "downsample_rate": rate, "hidden_size": hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads, "hidden_act": act, "intermediate_size": ffn,
            "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02,
            "layer_norm_eps": "1e-12", "mask_proportion": 0.15, "mask_consecutive": 7,
        },
        "optimizer": {"type": "adam", "learning_rate": "4e-4", "gradient_accumulation_steps": 1},
        "dataloader": {"data_path": f"data/{data}", "batch_size": 6},
        "timer": None,
    }  # fmt: skip


def mockingjay_file(
    path: Path,
    state: Weights,
    head: Weights | None,
    config: dict[str, Any],
    legacy: bool = True,
    cuda: bool = True,
    timer: str = "utility.timer.Timer",
) -> Path:
    """The original Mockingjay's ``.ckpt``, with its Timer, Namespace and schedule objects."""
    with (
        foreign_class(timer, cache={}, start=1.5, names=["a"]) as clock,
        foreign_class(
            "mockingjay.optimization.WarmupLinearSchedule", warmup=0.07, t_total=500000
        ) as schedule,
    ):
        whole = {
            "Mockingjay": OrderedDict(state),
            "Settings": {
                "Config": config | {"timer": clock},
                "Paras": argparse.Namespace(seed=1337, gpu=True),
            },
        }
        if head is not None:
            group = {"params": [0], "lr": 4e-4, "schedule": schedule, "betas": (0.9, 0.999), "e": 1e-6}
            moments = {0: {"step": 3, "next_m": torch.zeros(2), "next_v": torch.zeros(2)}}
            whole |= {
                "SpecHead": OrderedDict(head), "Global_step": 500000,
                "Optimizer": {"state": moments, "param_groups": [group]},
            }  # fmt: skip
        return save(whole, path, legacy, cuda)


def s3prl_transformer_file(
    path: Path,
    state: Weights,
    head: Weights,
    config: dict[str, Any],
    old: bool = False,
    optimizer: str = "optimizers.WarmupLinearSchedule",
    audio: Mapping[str, Any] = {},
    task: Mapping[str, Any] = {},
) -> Path:
    """S3PRL's Mockingjay or TERA states; ``old`` has the upstream's configuration under ``Config``."""
    transformer = {key: config["mockingjay"][key] for key in config["mockingjay"] if "mask_" not in key}
    del transformer["downsample_rate"]
    upstream = {
        "transformer": transformer | {"share_layer": False, "max_input_length": 0, "pre_layer_norm": False},
        "task": {"sequence_length": 1500, "mask_proportion": 0.15, "mask_consecutive_min": 7, **task},
        "audio": {"target_level": -25, "sample_rate": 16000, **audio},
    }
    with foreign_class(optimizer, warmup=0.07) as schedule:
        whole = {
            "SpecHead": OrderedDict(head), "Transformer": OrderedDict(state),
            "Optimizer": {"state": {}, "param_groups": [{"params": [0], "schedule": schedule}]},
        }  # fmt: skip
        if old:
            whole |= {"Config": upstream, "Runner": {"optimizer": {"lr": "2e-4"}}, "Global_step": 7}
        else:
            whole |= {"Upstream_Config": upstream, "Config": {"runner": {"total_steps": 7}}, "Step": 7}
            whole["Args"] = argparse.Namespace(upstream="mockingjay", device="cuda")
        return save(whole, path, legacy=old, cuda=old)


def s3prl_apc_file(
    path: Path, state: Weights, layers: int, hidden: int, dim: int, residual: bool = True
) -> Path:
    """S3PRL's APC states."""
    config = {
        "model": {
            "paras": {"num_layers": layers, "hidden_size": hidden, "dropout": 0.1, "residual": residual}
        },
        "data": {"audio": {"feat_type": "fbank", "feat_dim": dim, "frame_length": 25, "frame_shift": 10,
                           "decode_wav": False, "cmvn": True}},
        "task": {"n_future": 5},
    }  # fmt: skip
    whole = {
        "config": config,
        "model": OrderedDict(state),
        "Step": 9,
        "Args": argparse.Namespace(upstream="apc"),
    }
    return save(whole, path, legacy=False, cuda=False)


# ---- weights ---------------------------------------------------------------------------------------


def _random(shapes: dict[str, tuple[int, ...]], seed: int) -> Weights:
    draw = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=draw)
        near_one = "LayerNorm" in name and name.endswith(("weight", "gamma"))
        weights[name] = (
            1 + 0.2 * values if near_one else values * (0.1 if len(shape) == 1 else shape[1] ** -0.5)
        )
    return weights


def transformer_weights(
    dim: int, layers: int, hidden: int, ffn: int, rate: int = 1, out: int | None = None, seed: int = 0
) -> tuple[Weights, Weights]:
    """Encoder and prediction head of the original Mockingjay (and of S3PRL's, which keeps the names)."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, rows: int, columns: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (rows, columns), (rows,)

    def norm(name: str) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (hidden,), (hidden,)

    linear("input_representations.spec_transform", hidden, dim * rate)
    norm("input_representations.LayerNorm")
    for i in range(layers):
        layer = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{part}", hidden, hidden)
        linear(f"{layer}.attention.output.dense", hidden, hidden)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", ffn, hidden)
        linear(f"{layer}.output.dense", hidden, ffn)
        norm(f"{layer}.output.LayerNorm")
    encoder = _random(shapes, seed)
    shapes = {}
    linear("dense", hidden, hidden)
    norm("LayerNorm")
    linear("output", (out or dim) * rate, hidden)
    return encoder, _random(shapes, seed + 1)


def gamma_beta(state: Weights) -> Weights:
    """The older names of the normalisation's parameters."""
    return {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for key, value in state.items()
    }


def apc_weights(
    dim: int, layers: int, hidden: int, prenet: int = 0, conv: bool = False, seed: int = 0
) -> Weights:
    """The original APC's ``.model``; ``conv``: the first commits' prenet of width-1 convolutions."""
    shapes: dict[str, tuple[int, ...]] = {}
    width = dim
    for j in range(prenet):
        shapes[f"prenet.layers.{j}.weight"] = (hidden, width, 1) if conv else (hidden, width)
        shapes[f"prenet.layers.{j}.bias"] = (hidden,)
        width = hidden
    for i in range(layers):
        shapes[f"rnns.{i}.weight_ih_l0"] = (3 * hidden, width)
        shapes[f"rnns.{i}.weight_hh_l0"] = (3 * hidden, hidden)
        shapes[f"rnns.{i}.bias_ih_l0"] = shapes[f"rnns.{i}.bias_hh_l0"] = (3 * hidden,)
        width = hidden
    shapes["postnet.layer.weight"], shapes["postnet.layer.bias"] = (dim, hidden, 1), (dim,)
    return _random(shapes, seed)


def s3prl_apc_weights(state: Weights) -> Weights:
    """The same network under S3PRL's names."""
    renamed = {}
    for key, value in state.items():
        name = key.replace("rnns.", "rnn_layers.").replace("postnet.layer.", "postnet.")
        renamed[name] = value[..., 0] if name == "postnet.weight" else value
    return renamed


# ---- references ------------------------------------------------------------------------------------


def mockingjay_reference(
    state: Weights, head: Weights | None, feats: np.ndarray, heads: int, rate: int = 1, act: str = "gelu"
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """``(T, D)`` -> [input embedding, layer 1, ..., N] each ``(T // rate, H)``, and the head's output."""
    w = {key: value.double().numpy() for key, value in state.items()}
    steps = len(feats) // rate
    x = feats[: steps * rate].astype(np.float64).reshape(steps, rate * feats.shape[1])
    x = _affine(w, "input_representations.spec_transform", x)
    hidden = x.shape[1]
    x = _normal(w, "input_representations.LayerNorm", x + positions(steps, hidden))
    hiddens = [x]
    layer = 0
    while f"encoder.layer.{layer}.output.dense.weight" in w:
        at = f"encoder.layer.{layer}."
        q, k, v = (_affine(w, f"{at}attention.self.{part}", x) for part in ("query", "key", "value"))
        size = hidden // heads
        context = np.empty_like(x)
        for h in range(heads):
            of = slice(h * size, (h + 1) * size)
            score = q[:, of] @ k[:, of].T / math.sqrt(size)
            weight = np.exp(score - score.max(axis=1, keepdims=True, initial=-np.inf))
            context[:, of] = weight / weight.sum(axis=1, keepdims=True) @ v[:, of]
        attended = _affine(w, f"{at}attention.output.dense", context)
        x = _normal(w, f"{at}attention.output.LayerNorm", attended + x)
        inner = _activation(act, _affine(w, f"{at}intermediate.dense", x))
        x = _normal(w, f"{at}output.LayerNorm", _affine(w, f"{at}output.dense", inner) + x)
        hiddens.append(x)
        layer += 1
    if head is None:
        return hiddens, None
    w = {key: value.double().numpy() for key, value in head.items()}
    inner = _normal(w, "LayerNorm", _activation(act, _affine(w, "dense", x)))
    return hiddens, _affine(w, "output", inner).reshape(steps * rate, len(w["output.bias"]) // rate)


def positions(steps: int, hidden: int) -> np.ndarray:
    """The table ``(steps, hidden)`` that is added to the projected frames."""
    table = np.empty((steps, hidden))
    for t in range(steps):
        for j in range(hidden):
            angle = t / math.pow(10000, 2 * (j // 2) / hidden)
            table[t, j] = math.cos(angle) if j % 2 else math.sin(angle)
    return table.astype(np.float32)


def apc_reference(
    state: Weights, feats: np.ndarray, residual: bool, s3prl: bool = False
) -> tuple[list[np.ndarray], np.ndarray]:
    """``(T, D)`` -> [each pre-net layer's and GRU's output], and the prediction ``(T, D)``.

    ``residual`` adds a GRU's input where the widths agree; S3PRL's (``s3prl``) never does in the first.
    The list holds, as the original returns it, one entry for the whole pre-net if there is one.
    """
    w = {key: value.double().numpy() for key, value in state.items()}
    rnn, post = ("rnn_layers", "postnet") if s3prl else ("rnns", "postnet.layer")
    x = feats.astype(np.float64)
    hiddens = []
    layer = 0
    while f"prenet.layers.{layer}.weight" in w:
        name = f"prenet.layers.{layer}"
        x = np.maximum(0, x @ w[f"{name}.weight"].reshape(len(w[f"{name}.bias"]), -1).T + w[f"{name}.bias"])
        layer += 1
    if layer:
        hiddens.append(x)
    layer = 0
    while f"{rnn}.{layer}.weight_ih_l0" in w:
        w_ih, w_hh, b_ih, b_hh = (
            w[f"{rnn}.{layer}.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        size = w_hh.shape[1]
        state_t = np.zeros(size)
        outputs = np.empty((len(x), size))
        for t, frame in enumerate(x):
            from_input, from_state = w_ih @ frame + b_ih, w_hh @ state_t + b_hh
            r = 1 / (1 + np.exp(-(from_input[:size] + from_state[:size])))
            z = 1 / (1 + np.exp(-(from_input[size : 2 * size] + from_state[size : 2 * size])))
            n = np.tanh(from_input[2 * size :] + r * from_state[2 * size :])
            state_t = (1 - z) * n + z * state_t
            outputs[t] = state_t
        if residual and x.shape[1] == size and not (s3prl and layer == 0):
            outputs = outputs + x
        x = outputs
        hiddens.append(x)
        layer += 1
    weight = w[f"{post}.weight"]
    return hiddens, x @ weight.reshape(len(weight), -1).T + w[f"{post}.bias"]


def _affine(w: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _normal(w: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12)
    return centred / spread * w[f"{name}.weight"] + w[f"{name}.bias"]


def _activation(name: str, x: np.ndarray) -> np.ndarray:
    if name == "gelu":
        return x * 0.5 * (1 + erf(x / math.sqrt(2)))
    return np.maximum(x, 0) if name == "relu" else x / (1 + np.exp(-x))
