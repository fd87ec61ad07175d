"""One utterance as pictures need it: its frames, when they are, and what they are called."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from speechrep.data.features import FeatureReader, open_features
from speechrep.data.frame_labels import frame_times_s
from speechrep.errors import InputError
from speechrep.io.audio import read_audio
from speechrep.upstream.base import Upstream
from speechrep.upstream.represented import require_input_of
from speechrep.upstream.waveform import features

AUDIO = (".wav", ".flac", ".ogg", ".sph")


@dataclass(frozen=True)
class Utterance:
    """What a model is shown."""

    utt_id: str
    feats: NDArray[np.float32]
    """(T, F), normalised."""
    times_s: NDArray[np.float64]
    """(T,) centres of the frames."""

    def tensor(self) -> torch.Tensor:
        """A batch of one, (1, T, F)."""
        return torch.from_numpy(np.ascontiguousarray(self.feats))[None]

    def joined_times_s(self, r: int) -> NDArray[np.float64]:
        """(T // r,) centres of r frames together each."""
        T = len(self.times_s) // r * r
        return self.times_s[:T].reshape(-1, r).mean(1)


def read_utterance(
    model: Upstream,
    data: str | os.PathLike[str],
    utt_id: str = "",
    start_s: float = 0.0,
    end_s: float = 0.0,
    where: object = "the model",
) -> Utterance:
    """One utterance as a model takes it.

    Args:
        model: an upstream.
        data: a feature directory or store of the model's kind, or an audio file.
        utt_id: which utterance; "" for the first. An audio file is one, called like the file.
        start_s, end_s: only the frames with centres from here to there; 0 for ``end_s`` is to the end. The
            model sees no others.
        where: the model's file, for messages.

    Raises:
        InputError: no such utterance or file, other features than the model's, or no frame in that time.
    """
    path = Path(data)
    if path.suffix.lower() in AUDIO:
        if utt_id not in ("", path.stem):
            raise InputError(f"no utterance {utt_id}; an audio file is one, {path.stem}", where=path)
        utt_id = path.stem
        feats = features(*read_audio(path), model.meta, model.cmvn_stats, path)
    else:
        reader = open_features(path)
        utt_id, feats = _read(model, reader, utt_id, where)
    return _cut(model, utt_id, feats, start_s, end_s, path)


def from_reader(model: Upstream, reader: FeatureReader, utt_id: str = "", end_s: float = 0.0) -> Utterance:
    """The same from features that are open already."""
    utt_id, feats = _read(model, reader, utt_id, "the model")
    return _cut(model, utt_id, feats, 0.0, end_s, reader.path)


def _read(
    model: Upstream, reader: FeatureReader, utt_id: str, where: object
) -> tuple[str, NDArray[np.float32]]:
    require_input_of(model, reader, where)
    utt_id = utt_id or reader.utt_ids[0]
    if utt_id not in reader.utt_ids:
        raise InputError(
            f"no utterance {utt_id}", where=reader.path,
            mend=f"it has {len(reader.utt_ids)}, such as {reader.utt_ids[0]}",
        )  # fmt: skip
    return utt_id, reader.read(utt_id)


def _cut(
    model: Upstream, utt_id: str, feats: NDArray[np.float32], start_s: float, end_s: float, path: Path
) -> Utterance:
    times_s = frame_times_s(model.meta, len(feats))
    kept = (times_s >= start_s) & ((times_s < end_s) | (end_s <= 0))
    if kept.sum() < model.shortest():
        raise InputError(
            f"{utt_id}: {kept.sum()} of {len(feats)} frames lie between {start_s:g} and {end_s:g} s, "
            f"{model.name} needs {model.shortest()}",
            where=path,
        )
    return Utterance(utt_id, feats[kept], times_s[kept])
