"""Features in Kaldi archives, normalised on reading."""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from speechrep.errors import InputError
from speechrep.frontend.cmvn import Cmvn
from speechrep.io.ark import found_spec, load_scp, matrix_shape, read_matrix
from speechrep.io.feature_meta import read_meta
from speechrep.io.scp_index import Keys, numbers_beside, open_index
from speechrep.io.table import read_table

BIG_BYTES = 64 << 20  # of feats.scp, about a million utterances: below, memory is cheaper than looking up


class FeatureDir:
    """A :class:`speechrep.data.features.FeatureReader` of a feature directory.

    Args:
        path: holds ``feats.scp``, ``features.json`` and, as its CMVN has it, ``cmvn.scp`` and ``utt2spk``.

    Raises:
        InputError: one of them is absent or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        if not (self.path / "feats.scp").is_file():
            raise InputError("no features: no feats.scp", where=path, mend="run extract_feats to its end")
        if not (self.path / "features.json").is_file():
            raise InputError(
                "no features.json, which tells what feats.scp holds", where=path,
                mend="run extract_feats to its end; of features made elsewhere, with conf/kaldi_scp.yaml",
            )  # fmt: skip
        self.meta = read_meta(self.path / "features.json")
        self._beside: dict[str, str] = {}
        if not self._open_index():
            self._places: Mapping[str, str] = load_scp(self.path / "feats.scp")
            if not self._places:
                raise InputError("no utterances", where=self.path / "feats.scp")
            self.utt_ids: Sequence[str] = list(self._places)
            self.num_frames = self._lengths()

    def _open_index(self) -> bool:
        """Leave a big table on disk, if it and ``utt2num_frames`` are in order and of the same utterances."""
        lengths = self.path / "utt2num_frames"
        if (self.path / "feats.scp").stat().st_size < BIG_BYTES or not lengths.is_file():
            return False
        index = open_index(self.path / "feats.scp")
        num_frames = None if index is None else numbers_beside(lengths, index)
        if index is None or num_frames is None:
            return False
        self._places, self.utt_ids, self.num_frames = index, Keys(index), num_frames
        return True

    def read(self, utt_id: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Frames ``start`` to ``stop`` of an utterance, float32 (T, D), normalised."""
        place = self._places.get(utt_id)
        if place is None:
            raise InputError(f"no utterance {utt_id}", where=self.path / "feats.scp")
        try:
            spec = found_spec(self.path / "feats.scp", place, self._beside)
            return read_matrix(spec, start, stop, mapping=functools.partial(self._normalised, utt_id))
        except InputError as error:
            raise error.told(f"utterance {utt_id}: {error.what}") from error

    def _normalised(self, utt_id: str, feats: np.ndarray) -> np.ndarray:
        if feats.shape[1] != self.meta.dim:
            wrong = f"{feats.shape[1]} values per frame, features.json says {self.meta.dim}"
            raise InputError(wrong, where=self.path)
        return self._cmvn.apply(utt_id, feats)

    @functools.cached_property
    def _cmvn(self) -> Cmvn:
        # Of a representation, the CMVN that is told is that of the model's input, done long ago.
        scope = "none" if self.meta.upstream else self.meta.cmvn
        return Cmvn(self.path, scope, self.meta.norm_vars)

    def _lengths(self) -> np.ndarray:
        path = self.path / "utt2num_frames"
        if not path.is_file():  # features made elsewhere: the archives know
            shapes = (matrix_shape(place) for place in self._places.values())
            return np.array([rows for rows, _ in shapes], np.int64)
        table = read_table(path)
        missing = next((utt_id for utt_id in self.utt_ids if utt_id not in table), None)
        if missing is not None:
            raise InputError(f"no utterance {missing} of feats.scp", where=path)
        try:
            return np.array([int(table[utt_id]) for utt_id in self.utt_ids], np.int64)
        except ValueError as error:
            raise InputError(f"not a number of frames: {error}", where=path) from error
