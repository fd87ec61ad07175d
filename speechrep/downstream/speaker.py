"""Speaker recognition: who speaks an utterance, or each of its frames.

``--model pooled`` probes the mean (and deviation) of an utterance's frames, ``frames`` every frame for
itself, ``gru`` is the Mockingjay paper's classifier, a small network over the frames.

The classes are the people of the training part: LibriSpeech's readers, the part of a Kaldi speaker id before
its first ``-``. Where sets have different speakers, train, validate and test on parts of one set
(``--train-split train --valid-split valid``, then ``--split test``; :mod:`speechrep.downstream.split`).
"""

import dataclasses
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from speechrep.config import at_least, from_dict, opt
from speechrep.data.batches import Segment
from speechrep.data.features import FeatureReader, frame_counts
from speechrep.downstream import split
from speechrep.downstream.base import (
    MAY_LACK,
    Labelled,
    Loading,
    TaskConfig,
    description,
    num_layers_of,
    part_with_features,
)
from speechrep.downstream.labelled_frames import LabelledFrames
from speechrep.downstream.probe import Probe, ProbeConfig, check_probe
from speechrep.downstream.probe_task import ProbeTask
from speechrep.downstream.speaker_gru import SpeakerGru, SpeakerGruTask
from speechrep.downstream.split import reader_of
from speechrep.errors import InputError
from speechrep.io.data_dir import DataDir
from speechrep.io.table import write_table
from speechrep.progress import Progress

logger = logging.getLogger(__name__)

POOLINGS = ("mean", "mean+std")
MODELS = ("pooled", "frames", "gru")


