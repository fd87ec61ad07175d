"""Weights to begin a training with: those of a model that was trained or imported before."""

from typing import Any

import torch

from speechrep.config import to_dict
from speechrep.data.features import FeatureReader
from speechrep.errors import InputError
from speechrep.upstream.base import Upstream, evaluating
from speechrep.upstream.represented import require_input_of

TRIED_FRAMES = 200


def begin_from(model: Upstream, begun: Upstream, feats: FeatureReader, source: object) -> dict[str, Any]:
    """Give a model the weights of another of the same network.

    Args:
        model: gets them.
        begun: has them; it was loaded or imported.
        feats: what the model will be trained on.
        source: the other's file, for messages.

    Returns:
        What ``model.json`` shall tell of them.

    Raises:
        InputError: one made for other features, or another network, though perhaps of the same shapes.
    """
    if begun.name != model.name:
        raise InputError(f"holds {begun.name}, want {model.name}", where=source)
    try:
        require_input_of(begun, feats, source)
    except InputError as error:
        if "imported" not in begun.about:
            raise
        mend = "if these are its features, import it first: import_checkpoint --preset or --features"
        raise error.told(mend=mend) from None
    shapes = [{name: value.shape for name, value in some.state_dict().items()} for some in (model, begun)]
    if shapes[0] == shapes[1]:
        model.load_state_dict(begun.state_dict())
    if shapes[0] != shapes[1] or not _agree(model, begun):
        here, there = to_dict(model.config), to_dict(begun.config)
        differing = [name for name in here if here[name] != there[name]]
        told = "; ".join(f"{name} was {there[name]!r} and is now {here[name]!r}" for name in differing)
        raise InputError(
            f"weights of another network: {told}", where=source,
            mend="give the options of its network, which its model.json has under config",
        )  # fmt: skip
    imported = {"imported": begun.about["imported"]} if "imported" in begun.about else {}
    return {"weights_sha256": begun.weights_sha256} | imported


@torch.no_grad()
def _agree(model: Upstream, begun: Upstream) -> bool:
    """Whether two models of the same weights compute the same, whatever their options are called."""
    # Not random: the caller's generators stay as they are.
    frames = torch.sin(torch.arange(TRIED_FRAMES * model.meta.dim) ** 1.5).view(1, TRIED_FRAMES, -1)
    with evaluating(model), evaluating(begun):
        hiddens = [some(frames).hiddens for some in (model, begun)]
    return all(
        ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=1e-5)
        for ours, theirs in zip(*hiddens, strict=True)
    )
