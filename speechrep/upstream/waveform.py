"""From samples to the frames a model was trained on: its own front end and normalisation."""

import numpy as np

from speechrep.errors import InputError
from speechrep.frontend.cmvn import normalise, statistics
from speechrep.frontend.registry import make_frontend
from speechrep.io.feature_meta import FeatureMeta


def features(
    samples: np.ndarray, sample_rate: int, meta: FeatureMeta, cmvn_stats: np.ndarray | None, where: object
) -> np.ndarray:
    """Normalised features, float32 (T, F).

    Args:
        samples: (N,) in [-1, 1].
        sample_rate: Hz; must be the features'.
        meta: what the model takes.
        cmvn_stats: float64 (2, F + 1) of global normalisation. Per-utterance and per-speaker normalisation
            use the statistics of these samples: one recording is taken for one utterance of one speaker.
        where: the file, for messages.

    Raises:
        InputError: empty, not finite or not one channel; another rate; or features without a front end here.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1:
        raise InputError(f"samples of shape {samples.shape}, want one channel (N,)", where=where)
    if not len(samples):
        raise InputError("no samples", where=where)
    if samples.dtype.kind != "f":
        raise InputError(f"samples of type {samples.dtype}, want float in [-1, 1]", where=where)
    if not np.isfinite(samples).all():
        raise InputError(f"sample {int(np.argmin(np.isfinite(samples)))} is not finite", where=where)
    try:
        feats = make_frontend(meta.feature, meta.config)(samples.astype(np.float32, copy=False), sample_rate)
    except InputError as error:
        raise InputError(error.what, where=where, mend=error.mend) from error
    if meta.cmvn == "none":
        return feats
    if meta.cmvn == "global" and cmvn_stats is None:
        raise InputError("the model does not hold the global CMVN statistics of its features", where=where)
    stats = statistics(feats) if meta.cmvn != "global" else cmvn_stats
    return normalise(feats, stats, meta.norm_vars)
