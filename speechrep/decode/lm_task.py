"""Training the LSTM language model on text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from speechrep.config import at_least, opt
from speechrep.data.batches import BatchSampler, Segment
from speechrep.data.loader import Loader
from speechrep.data.padded import pad_arrays
from speechrep.decode.lm import LmConfig, LstmLm
from speechrep.errors import InputError
from speechrep.text.tokenizer import Tokenizer
from speechrep.train.task import Task

_IGNORE = -100  # target class of padding


@dataclass(frozen=True)
class LmBatches:
    """How sentences are batched."""

    max_units: int = opt(4000, "budget of a batch in units, padding included")

    def __post_init__(self) -> None:
        at_least(1, self, "max_units")


class Sentences:
    """Sentences as classes, for a Loader."""

    def __init__(self, texts: Sequence[str], tokenizer: Tokenizer):
        end = len(tokenizer.units) - 1
        self.classes = [
            np.array([*(number - 1 for number in tokenizer.encode(text)), end], np.int64)
            for text in texts if text.strip()
        ]  # fmt: skip
        self.lengths = np.array([len(classes) for classes in self.classes], np.int64)

    def __getitem__(self, segment: Segment) -> dict[str, Any]:
        """One sentence."""
        return {"utt_id": f"line {segment.index + 1}", "classes": self.classes[segment.index]}

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Targets (B, L), each ending in the end's class, padded; ``feat_lens`` counts them for the log."""
        targets, lens = pad_arrays([item["classes"] for item in items], _IGNORE)
        return {"utt_ids": [item["utt_id"] for item in items], "targets": targets, "feat_lens": lens}


class LmTask(Task):
    """What the trainer trains.

    Args:
        config: the model's size.
        batches: how sentences are batched.
        tokenizer: the units.
        train, valid: one sentence per line.
        where: the files, for messages.
        seed: of weights and shuffling.
        rank, world_size: this process among those that train.
        num_workers, pin_memory: as for a Loader.
    """

    best_metric, best_is_lower = "loss", True

    def __init__(
        self,
        config: LmConfig,
        batches: LmBatches,
        tokenizer: Tokenizer,
        train: Sequence[str],
        valid: Sequence[str],
        where: Sequence[object],
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
    ):
        torch.manual_seed(seed)
        self.model = LstmLm(config, tokenizer)
        self._batches, self._seed, self._rank, self._world_size = batches, seed, rank, world_size
        self._num_workers, self._pin_memory = num_workers, pin_memory
        self._train, self._valid = Sentences(train, tokenizer), Sentences(valid, tokenizer)
        for sentences, path in zip((self._train, self._valid), where, strict=True):
            if not sentences.classes:
                raise InputError("no text", where=path)

    def train_loader(self) -> Loader:
        """Shuffled batches."""
        return self._loader(self._train, True)

    def valid_loader(self) -> Loader:
        """The validation text in a fixed order."""
        return self._loader(self._valid, False)

    def _loader(self, sentences: Sentences, shuffle: bool) -> Loader:
        sampler = BatchSampler(
            sentences.lengths, self._batches.max_units, self._seed, rank=self._rank,
            world_size=self._world_size, shuffle=shuffle,
        )  # fmt: skip
        return Loader(sentences, sampler, self._num_workers, self._pin_memory)

    def loss(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """Minus log probability, summed over units and sentence ends."""
        targets = batch["targets"]  # (B, L)
        end = len(self.model.tokenizer.units) - 1
        inputs = torch.nn.functional.pad(targets[:, :-1].clamp(min=0), (1, 0), value=end)
        log_probs = self.model(inputs)
        loss = torch.nn.functional.nll_loss(
            log_probs.flatten(0, 1), targets.flatten(), ignore_index=_IGNORE, reduction="sum"
        )
        return loss, {"weight": int((targets != _IGNORE).sum())}

    def summary(self, stats: dict[str, float]) -> dict[str, float]:
        """Adds the perplexity per unit."""
        return stats | {"perplexity": math.exp(min(stats["loss"], 50.0))}

    def describe(self) -> dict[str, Any]:
        """What :func:`speechrep.decode.lm.load_lm` rebuilds the model from."""
        return self.model.describe()
