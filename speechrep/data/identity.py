"""Whether features are those that something was made for.

A feature's identity holds the options of its front end. Those written before an option existed lack it; what
they mean is its default, so both sides are filled up before they are compared. Only a front end knows its
defaults, hence this lies above :mod:`speechrep.io.feature_meta`.
"""

from typing import Any

from speechrep.config import from_dict, to_dict
from speechrep.errors import InputError
from speechrep.frontend.registry import FRONTENDS


def require_equal(want: dict[str, Any], got: dict[str, Any], want_where: object, got_where: object) -> None:
    """Refuse features that differ from what a model or label set was made for.

    Args:
        want, got: two results of ``acoustic()`` or of ``identity()`` of a ``FeatureMeta``.
        want_where, got_where: their files, for the message.

    Raises:
        InputError: naming every differing property with both values and both files.
    """
    want, got = completed(want), completed(got)
    if want.get("feature") == got.get("feature"):  # then their options compare, one by one
        want, got = _flat(want), _flat(got)
    differing = [
        f"{key} is {got.get(key)!r} but {want_where} was made for {want.get(key)!r}"
        for key in {**want, **got}
        if want.get(key) != got.get(key)
    ]
    if differing:
        raise InputError(
            "; ".join(differing), where=got_where, mend="extract features with the same configuration"
        )


def are_equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two identities mean the same features."""
    return completed(one) == completed(other)


def completed(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity with every option of its front end, defaults where it does not say.

    Options that this version does not know, and those of features made elsewhere, stay as they are. Whether
    recordings of a higher rate may be resampled is left out: what lies above the rate is gone either way.
    """
    if identity.get("feature") not in FRONTENDS:
        return identity
    options, _ = FRONTENDS[identity["feature"]]
    try:
        config = to_dict(from_dict(options, identity.get("config", {}), "features"))
    except InputError:
        return identity
    config.pop("allow_downsample", None)
    return identity | {"config": config}


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity whose front end's options stand beside its other properties, under their options' names."""
    options = {name.replace("_", "-"): value for name, value in identity.get("config", {}).items()}
    return {key: value for key, value in identity.items() if key != "config"} | options
