"""The original APC's ``.model``: a bare state dict, in and out.

It says nothing of residual connections, time shift, dropout or features; published files tell the first three
in their names (``bs32-rhl3-rhs512-rd0-adam-res-ts3.pt``).
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from speechrep.compat.foreign import Foreign
from speechrep.compat.keys import Row, Weights, tensors, to_theirs
from speechrep.errors import InputError
from speechrep.upstream.apc import Apc, ApcConfig

_GRU = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
TABLE = (
    Row("prenet.layers.{i}.weight", "prenet.{i}.weight", last_axis="maybe"),
    Row("prenet.layers.{i}.bias", "prenet.{i}.bias"),
    *(Row(f"rnns.{{i}}.{name}", f"rnns.{{i}}.{name}") for name in _GRU),
    Row("postnet.layer.weight", "postnet.weight", last_axis="always"),
    Row("postnet.layer.bias", "postnet.bias"),
)


def read(tree: Any, where: Path, residual: str = "", time_shift: int = 0) -> Foreign:
    """What the file holds, checked; see :class:`Foreign`.

    Args:
        tree: the file's content.
        where: the file, whose name may tell options.
        residual: "all" or "none"; "" goes by the name, and without one takes "all", as all published files.
        time_shift: frames; 0 goes by the name, and without one takes 3.
    """
    state = tensors(tree, "the file", where)
    options, input_dim = gru_options(state, "rnns", where)
    told = name_options(where.name)
    notes = []
    if not residual and "residual" not in told:
        notes.append(
            "the file does not say whether it has residual connections: yes assumed (--residual none)"
        )
    if not time_shift and "time_shift" not in told:
        notes.append("the file does not say its time shift: 3 assumed (--time-shift)")
    options |= {"residual": "all", "time_shift": 3} | told
    options |= {"residual": residual} if residual else {}
    options |= {"time_shift": time_shift} if time_shift else {}
    preset = {80: "apc-kaldi80", 160: "mj-mel160"}.get(input_dim, "")
    return Foreign("apc", options, input_dim, state, TABLE, preset, notes=tuple(notes))


def gru_options(state: Weights, rnns: str, where: object) -> tuple[dict[str, Any], int]:
    """Our options and the input's dimension from the shapes of the weights."""
    layers = {key.split(".")[1] for key in state if key.startswith(f"{rnns}.")}
    prenet = {key.split(".")[2] for key in state if key.startswith("prenet.layers.")}
    recurrent, first = state.get(f"{rnns}.0.weight_hh_l0"), state.get(f"{rnns}.0.weight_ih_l0")
    if prenet:
        first = state.get("prenet.layers.0.weight")
    if recurrent is None or first is None or recurrent.ndim != 2 or first.ndim < 2:
        raise InputError(f"it has no {rnns}.0.weight_hh_l0 or no first layer", where=where)
    options = {
        "hidden_size": recurrent.shape[1], "num_layers": len(layers), "prenet_layers": len(prenet)
    }  # fmt: skip
    return options, first.shape[1]


def name_options(name: str) -> dict[str, Any]:
    """The options that a published file's name tells."""
    words = re.sub(r"\.[A-Za-z]\w*$", "", name).split("__epoch")[0].split("-")
    found: dict[str, Any] = {}
    if any(re.fullmatch(r"rhl\d+", word) for word in words):
        found["residual"] = "all" if "res" in words else "none"
    for word in words:
        if shift := re.fullmatch(r"ts(\d+)", word):
            found["time_shift"] = max(1, int(shift[1]))
        if dropout := re.fullmatch(r"rd(0?\.?\d+)", word):
            found["dropout"] = float(dropout[1])
    return found


def write(model: Apc) -> tuple[dict[str, Any], list[str]]:
    """The file's content, and what its users should know.

    Raises:
        InputError: the model computes something that the original cannot.
    """
    config = model.config
    residual = equivalent_residual(model, ("all", "none"), "the original adds it in every layer that fits")
    weights = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    dropout = np.format_float_positional(config.dropout, trim="-")
    name = f"rhl{config.num_layers}-rhs{config.hidden_size}-rd{dropout}-adam"
    name += f"{'-res' if residual == 'all' else ''}-ts{config.time_shift}"
    meta = model.meta
    notes = [
        f"the format holds weights only; call the file ...-{name}.pt so that the rest is known",
        f"the file does not say its features ({meta.feature}, {meta.dim} values): --preset or --features",
    ]
    usual = ApcConfig()
    lost = [
        f"{name.replace('_', '-')} {getattr(config, name)}"
        for name in ("prenet_dropout", "loss_on")
        if getattr(config, name) != getattr(usual, name)
    ]
    if lost:
        notes.append(f"it does not say what counts in training only: {', '.join(lost)}")
    return dict(to_theirs(weights, TABLE, "the model")), notes


def equivalent_residual(model: Apc, rules: tuple[str, ...], why: str) -> str:
    """The one of a foreign project's residual rules that gives what the model's own rule gives.

    Raises:
        InputError: none does; ``why`` is told.
    """
    config = model.config
    own = _residual_layers(model, config.residual)
    for rule in rules:
        if _residual_layers(model, rule) == own:
            return rule
    raise InputError(
        f"residual is {config.residual!r}, which that format cannot say: {why}", where="the model"
    )


def _residual_layers(model: Apc, rule: str) -> list[bool]:
    config = model.config
    first_fits = config.prenet_layers > 0 or model.meta.dim == config.hidden_size
    first = rule == "all" and first_fits
    return [first, *[rule != "none"] * (config.num_layers - 1)]
