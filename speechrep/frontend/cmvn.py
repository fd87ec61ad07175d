"""Cepstral mean and variance normalisation, with statistics in Kaldi's layout.

Statistics are float64 (2, D + 1): row 0 holds the sums and, last, the number of frames; row 1 the sums of
squares and a zero. They lie in ``cmvn.ark``, keyed by utterance or speaker, or alone for a whole set.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from speechrep.errors import InputError
from speechrep.io.ark import load_scp, read_matrix
from speechrep.io.table import read_table

SCOPES = ("utterance", "speaker", "global", "none")
"""Over what the statistics are taken."""

_VARIANCE_FLOOR = 1e-20  # Kaldi's
_CONSTANT = 1e-12  # of the mean square: below it a variance is rounding error, and the feature a constant


def statistics(feats: np.ndarray) -> np.ndarray:
    """The statistics of features (T, D)."""
    stats = np.zeros((2, feats.shape[1] + 1))
    wide = feats.astype(np.float64)
    stats[0, :-1] = wide.sum(axis=0)
    stats[0, -1] = len(feats)
    stats[1, :-1] = np.einsum("td,td->d", wide, wide)
    return stats


def normalise(feats: np.ndarray, stats: np.ndarray, norm_vars: bool) -> np.ndarray:
    """Subtract the mean and, if asked, divide by the standard deviation, as Kaldi's ``apply-cmvn``.

    There is no constant added to the deviation: it would leave the loudness of a recording visible in
    normalised features. A feature that does not vary becomes zero.

    Args:
        feats: float32 (T, D).
        stats: float64 (2, D + 1), as :func:`statistics` makes.
        norm_vars: whether to divide.

    Returns:
        float32 (T, D).

    Raises:
        InputError: statistics of another dimension, or of no frames.
    """
    if stats.shape != (2, feats.shape[1] + 1):
        raise InputError(f"CMVN statistics of shape {stats.shape} for {feats.shape[1]} features")
    count = float(stats[0, -1])
    if count < 1:
        raise InputError(f"CMVN statistics of {count} frames")
    mean = stats[0, :-1].astype(np.float64) / count
    centred = np.empty(feats.shape, np.float32)
    # In float64: the mean must go without a trace.
    np.subtract(feats, mean, out=centred, dtype=np.float64, casting="same_kind")
    if norm_vars:
        mean_square = stats[1, :-1].astype(np.float64) / count
        variance = mean_square - mean**2
        constant = variance <= _CONSTANT * mean_square
        variance = np.maximum(variance, _VARIANCE_FLOOR)
        centred *= np.where(constant, 0.0, 1.0 / np.sqrt(variance)).astype(np.float32)
    return centred


class Cmvn:
    """The normalisation that belongs to a feature directory; statistics are read when needed.

    Args:
        path: the directory, with ``cmvn.ark`` and, unless the scope is global, ``cmvn.scp``.
        scope: one of :data:`SCOPES`.
        norm_vars: whether to divide by the standard deviation.
    """

    def __init__(self, path: str | os.PathLike[str], scope: str, norm_vars: bool):
        self.path, self.scope, self.norm_vars = Path(path), scope, norm_vars
        self._places: Mapping[str, str] = {}
        self._speakers: Mapping[str, str] = {}
        self._cached: tuple[str, np.ndarray] | None = None
        if scope not in SCOPES:
            raise InputError(f"CMVN over {scope!r}; want one of {SCOPES}", where=path)
        if scope in ("utterance", "speaker"):
            self._places = load_scp(self.path / "cmvn.scp")
        if scope == "speaker":
            self._speakers = read_table(self.path / "utt2spk")

    def apply(self, utt_id: str, feats: np.ndarray) -> np.ndarray:
        """Normalised features, float32 (T, D).

        Args:
            utt_id: whose they are.
            feats: float32 (T, D), all of the utterance or a part.

        Raises:
            InputError: there are no statistics for the utterance or its speaker.
        """
        if self.scope == "none":
            return feats
        try:
            return normalise(feats, self.stats(utt_id), self.norm_vars)
        except InputError as error:
            raise error.told(error.what, where=error.where or self.path / "cmvn.ark") from error

    def stats(self, utt_id: str) -> np.ndarray:
        """The statistics that apply to an utterance, float64 (2, D + 1)."""
        key = self._speakers.get(utt_id, "") if self.scope == "speaker" else utt_id
        key = "*" if self.scope == "global" else key
        if self._cached is None or key != self._cached[0]:
            if self.scope == "global":
                stats = read_matrix(str(self.path / "cmvn.ark"), dtype=np.float64)
            elif key in self._places:
                stats = read_matrix(self._places[key], dtype=np.float64)
            else:
                raise InputError(f"no CMVN statistics for {self.scope} {key!r}", where=self.path / "cmvn.scp")
            self._cached = key, stats
        return self._cached[1]
