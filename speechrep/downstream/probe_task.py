"""The training task of a probe, whatever its vectors are: frames or pooled utterances."""

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from speechrep.data.batches import Segment
from speechrep.data.loader import Loader
from speechrep.downstream.base import HeadTask, Loading, make_loader
from speechrep.downstream.probe import Probe, Statistics, choose, probe_loss
from speechrep.downstream.solve import solve

logger = logging.getLogger(__name__)

BLOCK = 16384  # vectors


class Vectors(Protocol):
    """Labelled vectors in utterances; a dataset for :class:`Loader`."""

    num_frames: NDArray[np.int64]
    """(U,) vectors of each utterance."""

    def __getitem__(self, segment: Segment) -> Any:
        """An item for :meth:`collate`."""

    def collate(self, items: list[Any]) -> dict[str, Any]:
        """A batch: ``feats`` (B, T, D), ``labels`` (B, T) and the keys every batch has."""

    def some(self, limit: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """About ``limit`` labelled vectors (N, D) and their labels (N,), whole utterances at random.

        Of several layers it is their mean.
        """


class ProbeTask(HeadTask):
    """What the trainer trains; a linear probe comes to it solved, and ``max-steps 0`` then suffices.

    Args:
        labels: the names of the classes.
        config: the probe's, an instance of ``ProbeConfig``.
        train, valid: the data.
        loading: how to read them.
        batch_vectors: vectors in a batch.
        about: what ``describe`` returns besides the model's shape.
        num_layers: L of vectors (L, D), 0 for (D,).
        max_utts: most utterances in a batch, 0 for no limit.
        pooling: how the utterances became one vector each, "" if they did not.
    """

    best_metric, best_is_lower = "accuracy", False

    def __init__(
        self,
        labels: Sequence[str],
        config: Any,
        train: Vectors,
        valid: Vectors,
        loading: Loading,
        batch_vectors: int,
        about: dict[str, Any],
        num_layers: int = 0,
        max_utts: int = 0,
        pooling: str = "",
    ):
        self.config, self.train, self.valid, self.loading = config, train, valid, loading
        self.batch_vectors, self.max_utts, self.pooling = batch_vectors, max_utts, pooling
        self.about = about
        self._vectors, self._labels = train.some(config.vectors_in_memory, loading.seed)
        torch.manual_seed(loading.seed)
        self.model = Probe(self._vectors.shape[1], labels, config, num_layers)
        # In blocks: centring copies, and there may be gigabytes.
        blocks = range(0, len(self._vectors), BLOCK)
        self._statistics = Statistics(self._vectors[begin : begin + BLOCK] for begin in blocks)
        self.model.set_statistics(self._statistics)
        if self._statistics.num_constant:
            logger.warning("%d of %d columns hardly vary and are ignored", self._statistics.num_constant,
                           len(self._statistics.mean))  # fmt: skip

    def prepare(self, device: torch.device) -> None:
        """Solve a linear probe, once, before the training steps."""
        if self.config.iterations and not self.config.hidden_layers:
            solve(self.model, self._vectors, self._labels, self._statistics, self.config.iterations, device)
        del self._vectors, self._labels

    def loss(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """The probe's, over vectors."""
        return probe_loss(self.model, batch["feats"], batch["labels"])

    def parts_to_compile(self) -> list[torch.nn.Module]:
        """None: it is one product, and the loss goes past ``forward``."""
        return []

    def summary(self, stats: dict[str, float]) -> dict[str, float]:
        """Adds the accuracy of the best L2 penalty."""
        return choose(self.model, stats)

    def describe(self) -> dict[str, Any]:
        """The model's description."""
        return self.about | {
            "dim": self.model.mean.shape[0], "num_layers": self.model.num_layers,
            "labels": list(self.model.labels),
        }  # fmt: skip

    def loader(self, dataset: Any, shuffle: bool) -> Loader:
        """Batches of a dataset."""
        return make_loader(dataset, self.loading, self.batch_vectors, self.max_utts, shuffle)
