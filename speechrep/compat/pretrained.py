"""Models as folders in the manner of model hubs: safetensors, JSON and a card; saved, loaded, passed on."""

import os
from pathlib import Path

import torch

from speechrep.compat.convert import load_any
from speechrep.errors import InputError
from speechrep.io.model_files import TRAIN_LOG, read_info, weights_sha256
from speechrep.upstream.base import Upstream
from speechrep.upstream.card import UNKNOWN, write_card
from speechrep.upstream.checkpoint import arrays, save_model


def save_pretrained(model: Upstream, folder: str | os.PathLike[str], licence: str = "") -> str:
    """Write ``model.safetensors``, ``model.json`` and the card ``README.md``.

    What the model's file told of its weights is kept: where they come from and, unless they were changed
    since, their training. Of changed ones it is told which they were.

    Args:
        model: what.
        folder: where; made if need be.
        licence: the weights' licence, an identifier such as "cc-by-4.0", for the card; "" for that of the
            card beside the file that the model was loaded from.

    Returns:
        The weights' SHA-256.

    Raises:
        InputError: the folder is that of the training of other weights.
    """
    own = weights_sha256(arrays(model))
    if (Path(folder) / TRAIN_LOG).exists() and read_info(folder).get("weights_sha256") != own:
        raise InputError("holds the training of other weights", where=folder, mend="choose another folder")
    changed = own != model.weights_sha256
    # the training that is told of did not make other weights
    lasting = ("target", "imported", "begun_from", "changed_from")
    about = {key: value for key, value in model.about.items() if not changed or key in lasting}
    if changed and model.weights_sha256:
        about["changed_from"] = model.weights_sha256
    if changed and "imported" in about:  # a head that the file lacked may have been trained since
        about["imported"] = about["imported"] | {"has_head": True}
    sha = save_model(folder, model, about)
    write_card(folder, licence or model.licence or UNKNOWN)
    return sha


def from_pretrained(folder: str | os.PathLike[str], device: torch.device | str = "cpu") -> Upstream:
    """The model of such a folder, or of what else :func:`speechrep.load` takes; nothing is downloaded."""
    return load_any(folder, device)
