"""Features by utterance, whatever holds them: a directory of Kaldi archives or an HDF5 store."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from speechrep.data.feature_dir import FeatureDir
from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta
from speechrep.io.store import Store


class FeatureReader(Protocol):
    """Features of a set. Cheap to pickle and safe after a fork, so that every worker reads for itself."""

    path: Path
    """The directory or file, for messages."""
    meta: FeatureMeta
    """What made the features."""
    utt_ids: Sequence[str]
    """The utterances."""
    num_frames: np.ndarray
    """(U,) int64, the length of each of ``utt_ids``."""

    def read(self, utt_id: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Frames ``start`` to ``stop`` of an utterance, normalised: float32 (T, D), or (T, L, D) of L layers.

        Raises:
            InputError: no such utterance, or a damaged file.
        """


def frame_counts(reader: FeatureReader) -> dict[str, int]:
    """Utterance to its number of frames."""
    return dict(zip(reader.utt_ids, reader.num_frames.tolist(), strict=True))


def lengths_of(utt_ids: Iterable[str], reader: FeatureReader) -> NDArray[np.int64]:
    """(U,) the frames of some utterances of a reader."""
    frames = frame_counts(reader)
    return np.array([frames[utt_id] for utt_id in utt_ids], np.int64)


def open_features(path: str | os.PathLike[str]) -> FeatureReader:
    """Open the features of a set.

    Args:
        path: a feature directory (``feats.scp``, ``features.json``, ``cmvn.ark``) or an ``.h5`` store.

    Raises:
        InputError: neither of the two, or one that is damaged, naming the file.
    """
    path = Path(path)
    if path.is_dir():
        return FeatureDir(path)
    if path.suffix == ".h5":
        return Store(path)
    raise InputError(
        "no features here" if path.exists() else "no such feature directory or store",
        where=path, mend="give the output directory of extract_feats or the .h5 file of dump",
    )  # fmt: skip
