"""What a downstream task is, so that one command trains, decodes and scores them all.

A task is one file and one line of :data:`speechrep.downstream.registry.TASKS`: a :class:`Kind` of three
things. The trained model is described by ``describe()`` of its :class:`speechrep.train.task.Task`, a plain
dict that :func:`description` begins: task, configuration and the identity of the features.
"""

import abc
import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from speechrep.config import at_least, opt, require_choices, require_finite, to_dict
from speechrep.data.batches import BatchSampler
from speechrep.data.features import FeatureReader
from speechrep.data.identity import require_equal, require_statistics, statistics_sha256
from speechrep.data.loader import Loader
from speechrep.downstream.layer_sum import layer_sum_option
from speechrep.errors import InputError
from speechrep.train.task import Task

KIND = "downstream"  # model.json's "kind"
MAY_LACK = 0.05  # the share of a set to train on that may have no features: extract_feats may lose as many
_STATISTICS_UTTERANCES = 200  # enough for means that vary by a few percent of a standard deviation
_LEAST_SCALE = 1e-3  # a dimension that never varies (CMVN's rest) is not blown up

_Label = TypeVar("_Label")
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """The options that all tasks share."""

    pretrained: str = opt("", "experiment of pretrain, run inside on acoustic features; empty: none")
    fine_tune: bool = opt(False, "train that model too")
    fine_tune_lr: float = opt(0.1, "its learning rate, as a share of the rest's")
    fine_tune_after: int = opt(0, "optimiser steps during which it stays frozen")
    mix_layers: bool = opt(False, "read a learned sum of its layers, not the last one")
    layer_sum: str = layer_sum_option()
    train_proportion: float = opt(1.0, "share of the training utterances to use, drawn by the seed")

    def __post_init__(self) -> None:
        require_choices(self)
        if (self.fine_tune or self.mix_layers) and not self.pretrained:
            raise InputError("fine-tune and mix-layers are of a model inside", mend="give --pretrained")
        at_least(0, self, "fine_tune_after", "fine_tune_lr")
        require_finite(self, "fine_tune_lr")


class Labelled(NamedTuple):
    """A set with its labels."""

    feats: FeatureReader
    data_dir: Path  # Kaldi data directory: text, utt2spk, phones.ctm
    split: str = ""  # "" for all; what split.part_of takes: train | valid | test, joined by +, or a file
    share: tuple[int, int] = (0, 1)  # (k, n): decode batches k, k + n, ... only, where the kind can merge


class Loading(NamedTuple):
    """How a task reads its batches; the same for all tasks."""

    seed: int = 0
    num_workers: int = 0
    rank: int = 0
    world_size: int = 1
    device: torch.device | str = "cpu"  # where batches go, and a model inside represents


def with_features(
    labels: dict[str, _Label], feats: FeatureReader, where: object, may_lack: float
) -> dict[str, _Label]:
    """The labelled utterances that have features; how many have none is told.

    Args:
        labels: utterance to label.
        feats: the features.
        where: the file of the labels, for messages.
        may_lack: the share of utterances that may have none.

    Raises:
        InputError: more have none.
    """
    known = set(feats.utt_ids)
    lost = [utt_id for utt_id in labels if utt_id not in known]
    if len(lost) > may_lack * len(labels) + 1e-6:  # 49 times 1 / 49 is a little less than 1
        raise InputError(
            f"no features for utterance {lost[0]} of {where}, {len(lost)} absent in all", where=feats.path,
            mend="extract features for the whole data directory; take what lost_utterances names out of it",
        )  # fmt: skip
    if lost:
        _log.warning("%s: no features for %d of %d utterances, left out, first %s",
                     where, len(lost), len(labels), lost[0])  # fmt: skip
    return {utt_id: label for utt_id, label in labels.items() if utt_id in known}


def part_with_features(part: Sequence[str], data: Labelled, may_lack: float) -> set[str]:
    """The utterances of a set, or of its part, that have features.

    Args:
        part: those wanted.
        data: the set. Where they are a part, whatever for, the set is one to train on, which may lack some:
            then so may the part, one utterance at least.
        may_lack: the share of the utterances of a whole set that may have no features.

    Raises:
        InputError: more have none.
    """
    share = max(MAY_LACK, 1 / len(part)) if data.split and part else may_lack
    return set(with_features(dict.fromkeys(part), data.feats, data.data_dir, share))


