"""Pre-training as a task for the trainer: an upstream and feature readers."""

from dataclasses import dataclass
from typing import Any

import torch

from speechrep.config import opt
from speechrep.data.batches import BatchSampler, Segment
from speechrep.data.features import FeatureReader
from speechrep.data.loader import Loader, pad_arrays
from speechrep.io.feature_meta import require_equal
from speechrep.upstream.base import Upstream
from speechrep.upstream.checkpoint import describe


@dataclass(frozen=True)
class PretrainData:
    """How features become batches."""

    max_frames: int = opt(12000, "frames of a batch and process, padding included")
    max_utts: int = opt(0, "most utterances of a batch, 0 for no limit")
    crop_frames: int = opt(0, "cut longer utterances into crops of so many frames, 0 for whole ones")


class FeatureSegments:
    """Segments of a reader's utterances, as the loader wants them."""

    def __init__(self, reader: FeatureReader):
        self.reader = reader

    def __getitem__(self, segment: Segment) -> dict[str, Any]:
        utt_id = self.reader.utt_ids[segment.index]
        feats = self.reader.read(utt_id, segment.start, segment.start + segment.num_frames)
        return {"utt_id": utt_id, "feats": feats}

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """A padded batch. ``unpadded`` tells, without a look at the device, that all have one length."""
        feats, feat_lens = pad_arrays([item["feats"] for item in items])
        return {
            "utt_ids": [item["utt_id"] for item in items],
            "feats": feats,
            "feat_lens": feat_lens,
            "unpadded": bool((feat_lens == feats.shape[1]).all()),
        }


class Pretraining:
    """The trainer's task.

    Args:
        model: what to train.
        train, valid: features of the kind the model was made for.
        data: how they become batches.
        seed: of order and crops.
        num_workers: processes that read.
        rank, world_size: this process among all.

    Raises:
        InputError: the two sets' features differ in kind, or none is long enough.
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
    ):
        require_equal(model.meta.acoustic(), train.meta.acoustic(), "the model", train.path)
        require_equal(train.meta.acoustic(), valid.meta.acoustic(), train.path, valid.path)
        self.model = model
        samplers = [
            BatchSampler(
                reader.num_frames,
                data.max_frames,
                seed,
                max_utts=data.max_utts,
                crop_frames=data.crop_frames,
                min_frames=model.shortest(),
                rank=rank,
                world_size=world_size,
                shuffle=reader is train,
            )
            for reader in (train, valid)
        ]
        self.num_dropped = samplers[0].num_dropped
        self._train = Loader(FeatureSegments(train), samplers[0], num_workers, pin_memory)
        self._valid = Loader(FeatureSegments(valid), samplers[1], 0, pin_memory)

    def train_loader(self) -> Loader:
        """Shuffled."""
        return self._train

    def valid_loader(self) -> Loader:
        """In length order."""
        return self._valid

    def loss(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """The model's own objective."""
        return self.model.pretrain_loss(batch["feats"], None if batch["unpadded"] else batch["feat_lens"])

    def summary(self, stats: dict[str, float]) -> dict[str, float]:
        """The loss also relative to what knowing nothing gives: zeros, or a copy of the last frame."""
        return stats | {
            f"loss_over_{name}": stats["loss"] / stats[name]
            for name in ("zero", "copy")
            if stats.get(name, 0.0) > 0
        }

    def describe(self) -> dict[str, Any]:
        """What :func:`speechrep.upstream.checkpoint.load` needs."""
        return describe(self.model)
