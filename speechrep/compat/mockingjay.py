"""The original Mockingjay's ``.ckpt``: encoder, prediction head and settings, in and out.

Layout: ``{Mockingjay, SpecHead, Optimizer, Global_step, Settings: {Config, Paras}}``. The input's dimension
is not in it; it follows from the first weight and the down-sampling rate.
"""

import argparse
import reprlib
from collections.abc import Mapping
from typing import Any

import torch

from speechrep.compat.foreign import Foreign, number, section, whole_number
from speechrep.compat.keys import Row, Weights, tensors, to_theirs
from speechrep.errors import InputError
from speechrep.upstream.mockingjay import Mockingjay
from speechrep.upstream.transformer import ACTIVATIONS


def table(encoder: str) -> tuple[Row, ...]:
    """Names of the encoder's and the head's parameters, the encoder's under ``encoder.``."""
    layer, ours = f"{encoder}.encoder.layer.{{i}}", "layers.{i}"
    pairs = [
        (f"{encoder}.input_representations.spec_transform", "input.proj"),
        (f"{encoder}.input_representations.LayerNorm", "input.norm"),
        (f"{layer}.attention.self.query", f"{ours}.attn.q"),
        (f"{layer}.attention.self.key", f"{ours}.attn.k"),
        (f"{layer}.attention.self.value", f"{ours}.attn.v"),
        (f"{layer}.attention.output.dense", f"{ours}.attn.out"),
        (f"{layer}.attention.output.LayerNorm", f"{ours}.norm1"),
        (f"{layer}.intermediate.dense", f"{ours}.ffn.in"),
        (f"{layer}.output.dense", f"{ours}.ffn.out"),
        (f"{layer}.output.LayerNorm", f"{ours}.norm2"),
        ("SpecHead.dense", "head.dense"),
        ("SpecHead.LayerNorm", "head.norm"),
        ("SpecHead.output", "head.out"),
    ]
    return tuple(Row(f"{a}.{end}", f"{b}.{end}") for a, b in pairs for end in ("weight", "bias"))


def read(tree: Any, where: object) -> Foreign:
    """What the file holds, checked; see :class:`Foreign`."""
    if isinstance(tree, dict) and "Mockingjay" in tree and tree["Mockingjay"] is None:
        raise InputError("a downstream file without an encoder (it was not fine-tuned)", where=where)
    config = section(tree, "Settings", "Config", "mockingjay", where=where)
    rate = whole_number(config, "downsample_rate", where, 1)
    state, has_head = encoder_state(tree, "Mockingjay", where)
    options, input_dim = encoder_options(state, "Mockingjay", config, rate, where)
    options |= masking(config, "mask_consecutive", where)
    loader = section(tree, "Settings", "Config", where=where).get("dataloader", {})
    data = str(loader.get("data_path", "")) if isinstance(loader, dict) else ""
    return Foreign(
        "mockingjay", options, input_dim, state, table("Mockingjay"),
        _preset(input_dim, data), has_head, notes=() if has_head else (NO_HEAD,),
    )  # fmt: skip


NO_HEAD = "the file has no prediction head: ours is new; representations do not need it, pre-training does"


def encoder_state(tree: Any, encoder: str, where: object) -> tuple[Weights, bool]:
    """Encoder and head under one roof, normalisation under its newer names, and whether there is a head."""
    state = {f"{encoder}.{key}": value for key, value in tensors(tree.get(encoder), encoder, where).items()}
    has_head = tree.get("SpecHead") is not None
    if has_head:
        state |= {f"SpecHead.{k}": v for k, v in tensors(tree["SpecHead"], "SpecHead", where).items()}
    newer = {
        key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): value
        for key, value in state.items()
    }
    if len(newer) != len(state):
        raise InputError("a normalisation is in it under both its names, gamma and weight", where=where)
    return newer, has_head


def encoder_options(
    state: Weights, encoder: str, config: Mapping[str, Any], rate: int, where: object
) -> tuple[dict[str, Any], int]:
    """Our options from shapes and configuration, and the input's dimension."""
    proj = _matrix(state, f"{encoder}.input_representations.spec_transform.weight", where)
    if proj is None:
        raise InputError(f"{encoder} has no input_representations.spec_transform.weight", where=where)
    layers = {key.split(".")[3] for key in state if key.startswith(f"{encoder}.encoder.layer.")}
    hidden, stacked = proj.shape
    sizes = {"hidden_size": hidden, "num_hidden_layers": len(layers)}
    for key, size in sizes.items():
        if whole_number(config, key, where) != size:
            raise InputError(
                f"its configuration says {key} {config[key]}, its weights have {size}", where=where
            )
    if stacked % rate:
        raise InputError(f"its input of {stacked} values does not divide by {rate} frames", where=where)
    inner = _matrix(state, f"{encoder}.encoder.layer.0.intermediate.dense.weight", where)
    out = _matrix(state, "SpecHead.output.weight", where)
    input_dim = stacked // rate
    output_dim = input_dim if out is None else out.shape[0] // rate
    activation = config.get("hidden_act")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise InputError(
            f"its activation is {reprlib.repr(activation)}, known are {sorted(ACTIVATIONS)}", where=where
        )
    return (
        {
            "hidden_size": hidden,
            "num_layers": len(layers),
            "num_heads": whole_number(config, "num_attention_heads", where),
            "ffn_size": whole_number(config, "intermediate_size", where) if inner is None else inner.shape[0],
            "activation": activation,
            "dropout": number(config, "hidden_dropout_prob", where, 0.1),
            "attention_dropout": number(config, "attention_probs_dropout_prob", where, 0.1),
            "layer_norm_eps": number(config, "layer_norm_eps", where, 1e-12),
            "init_std": number(config, "initializer_range", where, 0.02),
            "downsample": rate,
            "target_dim": 0 if output_dim == input_dim else output_dim,
        },
        input_dim,
    )