@dataclasses.dataclass(frozen=True)
class SpeakerConfig(ProbeConfig, TaskConfig):
    """Options of the speaker task."""

    model: str = opt("pooled", "what decides: pooled frames, every frame for itself, or a GRU", MODELS)
    pooling: str = opt("mean", "how an utterance's frames become one vector", POOLINGS)
    every: int = opt(5, "of N frames the GRU sees the first")
    frame_stride: int = opt(5, "of N frames a probe of frames is solved on the first")
    min_utts: int = opt(0, "leave out speakers with fewer utterances; 122 gives the Mockingjay paper's 63")
    max_utts: int = opt(64, "utterances of a batch")
    max_frames: int = opt(40000, "frames of a batch, padding included")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_probe(self)
        at_least(1, self, "every", "frame_stride", "max_utts", "max_frames")


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

    def over(self, reader: FeatureReader) -> LabelledFrames:
        """The same utterances and labels with features that are yet to become vectors."""
        return LabelledFrames(reader, self.utt_ids, [self.labels[i : i + 1] for i in range(len(self.labels))])

    def some(self, limit: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """All of them: there is but one per utterance."""
        return self.vectors.mean(1) if self.vectors.ndim == 3 else self.vectors.copy(), self.labels


def pool(feats: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    """(T, ..., D) to (..., D) or, for ``mean+std``, (..., 2 D)."""
    mean = feats.mean(0, dtype=np.float64)
    parts = [mean] if pooling == "mean" else [mean, feats.std(0, dtype=np.float64)]
    return np.concatenate(parts, -1).astype(np.float32)


def speakers_of(data: Labelled, min_utts: int = 0, may_lack: float = 0.0) -> dict[str, str]:
    """Utterance to person, for the utterances of the chosen part that have features, in the readers' order.

    Args:
        data: the set.
        min_utts: people with fewer utterances in the whole set are left out.
        may_lack: the share of utterances that may have no features.

    Raises:
        InputError: an utterance with features that ``utt2spk`` does not know, too many without features, or
            no utterance at all.
    """
    utt2spk = {utt_id: reader_of(spk) for utt_id, spk in DataDir(data.data_dir).utt2spk.items()}
    counts = Counter(utt2spk.values())
    part = split.part_of(utt2spk, data.split, data.data_dir)
    part = [utt_id for utt_id in part if counts[utt2spk[utt_id]] >= min_utts]
    chosen = part_with_features(part, data, may_lack)
    unknown = next((utt_id for utt_id in data.feats.utt_ids if utt_id not in utt2spk), None)
    if unknown is not None:
        raise InputError(f"no utterance {unknown} of {data.feats.path}", where=data.data_dir / "utt2spk")
    speakers = {utt_id: utt2spk[utt_id] for utt_id in data.feats.utt_ids if utt_id in chosen}
    if not speakers:
        few = f", or none is of a speaker with min-utts {min_utts}" if min_utts else ""
        raise InputError(f"no utterance of this set has features{few}", where=data.feats.path)
    return speakers


def labels_of(data: Labelled, people: Sequence[str], min_utts: int, may_lack: float = 0.0) -> dict[str, int]:
    """Utterance to the index of its speaker in ``people``.

    Args:
        data: the set.
        people: whom the training set taught; with ``min_utts`` others are left out, for they may be those
            that it was told to leave out.
        min_utts: as of the training set.
        may_lack: the share of utterances that may have no features.

    Raises:
        InputError: a speaker that is not one of ``people``, or no speaker that is.
    """
    ids = {name: i for i, name in enumerate(people)}
    speakers = speakers_of(data, 0, may_lack)
    unknown = [utt_id for utt_id, name in speakers.items() if name not in ids]
    if unknown and (not min_utts or len(unknown) == len(speakers)):
        raise InputError(
            f"{unknown[0]}: speaker {speakers[unknown[0]]} is not one of the {len(people)} the model knows",
            where=data.data_dir / "utt2spk",
            mend="test on a held-out part of the training set: --split test",
        )
    if unknown:
        logger.warning(
            "%s: left out %d of %d utterances, of speakers whom the model does not know, first %s",
            data.data_dir, len(unknown), len(speakers), unknown[0],
        )  # fmt: skip
    return {utt_id: ids[name] for utt_id, name in speakers.items() if name in ids}


def pooled(data: Labelled, labels: dict[str, int], pooling: str) -> PooledUtterances:
    """One vector for every labelled utterance."""
    vectors = np.stack([pool(data.feats.read(utt_id), pooling) for utt_id in labels])
    return PooledUtterances(list(labels), vectors, np.array(list(labels.values()), np.int64))


def frames(data: Labelled, labels: dict[str, int], stride: int) -> LabelledFrames:
    """Every frame of an utterance with its speaker's label."""
    lengths = frame_counts(data.feats)
    rows = [np.full(lengths[utt_id], label) for utt_id, label in labels.items()]
    return LabelledFrames(data.feats, list(labels), rows, stride)


def build(
    config: SpeakerConfig, train: Labelled, valid: Labelled, loading: Loading
) -> ProbeTask | SpeakerGruTask:
    """The task of training what ``config.model`` says."""
    people = sorted(set(speakers_of(train, config.min_utts, MAY_LACK).values()))
    if len(people) < 2:
        raise InputError("only one speaker to recognise", where=train.data_dir / "utt2spk")
    about, num_layers = description("speaker", config, train.feats), num_layers_of(train.feats)
    labels = [labels_of(data, people, config.min_utts, MAY_LACK) for data in (train, valid)]
    kept = split.draw(list(labels[0]), config.train_proportion, loading.seed, labels[0])
    labels[0] = {utt_id: labels[0][utt_id] for utt_id in kept}
    sets = list(zip((train, valid), labels, strict=True))
    if config.model == "pooled":
        vectors = [pooled(data, which, config.pooling) for data, which in sets]
        return ProbeTask(
            people, config, *vectors, loading, config.max_frames, about, num_layers,
            max_utts=config.max_utts, pooling=config.pooling,
        )  # fmt: skip
    every = [frames(data, which, config.frame_stride) for data, which in sets]
    if config.model == "frames":
        return ProbeTask(people, config, *every, loading, config.max_frames, about, num_layers)
    return SpeakerGruTask(people, config, *every, loading, about, num_layers)


def load(model_json: dict[str, Any]) -> Probe | SpeakerGru:
    """The model of a trained speaker task, weights not yet loaded."""
    config = from_dict(SpeakerConfig, model_json["config"], "model.json")
    kind = SpeakerGru if config.model == "gru" else Probe
    return kind(model_json["dim"], model_json["labels"], config, model_json["num_layers"])


@torch.no_grad()
def decode(model: Probe | SpeakerGru, data: Labelled, out_dir: Path, options: Any) -> None:
    """Write ``hyp`` and ``ref``: ``utterance speaker``, or a speaker for each frame."""
    labels = labels_of(data, model.labels, model.config.min_utts)
    hyps, refs = {}, {}
    for utt_id, label in Progress(len(labels), "utterances").over(labels.items()):
        feats = data.feats.read(utt_id)
        if model.config.model == "pooled":
            feats = pool(feats, model.config.pooling)[None]
        batch = torch.from_numpy(feats).to(model.mean.device)
        if model.config.model == "gru":
            logits = model(batch[None], torch.tensor([len(batch)], device=batch.device))
        else:
            logits = model(batch)
        hyps[utt_id] = " ".join(model.labels[i] for i in logits.argmax(-1).tolist())
        refs[utt_id] = " ".join([model.labels[label]] * len(logits))
    write_table(out_dir / "hyp", hyps)
    write_table(out_dir / "ref", refs)
