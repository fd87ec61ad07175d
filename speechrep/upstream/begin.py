"""Weights to begin a training with: those of a model that was trained or imported before."""

import os
from typing import Any

from speechrep.data.features import FeatureReader
from speechrep.errors import InputError
from speechrep.upstream.base import Upstream
from speechrep.upstream.checkpoint import load
from speechrep.upstream.represented import require_input_of


def begin_from(model: Upstream, source: str | os.PathLike[str], feats: FeatureReader) -> dict[str, Any]:
    """Give a model the weights of another of the same network.

    Args:
        model: gets them.
        source: the other's experiment directory.
        feats: what the model will be trained on.

    Returns:
        What ``model.json`` shall tell of them.

    Raises:
        InputError: no upstream there, one of another network, or one made for other features.
    """
    begun = load(source)
    if begun.name != model.name:
        raise InputError(f"holds {begun.name}, want {model.name}", where=source)
    require_input_of(begun, feats, source)
    here, there = (
        {name: tuple(value.shape) for name, value in some.state_dict().items()} for some in (model, begun)
    )
    wrong = [
        f"{name} is {there.get(name, 'not there')}, want {here.get(name, 'none')}"
        for name in {**here, **there}
        if here.get(name) != there.get(name)
    ]
    if wrong:
        raise InputError(
            f"weights of another network: {'; '.join(wrong[:3])}", where=source,
            mend="give the options of its network, which its model.json has under config",
        )  # fmt: skip
    model.load_state_dict(begun.state_dict())
    imported = {"imported": begun.about["imported"]} if "imported" in begun.about else {}
    return {"weights_sha256": begun.weights_sha256} | imported
