"""Weights to begin a training with: those of a model that was trained or imported before."""

from typing import Any

from speechrep.data.features import FeatureReader
from speechrep.errors import InputError
from speechrep.upstream.base import Upstream
from speechrep.upstream.represented import require_input_of


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
        InputError: another network, or one made for other features.
    """
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
