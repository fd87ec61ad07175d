"""A trained model on disk: ``model.safetensors`` (weights) and ``model.json`` (what they are), as one."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from speechrep import provenance
from speechrep.errors import InputError, telling_of
from speechrep.io.files import atomic_open, read_json, write_json

FORMAT = "speechrep-model/1"
WEIGHTS, INFO = "model.safetensors", "model.json"
TRAIN_LOG = "train_log.jsonl"  # beside them, where they were trained


def weights_sha256(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the sorted names, types, shapes and values: the same however the file is laid out."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def write_model(
    exp_dir: str | os.PathLike[str], weights: Mapping[str, np.ndarray], info: Mapping[str, Any]
) -> str:
    """Write both files; the JSON last, so that it always speaks of complete weights.

    Args:
        exp_dir: the experiment's folder.
        weights: by state-dict name; may be empty.
        info: plain values from which the model can be rebuilt.

    Returns:
        The weights' SHA-256, which is stored too.
    """
    exp_dir = Path(exp_dir)
    exp_dir.mkdir(parents=True, exist_ok=True)
    weights = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    sha = weights_sha256(weights)  # now, so that the two files are exchanged within moments
    # Not save_file: who shares the folder could not read what it makes.
    with telling_of(exp_dir / WEIGHTS), atomic_open(exp_dir / WEIGHTS, "wb") as stream:
        stream.write(save(weights))
    made = {
        "weights_sha256": sha, "commit": provenance.commit(), "created": provenance.now(),
        "machine": provenance.machine(),
    }  # fmt: skip
    write_json(exp_dir / INFO, {"format": FORMAT} | made | dict(info))
    return sha


def read_info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of ``model.json``, given the experiment directory or either file."""
    file = model_folder(path) / INFO
    if not file.is_file():
        below = ", ".join(sorted(found.parent.name for found in Path(path).glob(f"*/{INFO}")))
        mend = f"it has models in {below}" if below else "has its training finished a step?"
        raise InputError("no model here: no model.json", where=path, mend=mend)
    info = read_json(file)
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise InputError(f"not a model description of format {FORMAT}", where=file)
    return info


def read_model(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Weights and description, checked against each other.

    Args:
        path: an experiment directory, or the ``model.safetensors`` in it.

    Raises:
        InputError: a file is missing or damaged, or the two do not belong together.
    """
    file = model_folder(path) / WEIGHTS
    while True:
        info = read_info(path)
        try:
            weights = load_file(file)
        except FileNotFoundError:
            raise InputError("no such file", where=file) from None
        except (SafetensorError, OSError) as error:
            raise InputError(f"not a whole safetensors file: {error}", where=file) from error
        if weights_sha256(weights) == info.get("weights_sha256"):
            return weights, info
        if read_info(path) == info:  # else a training saved meanwhile
            raise InputError(
                "the weights are not those that model.json describes",
                where=file,
                mend="a file was damaged or exchanged, or training was killed while saving: resume it",
            )


def model_folder(path: str | os.PathLike[str]) -> Path:
    """The folder of a model that was named by its folder or by one of its files."""
    path = Path(path)
    return path.parent if path.name in (WEIGHTS, INFO) else path
