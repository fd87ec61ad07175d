"""Speaker recognition: who speaks an utterance, from the mean (and deviation) of its frames.

The classes are the people of the training part: LibriSpeech's readers, the part of a Kaldi speaker id before
its first ``-``. Where sets have different speakers, train, validate and test on parts of one set
(``--train-split train --valid-split valid``, then ``--split test``; :mod:`speechrep.downstream.split`).
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from speechrep.config import opt
from speechrep.data.batches import Segment
from speechrep.downstream.base import Labelled, Loading, description, num_layers_of
from speechrep.downstream.probe import Probe, ProbeConfig, load_probe
from speechrep.downstream.probe_task import ProbeTask
from speechrep.downstream.split import part_of, reader_of
from speechrep.errors import InputError
from speechrep.io.data_dir import DataDir
from speechrep.io.table import write_table

POOLINGS = ("mean", "mean+std")


@dataclasses.dataclass(frozen=True)
class SpeakerConfig(ProbeConfig):
    """Options of the speaker task."""

    pooling: str = opt("mean", "how an utterance's frames become one vector", POOLINGS)
    batch_utts: int = opt(64, "utterances of a batch")


@dataclasses.dataclass(frozen=True)
class PooledUtterances:
    """One vector and one speaker per utterance, computed once; a dataset for :class:`Loader`."""

    utt_ids: list[str]
    vectors: NDArray[np.float32]  # (U, D), with deviations (U, 2 D); (U, L, ...) of several layers
    labels: NDArray[np.int64]  # (U,)

    @property
    def num_frames(self) -> NDArray[np.int64]:
        """(U,) ones: every utterance is one vector."""
        return np.ones(len(self.utt_ids), np.int64)

    def __getitem__(self, segment: Segment) -> int:
        return segment.index

    def collate(self, items: list[int]) -> dict[str, Any]:
        """Indices to a batch."""
        return {
            "utt_ids": [self.utt_ids[index] for index in items],
            "feats": torch.from_numpy(self.vectors[items])[:, None],
            "feat_lens": torch.ones(len(items), dtype=torch.int64),
            "labels": torch.from_numpy(self.labels[items])[:, None],
            "label_lens": torch.ones(len(items), dtype=torch.int64),
        }

    def some(self, limit: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """All of them: there is but one per utterance."""
        return self.vectors.mean(1) if self.vectors.ndim == 3 else self.vectors.copy(), self.labels


def pool(feats: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    """(T, ..., D) to (..., D) or, for ``mean+std``, (..., 2 D)."""
    mean = feats.mean(0, dtype=np.float64)
    parts = [mean] if pooling == "mean" else [mean, feats.std(0, dtype=np.float64)]
    return np.concatenate(parts, -1).astype(np.float32)


def speakers_of(data: Labelled) -> dict[str, str]:
    """Utterance to person, for the utterances of the chosen part that have features, in the readers' order.

    Raises:
        InputError: an utterance with features that ``utt2spk`` does not know, or none at all.
    """
    utt2spk = {utt_id: reader_of(spk) for utt_id, spk in DataDir(data.data_dir).utt2spk.items()}
    chosen = set(part_of(utt2spk, data.split, data.data_dir))
    unknown = next((utt_id for utt_id in data.feats.utt_ids if utt_id not in utt2spk), None)
    if unknown is not None:
        raise InputError(f"no utterance {unknown} of {data.feats.path}", where=data.data_dir / "utt2spk")
    speakers = {utt_id: utt2spk[utt_id] for utt_id in data.feats.utt_ids if utt_id in chosen}
    if not speakers:
        raise InputError("no utterance of this set has features", where=data.feats.path)
    return speakers


def read_pooled(data: Labelled, people: list[str], pooling: str) -> PooledUtterances:
    """Pool every utterance of a set.

    Args:
        data: the set.
        people: the classes.
        pooling: one of :data:`POOLINGS`.

    Raises:
        InputError: a speaker that is not one of ``people``.
    """
    speakers, ids = speakers_of(data), {name: i for i, name in enumerate(people)}
    for utt_id, name in speakers.items():
        if name not in ids:
            raise InputError(
                f"{utt_id}: speaker {name} is not one of the {len(people)} the model knows",
                where=data.data_dir / "utt2spk",
                mend="test on a held-out part of the training set: --split test",
            )
    vectors = np.stack([pool(data.feats.read(utt_id), pooling) for utt_id in speakers])
    labels = np.array([ids[name] for name in speakers.values()], np.int64)
    return PooledUtterances(list(speakers), vectors, labels)


def build(config: SpeakerConfig, train: Labelled, valid: Labelled, loading: Loading) -> ProbeTask:
    """The task of training a probe of pooled utterances."""
    people = sorted(set(speakers_of(train).values()))
    if len(people) < 2:
        raise InputError("only one speaker to recognise", where=train.data_dir / "utt2spk")
    pooled = [read_pooled(data, people, config.pooling) for data in (train, valid)]
    about = description("speaker", config, train.feats)
    return ProbeTask(people, config, *pooled, loading, config.batch_utts, about, num_layers_of(train.feats))


def load(model_json: dict[str, Any]) -> Probe:
    """The model of a trained speaker task, weights not yet loaded."""
    return load_probe(model_json, SpeakerConfig)


@torch.no_grad()
def decode(model: Probe, data: Labelled, out_dir: Path, options: Any) -> None:
    """Write ``hyp`` and ``ref``: ``utterance speaker``."""
    pooled = read_pooled(data, model.labels, model.config.pooling)
    best = model(torch.from_numpy(pooled.vectors).to(model.mean.device)).argmax(-1).tolist()
    write_table(out_dir / "hyp", dict(zip(pooled.utt_ids, (model.labels[i] for i in best), strict=True)))
    names = (model.labels[i] for i in pooled.labels)
    write_table(out_dir / "ref", dict(zip(pooled.utt_ids, names, strict=True)))
