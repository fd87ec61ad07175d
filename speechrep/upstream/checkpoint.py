"""Upstreams to and from disk."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from speechrep.config import from_dict, to_dict
from speechrep.errors import InputError
from speechrep.io.feature_meta import parse_meta, plain_meta
from speechrep.io.model_files import read_model, write_model
from speechrep.upstream.base import Upstream
from speechrep.upstream.card import licence_of
from speechrep.upstream.registry import UPSTREAMS, build

KIND = "upstream"
# of a description, what the weights do not need
ABOUT = ("step", "valid", "train", "target", "imported", "begun_from", "changed_from")


def describe(model: Upstream) -> dict[str, Any]:
    """Plain values from which an upstream can be rebuilt."""
    return {
        "kind": KIND,
        "upstream": model.name,
        "config": to_dict(model.config),
        "input": plain_meta(model.meta),
        "cmvn_stats": None if model.cmvn_stats is None else model.cmvn_stats.tolist(),
    }


def rebuild(info: Mapping[str, Any], where: object) -> Upstream:
    """The model that :func:`describe` told of, its weights untrained.

    Args:
        info: the description.
        where: the file it comes from, for messages.
    """
    config: Any = from_dict(UPSTREAMS[info["upstream"]].config_class, info.get("config", {}), where)
    model = build(info["upstream"], config, parse_meta(info.get("input"), where))
    if info.get("cmvn_stats") is not None:
        model.cmvn_stats = np.array(info["cmvn_stats"], np.float64)
    return model


def outline(info: Mapping[str, Any], num_weights: int, where: object) -> Upstream:
    """The model without memory for its weights: a damaged description can ask for any number of them.

    Args:
        info: the description, as of :func:`describe`.
        num_weights: how many weights, by name, are there for it.
        where: the file it comes from, for messages.

    Raises:
        InputError: there is no such model.
    """
    config = info.get("config")
    for name, value in config.items() if isinstance(config, dict) else ():
        if str(name).endswith("_layers") and isinstance(value, int) and value > num_weights:
            raise InputError(f"{name} is {value}, for {num_weights} weights", where=where)
    try:
        with torch.device("meta"):
            return rebuild(info, where)
    except InputError:
        raise
    except (ValueError, TypeError, ArithmeticError, RuntimeError, LookupError, AssertionError) as error:
        raise InputError(f"describes no model that can be built: {error}", where=where) from error


def save_model(
    exp_dir: str | os.PathLike[str], model: Upstream, about: Mapping[str, Any] | None = None
) -> str:
    """Write ``model.safetensors`` and ``model.json``; returns the weights' SHA-256.

    Args:
        exp_dir: where.
        model: what.
        about: more plain values to keep in the JSON, such as where the weights came from.
    """
    return write_model(exp_dir, arrays(model), describe(model) | dict(about or {}))


def arrays(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """The weights by name; those of 16 bits as float32, for numpy knows no bfloat16."""
    halves = (torch.bfloat16, torch.float16)
    return {
        name: (value.float() if value.dtype in halves else value).cpu().numpy()
        for name, value in model.state_dict().items()
    }


def load(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Upstream:
    """A trained upstream, in evaluation mode and frozen.

    Args:
        path: an experiment directory, or the ``model.safetensors`` in it.
        device: where to put it.

    Raises:
        InputError: no upstream there, a damaged file, or weights that do not fit the description.
    """
    weights, info = read_model(path)
    if info.get("kind") != KIND or info.get("upstream") not in UPSTREAMS:
        found = f"{info.get('kind')} {info.get('upstream', info.get('task', ''))}".strip()
        raise InputError(f"holds a {found} model, want an upstream: {sorted(UPSTREAMS)}", where=path)
    model = outline(info, len(weights), path)
    wanted = model.state_dict()
    wrong = sorted(
        (set(wanted) ^ set(weights))
        | {n for n in set(wanted) & set(weights) if tuple(wanted[n].shape) != weights[n].shape}
    )
    if wrong:
        raise InputError(f"weights do not fit the model at {', '.join(wrong[:5])}", where=path)
    model.to_empty(device="cpu")  # not built anew: that draws random weights, from the caller's generator
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    model.weights_sha256 = info["weights_sha256"]
    model.about = {key: info[key] for key in ABOUT if key in info}
    model.licence = licence_of(path)
    return put_on(device, model.eval().requires_grad_(False))


def put_on(device: torch.device | str, model: Upstream) -> Upstream:
    """The model on a device.

    Raises:
        InputError: there is no such device here.
    """
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).partition("\n")[0]
        raise InputError(
            f"cannot be put on {device}: {why}", where="the model", mend='"cpu" is there'
        ) from error
