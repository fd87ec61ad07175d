"""Models as folders in the manner of model hubs: safetensors, JSON and a card; saved, loaded, passed on."""

import os

import torch

from speechrep.compat.convert import load_any
from speechrep.upstream.base import Upstream
from speechrep.upstream.card import write_card
from speechrep.upstream.checkpoint import save_model


def save_pretrained(model: Upstream, folder: str | os.PathLike[str], licence: str = "unknown") -> str:
    """Write ``model.safetensors``, ``model.json`` and the card ``README.md``.

    Args:
        model: what.
        folder: where; made if need be.
        licence: the weights' licence, an identifier such as "cc-by-4.0", for the card.

    Returns:
        The weights' SHA-256.
    """
    sha = save_model(folder, model)
    write_card(folder, licence)
    return sha


def from_pretrained(folder: str | os.PathLike[str], device: torch.device | str = "cpu") -> Upstream:
    """The model of such a folder, or of what else :func:`speechrep.load` takes; nothing is downloaded."""
    return load_any(folder, device)
