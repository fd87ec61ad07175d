"""Whether features are those that something was made for.

A feature's identity holds the options of its front end. Those written before an option existed lack it; what
they mean is its default, so both sides are filled up before they are compared. Only a front end knows its
defaults, hence this lies above :mod:`speechrep.io.feature_meta`.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechrep.config import from_dict, to_dict
from speechrep.data.features import FeatureReader
from speechrep.errors import InputError
from speechrep.frontend.cmvn import Cmvn
from speechrep.frontend.registry import FRONTENDS
from speechrep.io.feature_meta import FeatureMeta, read_meta


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


def sha256_of(stats: NDArray[np.float64] | None) -> str:
    """What tells statistics of CMVN from others; "" for none."""
    return "" if stats is None else hashlib.sha256(np.ascontiguousarray(stats).tobytes()).hexdigest()


def global_statistics(feats: FeatureReader) -> NDArray[np.float64] | None:
    """The statistics by which a feature directory is normalised as a whole; None where there are none."""
    if feats.meta.upstream or feats.meta.cmvn != "global" or not feats.path.is_dir():
        return None
    return Cmvn(feats.path, "global", feats.meta.norm_vars).stats("")


def statistics_sha256(feats: FeatureReader) -> str:
    """What tells them from others, as of :func:`sha256_of`."""
    return sha256_of(global_statistics(feats))


def require_statistics(want_sha256: str, feats: FeatureReader, whose: object) -> None:
    """Refuse features that are normalised by other global statistics; what tells of none is taken.

    Args:
        want_sha256: as of :func:`sha256_of`.
        feats: the features.
        whose: what has these statistics, for the message.
    """
    if want_sha256 and statistics_sha256(feats) not in ("", want_sha256):
        raise InputError(
            f"is normalised by other global statistics than {whose}", where=feats.path,
            mend="extract it with --global-cmvn-from the training set's features",
        )  # fmt: skip


def require_like(first: FeatureReader, second: FeatureReader) -> None:
    """Refuse a set whose features are not those of another."""
    require_equal(first.meta.identity(), second.meta.identity(), first.path, second.path)
    require_statistics(statistics_sha256(first), second, first.path)


def require_global_cmvn(path: Path, meta: FeatureMeta) -> None:
    """Refuse a feature directory whose global statistics are not for features such as ``meta`` tells of."""
    if meta.cmvn != "global":
        raise InputError(f"needs --cmvn global, got {meta.cmvn}", where="--global-cmvn-from")
    theirs = read_meta(path / "features.json")
    mine, given = ({"feature": of.feature, "config": of.config} for of in (meta, theirs))
    if theirs.cmvn != "global" or not are_equal(mine, given):
        raise InputError("not global statistics of the same features", where=path)


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
