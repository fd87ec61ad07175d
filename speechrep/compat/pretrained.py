"""Models as folders in the manner of model hubs: safetensors, JSON and a card; saved, loaded, passed on."""

import os

import torch

from speechrep.compat.convert import load_any
from speechrep.io.model_files import weights_sha256
from speechrep.upstream.base import Upstream
from speechrep.upstream.card import write_card
from speechrep.upstream.checkpoint import save_model


def save_pretrained(model: Upstream, folder: str | os.PathLike[str], licence: str = "unknown") -> str:
    """Write ``model.safetensors``, ``model.json`` and the card ``README.md``.

    What the model's file told of its weights is kept: where they come from and, unless they were changed
    since, their training.

    Args:
        model: what.
        folder: where; made if need be.
        licence: the weights' licence, an identifier such as "cc-by-4.0", for the card.

    Returns:
        The weights' SHA-256.
    """
    weights = {name: value.cpu().numpy() for name, value in model.state_dict().items()}
    changed = weights_sha256(weights) != model.weights_sha256
    lasting = ("target", "imported")  # the training that is told of did not make other weights
    about = {key: value for key, value in model.about.items() if not changed or key in lasting}
    sha = save_model(folder, model, about)
    write_card(folder, licence)
    return sha


def from_pretrained(folder: str | os.PathLike[str], device: torch.device | str = "cpu") -> Upstream:
    """The model of such a folder, or of what else :func:`speechrep.load` takes; nothing is downloaded."""
    return load_any(folder, device)