def make_loader(dataset: Any, loading: Loading, max_frames: int, max_utts: int, shuffle: bool) -> Loader:
    """Batches of a dataset of whole utterances.

    Args:
        dataset: has ``num_frames``, and what :class:`Loader` wants.
        loading: seed, processes, ranks.
        max_frames: budget of a batch, padding included.
        max_utts: most utterances in a batch; 0 for any number.
        shuffle: in an order that changes with every epoch, or in a fixed one.
    """
    sampler = BatchSampler(
        dataset.num_frames, max_frames, loading.seed, max_utts=max_utts, rank=loading.rank,
        world_size=loading.world_size, shuffle=shuffle,
    )  # fmt: skip
    return Loader(dataset, sampler, loading.num_workers, torch.device(loading.device).type == "cuda")


class LabelledSet(Protocol):
    """Labelled utterances, a dataset for :class:`Loader`."""

    def over(self, reader: FeatureReader) -> Any:
        """The same utterances and labels with the features of ``reader``."""


class HeadTask(Task):
    """A task on labelled utterances, so that a model can work inside it (inside.py)."""

    train: LabelledSet
    valid: LabelledSet
    pooling = ""
    """How the vectors of an utterance become the one that the task reads: "", mean or mean+std."""

    @abc.abstractmethod
    def loader(self, dataset: Any, shuffle: bool) -> Loader:
        """Batches of a dataset, as large as the task's."""

    def train_loader(self) -> Loader:
        """Shuffled batches."""
        return self.loader(self.train, shuffle=True)

    def valid_loader(self) -> Loader:
        """The validation set in a fixed order."""
        return self.loader(self.valid, shuffle=False)


class Kind(NamedTuple):
    """One downstream task."""

    config: type
    """Frozen dataclass of its options."""
    build: Callable[[Any, Labelled, Labelled, Loading], Task]
    """(config, train, valid, loading) to what the trainer trains; a :class:`HeadTask` if ``with_upstream`` is
    to give it a model inside."""
    load: Callable[[dict[str, Any]], torch.nn.Module]
    """``model.json`` to the model, weights not yet loaded."""
    decode: Callable[[torch.nn.Module, Labelled, Path, Any], None]
    """(model, set, output directory, decode options) writes ``hyp`` and ``ref`` there as Kaldi tables."""
    decode_config: type
    """Frozen dataclass of decoding options (an empty one where there are none)."""
    merge: Callable[[Sequence[Path], Path], None] | None = None
    """(output directories of a set's shares, output directory) makes of the shares' results those of the set.
    None where decoding is too quick to be shared out."""


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """For tasks whose decoding has no options."""


def description(task: str, config: Any, feats: FeatureReader, **more: Any) -> dict[str, Any]:
    """The plain values that ``model.json`` must hold for every task, and ``more``."""
    return {
        "kind": KIND, "task": task, "config": to_dict(config), "features": feats.meta.identity(),
        "cmvn_sha256": statistics_sha256(feats), "features_path": str(feats.path),
        "layer": getattr(feats, "choice", ""),
    } | more  # fmt: skip


def num_layers_of(feats: FeatureReader) -> int:
    """L of features (T, L, D), or 0 of (T, D)."""
    sample = feats.read(feats.utt_ids[0], 0, 1)
    return sample.shape[1] if sample.ndim == 3 else 0


def sample_frames(feats: FeatureReader, utt_ids: Sequence[str]) -> NDArray[np.float32]:
    """Frames (N, D) or (N, L, D) of utterances spread evenly over those of a set, to standardise by."""
    picked = np.unique(np.linspace(0, len(utt_ids) - 1, _STATISTICS_UTTERANCES).astype(int))
    return np.concatenate([feats.read(utt_ids[i]) for i in picked])


def standardise(model: Any, frames: NDArray[np.float32]) -> None:
    """Set a model's ``mean`` and ``scale`` so that (frames - mean) * scale has mean 0 and deviation 1."""
    some = torch.from_numpy(frames)
    model.mean.copy_(some.mean(0))
    model.scale.copy_(1 / some.std(0).clamp(min=_LEAST_SCALE))


def require_features(model_json: dict[str, Any], feats: FeatureReader, where: object) -> None:
    """Refuse features that are not those the model was trained on.

    Raises:
        InputError: naming every property that differs and both files.
    """
    if model_json.get("kind") != KIND:
        raise InputError(
            "not a downstream model", where=where, mend="give the experiment of train_downstream"
        )
    require_equal(model_json["features"], feats.meta.identity(), where, feats.path)
    require_statistics(model_json.get("cmvn_sha256", ""), feats, f"those that {where} was trained on")
