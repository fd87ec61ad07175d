"""Pre-training as a task for the trainer: an upstream and feature readers."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from speechrep.config import at_least, opt
from speechrep.data.batches import BatchSampler, Segment
from speechrep.data.features import FeatureReader, frame_counts
from speechrep.data.identity import require_like
from speechrep.data.loader import Loader
from speechrep.data.padded import pad_arrays, pad_features
from speechrep.errors import InputError
from speechrep.io.feature_meta import plain_meta
from speechrep.train.task import Task
from speechrep.upstream.base import Upstream
from speechrep.upstream.checkpoint import describe
from speechrep.upstream.represented import require_acoustic, require_input_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PretrainData:
    """How features become batches."""

    max_frames: int = opt(12000, "frames of a batch and process, padding included")
    max_utts: int = opt(0, "most utterances of a batch, 0 for no limit")
    halve_above: int = opt(
        0,
        "halve max-utts in batches with an utterance of more frames, as Mockingjay's originals did at 400",
    )
    crop_frames: int = opt(0, "cut longer utterances into crops of so many frames, 0 for whole ones")
    pad_to: int = opt(
        0,
        "pad every batch to so many frames, as APC's original did to 1600; it counts with loss-on padded",
    )

    def __post_init__(self) -> None:
        at_least(0, self, "max_utts", "halve_above", "crop_frames", "pad_to")
        if self.halve_above and not self.max_utts:
            raise InputError(f"halve-above {self.halve_above} halves max-utts", mend="give --max-utts")


class FeatureSegments:
    """Segments of a reader's utterances, as the loader wants them."""

    def __init__(self, reader: FeatureReader, targets: FeatureReader | None = None, pad_to: int = 0):
        self.reader, self.targets, self.pad_to = reader, targets, pad_to
        if targets is not None:
            _require_same_frames(reader, targets)

    def __getitem__(self, segment: Segment) -> dict[str, Any]:
        utt_id = self.reader.utt_ids[segment.index]
        stop = segment.start + segment.num_frames
        item = {"utt_id": utt_id, "feats": self.reader.read(utt_id, segment.start, stop)}
        if self.targets is not None:
            item["targets"] = self.targets.read(utt_id, segment.start, stop)
        return item

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """A padded batch. ``unpadded`` tells, without a look at the device, that all have one length."""
        batch = pad_features(items, self.pad_to)
        batch["unpadded"] = bool((batch["feat_lens"] == batch["feats"].shape[1]).all())
        if self.targets is not None:
            batch["targets"], _ = pad_arrays([item["targets"] for item in items], least=self.pad_to)
        return batch


class Pretraining(Task):
    """The trainer's task.

    Args:
        model: what to train.
        train, valid: features of the kind the model was made for.
        data: how they become batches.
        seed: of order and crops.
        num_workers: processes that read.
        rank, world_size: this process among all.
        pin_memory: for training on a GPU.
        targets: other features of the same utterances, training and validation, to reconstruct.
        begun_from: what to tell of the weights that the model begins with; empty for random ones.
        draw: gives the pictures for TensorBoard, after every validation.

    Raises:
        InputError: representations; the two sets' features differ in kind, or none is long enough; targets
            that lack an utterance or have other lengths.
    """

    best_metric, best_is_lower = "loss", True

    def __init__(
        self,
        model: Upstream,
        train: FeatureReader,
        valid: FeatureReader,
        data: PretrainData,
        seed: int,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
        targets: tuple[FeatureReader, FeatureReader] | None = None,
        begun_from: Mapping[str, Any] = MappingProxyType({}),
        draw: Callable[[Upstream, FeatureReader], dict[str, NDArray[np.uint8]]] | None = None,
    ):
        for reader in targets or ():
            require_acoustic(reader)
        require_input_of(model, train, "the model")
        require_input_of(model, valid, train.path)
        self.model, self._draw, self._drawn = model, draw, valid
        for reader in (train, valid):
            if not (reader.num_frames >= model.shortest_trained()).any():
                what = f"none of its {len(reader.utt_ids)} utterances has {model.shortest_trained()} frames"
                raise InputError(what, where=reader.path)
        max_utts = data.max_utts
        if data.pad_to:  # the budget of frames is of padded ones
            max_utts = min(max_utts or data.max_frames, max(1, data.max_frames // data.pad_to))
        samplers = [
            BatchSampler(
                reader.num_frames,
                data.max_frames,
                seed,
                max_utts=max_utts,
                crop_frames=data.crop_frames,
                min_frames=model.shortest_trained(),
                rank=rank,
                world_size=world_size,
                halve_above=data.halve_above,
                shuffle=reader is train,
            )
            for reader in (train, valid)
        ]
        if samplers[0].num_dropped:
            logger.info("%d utterances are too short to train on", samplers[0].num_dropped)
        self._targets, self._begun_from = targets[0].meta if targets else None, dict(begun_from)
        if targets:
            require_like(*targets)
        segments = [
            FeatureSegments(reader, target, data.pad_to)
            for reader, target in zip((train, valid), targets or (None, None), strict=True)
        ]
        self._train = Loader(segments[0], samplers[0], num_workers, pin_memory)
        self._valid = Loader(segments[1], samplers[1], 0, pin_memory)

    def train_loader(self) -> Loader:
        """Shuffled."""
        return self._train

    def valid_loader(self) -> Loader:
        """In length order."""
        return self._valid

    def loss(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """The model's own objective."""
        lens = None if batch["unpadded"] else batch["feat_lens"]
        return self.model.pretrain_loss(batch["feats"], lens, batch.get("targets"))

    def parts_to_compile(self) -> list[torch.nn.Module]:
        """The model's layers."""
        return self.model.parts_to_compile()

    def summary(self, stats: dict[str, float]) -> dict[str, float]:
        """The loss also relative to what knowing nothing gives: zeros, or a copy of the last frame."""
        return stats | {
            f"loss_over_{name}": stats["loss"] / stats[name]
            for name in ("zero", "copy")
            if stats.get(name, 0.0) > 0
        }

    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """The model's work on validation utterances."""
        return {} if self._draw is None else self._draw(self.model, self._drawn)

    def describe(self) -> dict[str, Any]:
        """What :func:`speechrep.upstream.checkpoint.load` needs."""
        target = {"target": plain_meta(self._targets)} if self._targets else {}
        begun_from = {"begun_from": self._begun_from} if self._begun_from else {}
        return describe(self.model) | target | begun_from


def _require_same_frames(reader: FeatureReader, targets: FeatureReader) -> None:
    """Targets are found by utterance id and must have the input's frames."""
    lens = frame_counts(targets)
    shift, other = reader.meta.frame_shift_ms, targets.meta.frame_shift_ms
    if shift != other:
        raise InputError(f"frames of {other} ms as targets of frames of {shift} ms", where=targets.path)
    for utt_id, length in frame_counts(reader).items():
        if lens.get(utt_id) != length:
            found = f"{lens[utt_id]} frames" if utt_id in lens else "nothing"
            raise InputError(f"{utt_id}: {found}, but {reader.path} has {length} frames", where=targets.path)
