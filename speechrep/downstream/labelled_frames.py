"""Utterances with a class for every frame."""

import dataclasses
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechrep.data.batches import Segment
from speechrep.data.features import FeatureReader, lengths_of
from speechrep.data.frame_labels import IGNORE
from speechrep.data.padded import pad_arrays, pad_features

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class LabelledFrames:
    """Utterances with a label per frame; a dataset for :class:`Loader`."""

    feats: FeatureReader
    utt_ids: list[str]
    labels: list[NDArray[np.int64]]  # (T,) per utterance, IGNORE for none
    stride: int = 1  # of :meth:`some`

    @property
    def num_frames(self) -> NDArray[np.int64]:
        """(U,) their lengths in the features; a model inside may join frames, then labels are fewer."""
        return lengths_of(self.utt_ids, self.feats)

    def __getitem__(self, segment: Segment) -> dict[str, Any]:
        """One utterance, always whole."""
        utt_id = self.utt_ids[segment.index]
        return {"utt_id": utt_id, "feats": self.feats.read(utt_id), "labels": self.labels[segment.index]}

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Items to a batch, padded labels ignored."""
        labels, label_lens = pad_arrays([item["labels"] for item in items], IGNORE)
        return pad_features(items) | {"labels": labels, "label_lens": label_lens}

    def over(self, reader: FeatureReader) -> "LabelledFrames":
        """The same utterances and labels with other features."""
        return dataclasses.replace(self, feats=reader)

    def some(self, limit: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As :class:`speechrep.downstream.probe_task.Vectors` has it."""
        feats, labels, count = [], [], 0
        for index in np.random.default_rng(seed).permutation(len(self.utt_ids)):
            kept = np.flatnonzero(self.labels[index] != IGNORE)[:: self.stride]
            vectors = self.feats.read(self.utt_ids[index])[kept]
            feats.append(vectors.mean(1) if vectors.ndim == 3 else vectors)
            labels.append(self.labels[index][kept])
            count += len(kept)
            if count >= limit:
                logger.info("%d frames of %d utterances are held in memory", count, len(feats))
                break
        return np.concatenate(feats), np.concatenate(labels)
