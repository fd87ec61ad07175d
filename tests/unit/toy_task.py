"""A small task for tests of the trainer: predict the next frame, with dropout and a random mask."""

from typing import Any

import numpy as np
import torch

from speechrep.data.batches import BatchSampler, Segment
from speechrep.data.loader import Loader
from speechrep.data.padded import pad_arrays
from speechrep.train import distributed
from speechrep.train.task import Task


class ToyData:
    """Random walks of different lengths."""

    def __init__(self, num_utts: int = 40, dim: int = 4, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.utts = [
            np.cumsum(rng.normal(size=(n, dim)), 0).astype(np.float32) for n in rng.integers(5, 40, num_utts)
        ]
        self.num_frames = [len(utt) for utt in self.utts]

    def __getitem__(self, segment: Segment) -> dict[str, Any]:
        feats = self.utts[segment.index][segment.start : segment.start + segment.num_frames]
        return {"utt_id": f"utt{segment.index}", "feats": feats}

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        feats, feat_lens = pad_arrays([item["feats"] for item in items])
        return {"utt_ids": [item["utt_id"] for item in items], "feats": feats, "feat_lens": feat_lens}


class ToyTask(Task):
    """A Task on :class:`ToyData`."""

    best_metric, best_is_lower = "loss", True

    def __init__(self, num_workers: int = 0, dropout: float = 0.2, max_frames: int = 100, poison: str = ""):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Dropout(dropout), torch.nn.Linear(8, 4)
        )
        self.data, self.num_workers, self.max_frames, self.poison = (
            ToyData(),
            num_workers,
            max_frames,
            poison,
        )
        self.seen: list[list[str]] = []

    def train_loader(self) -> Loader:
        sampler = BatchSampler(
            self.data.num_frames,
            self.max_frames,
            seed=3,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
        )
        return Loader(self.data, sampler, self.num_workers)

    def valid_loader(self) -> Loader:
        sampler = BatchSampler(
            self.data.num_frames[:8],
            self.max_frames,
            seed=3,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            shuffle=False,
        )
        return Loader(self.data, sampler)

    def loss(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        feats, lens = batch["feats"], batch["feat_lens"]
        self.seen.append(batch["utt_ids"])
        hidden = self.model(feats[:, :-1])
        mask = torch.arange(feats.shape[1] - 1)[None] < (lens - 1)[:, None]
        mask &= torch.rand(mask.shape) < 0.9
        loss = ((hidden - feats[:, 1:]).abs().mean(-1) * mask).sum()
        if self.model.training and self.poison in batch["utt_ids"]:
            loss = loss * float("nan")
        return loss, {"weight": mask.sum(), "mask_share": mask.sum() * 0.5}

    def describe(self) -> dict[str, Any]:
        return {"kind": "toy"}