def _matrix(state: Mapping[str, torch.Tensor], key: str, where: object) -> torch.Tensor | None:
    """A weight that must be a matrix if it is there."""
    weight = state.get(key)
    if weight is not None and weight.ndim != 2:
        raise InputError(f"{key} is of shape {tuple(weight.shape)}, want a matrix", where=where)
    return weight


def masking(config: Mapping[str, Any], span: str, where: object) -> dict[str, Any]:
    """Our masking options, where the file says something about them."""
    options: dict[str, Any] = {}
    if "mask_proportion" in config:
        options["mask_share"] = number(config, "mask_proportion", where)
    if span in config:
        options["mask_span"] = whole_number(config, span, where)
    return options


def unlike_masking(task: Mapping[str, Any]) -> list[str]:
    """What to tell of S3PRL's ways of masking that ours has not; only pre-training would differ."""
    ways = ("mask_frequency", "noise_proportion")
    found = [f"{key} {reprlib.repr(task[key])}" for key in ways if task.get(key)]
    longest = task.get("mask_consecutive_max")
    if longest is not None and longest != task.get("mask_consecutive_min", longest):
        found.append(f"mask_consecutive_max {reprlib.repr(longest)}")
    return [f"trained with {', '.join(found)}, which our pre-training has not"] if found else []


def _preset(dim: int, data_path: str) -> str:
    if "fmllr" in data_path:
        return "fmllr40"
    named = [
        ("fbank160", 160, "mj-fbank160"),
        ("mel160", 160, "mj-mel160"),
        ("linear1025", 1025, "mj-linear1025"),
    ]
    for text, size, preset in named:
        if text in data_path and dim == size:
            return preset
    return {160: "mj-mel160", 1025: "mj-linear1025", 40: "fmllr40"}.get(dim, "")


def transformer_config(model: Mockingjay) -> dict[str, Any]:
    """Our options under the names that both the original and S3PRL use."""
    config = model.config
    return {
        "hidden_size": config.hidden_size, "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads, "hidden_act": config.activation,
        "intermediate_size": config.ffn_size, "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout, "initializer_range": config.init_std,
        "layer_norm_eps": str(config.layer_norm_eps),
    }  # fmt: skip


def window_notes(model: Mockingjay) -> list[str]:
    """What to tell of an option that no other project has."""
    if not model.config.window:
        return []
    return [
        f"here inputs above {model.config.window} positions are encoded in overlapping windows, there whole"
    ]


def parts(model: Mockingjay, encoder: str, has_head: bool) -> dict[str, Weights]:
    """The state dicts under the encoder's name and, if it was trained, ``SpecHead``."""
    weights = {
        key: value.detach().cpu()
        for key, value in model.state_dict().items()
        if has_head or not key.startswith("head.")
    }
    named = to_theirs(weights, table(encoder), "the model")
    split: dict[str, Weights] = {encoder: {}}
    for key, value in named.items():
        part, _, name = key.partition(".")
        split.setdefault(part, {})[name] = value
    return split


def write(model: Mockingjay, has_head: bool, step: int) -> tuple[dict[str, Any], list[str]]:
    """The file's content, and what its users should know.

    Only the Namespace in it is no plain container: the original reads its fields as attributes.
    """
    meta, config = model.meta, model.config
    notes = window_notes(model)
    if meta.dim not in (160, 40):
        notes.append(
            f"the original code assumes an input of 160 values (40 for fMLLR), this one has {meta.dim}"
        )
    if model.target_dim not in (meta.dim, 1025):
        notes.append(
            f"the original code can rebuild a head for {meta.dim} or 1025 values, not {model.target_dim}"
        )
    original = transformer_config(model) | {
        "downsample_rate": config.downsample, "mask_proportion": config.mask_share,
        "mask_consecutive": config.mask_span,
    }  # fmt: skip
    name = "fmllr" if meta.dim == 40 else meta.feature
    settings = {
        "mockingjay": original,
        "optimizer": {"type": "adam", "learning_rate": "4e-4", "loss_scale": 0, "warmup_proportion": 0.07,
                      "gradient_accumulation_steps": 1, "gradient_clipping": 1.0},
        "dataloader": {"n_jobs": 0, "batch_size": 6, "data_path": f"data/libri_{name}{meta.dim}",
                       "target_path": "", "train_set": [], "dev_set": [], "test_set": [],
                       "max_timestep": 3000},
        "solver": {"apex": False, "total_steps": max(1, step), "log_step": 2500, "save_step": 10000,
                   "duo_feature": model.target_dim == 1025 and meta.dim != 1025, "max_keep": 2,
                   "load_model_list": ["SpecHead", "Mockingjay"]},
    }  # fmt: skip
    paras = argparse.Namespace(
        config="", seed=0, logdir="log", name="speechrep", load=False, ckpdir="result", ckpt="", dckpt="",
        apc_path="", train=False, run_mockingjay=False, run_apc=False, fine_tune=False, plot=False,
        train_phone=False, test_phone=False, train_sentiment=False, test_sentiment=False,
        train_speaker=False, test_speaker=False, with_head=False, output_attention=False, load_ws="",
        cpu=False, no_msg=False, gpu=torch.cuda.is_available(), verbose=True,
    )  # fmt: skip
    content: dict[str, Any] = dict(parts(model, "Mockingjay", has_head))
    content |= {"Global_step": step, "Settings": {"Config": settings, "Paras": paras}}
    return content, notes
