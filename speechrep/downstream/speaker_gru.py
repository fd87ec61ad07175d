"""The Mockingjay paper's speaker classifier (section 4.3): a small GRU over every fifth frame."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechrep.data.loader import Loader
from speechrep.downstream.base import HeadTask, Loading, make_loader, sample_frames, standardise
from speechrep.downstream.labelled_frames import LabelledFrames
from speechrep.downstream.layer_sum import layer_scores, sum_layers


class SpeakerGru(nn.Module):
    """Frames of an utterance to logits of speakers.

    Args:
        dim: D.
        labels: the speakers.
        config: a ``SpeakerConfig``; its ``hidden_size``, ``every`` and ``dropout`` are used.
        num_layers: L of inputs (B, T, L, D), summed with learned weights; 0 for (B, T, D).
    """

    def __init__(self, dim: int, labels: Sequence[str], config: Any, num_layers: int):
        super().__init__()
        self.config, self.labels, self.num_layers = config, tuple(labels), num_layers
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.layer_weights = layer_scores(num_layers, config.layer_sum)
        self.gru = nn.GRU(dim, config.hidden_size, batch_first=True)
        self.hidden = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, len(labels))

    def forward(self, feats: Tensor, feat_lens: Tensor) -> Tensor:
        """(B, T, D) or (B, T, L, D) and (B,) to (B, C)."""
        every = self.config.every
        feats, lens = feats[:, ::every], (feat_lens + every - 1) // every
        feats = sum_layers(feats, self.layer_weights, self.config.layer_sum)
        outputs, _ = self.gru((feats - self.mean) * self.scale)
        last = outputs[torch.arange(len(lens), device=lens.device), lens - 1]  # padding comes after it
        dropped = F.dropout(F.relu(self.hidden(last)), self.config.dropout, self.training)
        return self.output(dropped)


class SpeakerGruTask(HeadTask):
    """What the trainer trains; its options are those of ``SpeakerConfig``."""

    best_metric, best_is_lower = "accuracy", False

    def __init__(
        self,
        labels: Sequence[str],
        config: Any,
        train: LabelledFrames,
        valid: LabelledFrames,
        loading: Loading,
        about: dict[str, Any],
        num_layers: int,
    ):
        self.config, self.train, self.valid, self.loading, self.about = config, train, valid, loading, about
        torch.manual_seed(loading.seed)
        self.model = SpeakerGru(train.feats.meta.dim, labels, config, num_layers)
        frames = sample_frames(train.feats, train.utt_ids)
        standardise(self.model, frames.mean(1) if num_layers else frames)

    def loss(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """Cross-entropy summed over utterances."""
        labels = batch["labels"][:, 0]
        logits = self.model(batch["feats"], batch["feat_lens"])
        correct = 100.0 * (logits.argmax(1) == labels).sum()
        loss = F.cross_entropy(logits, labels, reduction="sum")
        return loss, {"weight": len(labels), "accuracy": correct}

    def describe(self) -> dict[str, Any]:
        """The model's description."""
        model = self.model
        return self.about | {
            "dim": len(model.mean), "num_layers": model.num_layers, "labels": list(model.labels)
        }  # fmt: skip

    def loader(self, dataset: LabelledFrames, shuffle: bool) -> Loader:
        """Batches of a dataset."""
        return make_loader(dataset, self.loading, self.config.max_frames, self.config.max_utts, shuffle)
