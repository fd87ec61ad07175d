"""Phone classification with the pre-trained model inside: frozen, trained along, or so after some steps.

The papers' ``-FT``. The probe starts solved on the representation as pre-training left it.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from speechrep.data.batches import BatchSampler, Segment
from speechrep.data.features import FeatureReader
from speechrep.data.frame_labels import IGNORE
from speechrep.data.loader import Loader, pad_arrays
from speechrep.downstream.asr_input import rebuild_upstream
from speechrep.downstream.base import Loading
from speechrep.downstream.probe import Probe, Statistics, choose, probe_loss
from speechrep.downstream.solve import solve
from speechrep.errors import InputError
from speechrep.io.feature_meta import require_equal
from speechrep.upstream.base import Upstream
from speechrep.upstream.checkpoint import describe, load

START_FRAMES = 50000  # most frames that the probe is solved on before it is trained


class ReducedReader:
    """Acoustic features that tell the frames of a model's output, so that labels are made for those.

    Args:
        reader: the features.
        downsample: frames that the model joins.
    """

    def __init__(self, reader: FeatureReader, downsample: int):
        self.full, self.path, self.utt_ids = reader, reader.path, reader.utt_ids
        self.num_frames = reader.num_frames // downsample
        self.meta = dataclasses.replace(reader.meta, frame_shift_ms=reader.meta.frame_shift_ms * downsample)

    def read(self, utt_id: str, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """The features themselves, in their own frames."""
        return self.full.read(utt_id, start, stop)


@dataclasses.dataclass(frozen=True)
class TunedFrames:
    """Whole utterances of acoustic features with the labels of the model's frames."""

    feats: FeatureReader
    utt_ids: list[str]
    labels: list[NDArray[np.int64]]  # (T',)

    @property
    def num_frames(self) -> NDArray[np.int64]:
        """(U,) acoustic frames."""
        lengths = dict(zip(self.feats.utt_ids, self.feats.num_frames.tolist(), strict=True))
        return np.array([lengths[utt_id] for utt_id in self.utt_ids], np.int64)

    def __getitem__(self, segment: Segment) -> dict[str, Any]:
        utt_id = self.utt_ids[segment.index]
        return {"utt_id": utt_id, "feats": self.feats.read(utt_id), "labels": self.labels[segment.index]}

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Items to a batch, padded labels ignored."""
        feats, feat_lens = pad_arrays([item["feats"] for item in items])
        labels, label_lens = pad_arrays([item["labels"] for item in items], IGNORE)
        return {
            "utt_ids": [item["utt_id"] for item in items],
            "feats": feats, "feat_lens": feat_lens, "labels": labels, "label_lens": label_lens,
        }  # fmt: skip


class TunedProbe(nn.Module):
    """A probe on top of the model it reads.

    Args:
        upstream: the model.
        labels: the classes.
        config: a ``PhoneConfig``.
    """

    steps: Tensor  # training batches seen; a buffer, so that a resumed run knows

    def __init__(self, upstream: Upstream, labels: Sequence[str], config: Any):
        super().__init__()
        self.upstream, self.config = upstream.requires_grad_(config.fine_tune), config
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        with torch.no_grad():
            frames = 4 * upstream.downsample
            hiddens = upstream.eval()(torch.zeros(1, frames, upstream.meta.dim)).hiddens
        num_layers = len(hiddens) if config.mix_layers else 0
        self.probe = Probe(hiddens[-1].shape[-1], labels, config, num_layers)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes."""
        return self.probe.labels

    def train(self, mode: bool = True) -> "TunedProbe":
        """A frozen model never drops out."""
        super().train(mode)
        if not self.is_tuning:
            self.upstream.eval()
        return self

    @property
    def is_tuning(self) -> bool:
        """Whether the model inside is being trained at this step."""
        return self.config.fine_tune and int(self.steps) >= self.config.fine_tune_after

    def vectors(self, feats: Tensor, feat_lens: Tensor | None = None) -> Tensor:
        """(B, T, F) to (B, T', D), or (B, T', L, D) of all layers."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.is_tuning):
            hiddens = self.upstream(feats, feat_lens).hiddens
        return torch.stack(hiddens, 2) if self.probe.num_layers else hiddens[-1]

    def forward(self, feats: Tensor, feat_lens: Tensor | None = None) -> Tensor:
        """(B, T, F) to logits (B, T', C)."""
        return self.probe(self.vectors(feats, feat_lens))

    def mixture(self) -> Tensor | None:
        """As :meth:`Probe.mixture`."""
        return self.probe.mixture()


class TunedTask:
    """What the trainer trains: probe and model, each at its own learning rate."""

    best_metric, best_is_lower = "accuracy", False

    def __init__(
        self,
        upstream: Upstream,
        labels: Sequence[str],
        config: Any,
        train: TunedFrames,
        valid: TunedFrames,
        loading: Loading,
        about: dict[str, Any],
    ):
        if config.fine_tune and len(config.l2) > 1:
            raise InputError(
                f"{len(config.l2)} penalties would pull one model in several ways", where="l2",
                mend="give one value when fine-tuning",
            )  # fmt: skip
        self.config, self.train, self.valid, self.loading, self.about = config, train, valid, loading, about
        self.upstream_json = describe(upstream)
        torch.manual_seed(loading.seed)
        self.model = TunedProbe(upstream, labels, config)

    def prepare(self, device: torch.device) -> None:
        """Solve the probe on the representation as it is."""
        self.model.to(device)
        vectors, labels, count = [], [], 0
        for index in np.random.default_rng(self.loading.seed).permutation(len(self.train.utt_ids)):
            kept = np.flatnonzero(self.train.labels[index] != IGNORE)[:: self.config.frame_stride]
            feats = torch.from_numpy(self.train.feats.read(self.train.utt_ids[index]))[None]
            with torch.no_grad():
                hiddens = self.model.vectors(feats.to(device))[0]
            hiddens = (hiddens.mean(1) if hiddens.ndim == 3 else hiddens).cpu().numpy()
            vectors.append(hiddens[kept])
            labels.append(self.train.labels[index][kept])
            count += len(kept)
            if count >= min(START_FRAMES, self.config.vectors_in_memory):
                break
        rows, probe = np.concatenate(vectors), self.model.probe
        statistics = Statistics([rows])
        probe.set_statistics(statistics)
        if self.config.iterations and not self.config.hidden_layers:
            solve(probe, rows, np.concatenate(labels), statistics, self.config.iterations, device)

    def train_loader(self) -> Loader:
        """Batches in an order that changes with every epoch."""
        return self._loader(self.train, shuffle=True)

    def valid_loader(self) -> Loader:
        """Batches in a fixed order."""
        return self._loader(self.valid, shuffle=False)

    def loss(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """As :class:`speechrep.train.task.Task` has it."""
        if self.model.training:
            self.model.train()  # the model inside joins once its time has come
        loss = probe_loss(
            self.model.probe, self.model.vectors(batch["feats"], batch["feat_lens"]), batch["labels"]
        )
        if self.model.training:
            self.model.steps += 1
        return loss

    def summary(self, stats: dict[str, float]) -> dict[str, float]:
        """Adds the accuracy of the best L2 penalty."""
        return choose(self.model.probe, stats)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """The probe at ``lr``, the model inside at its share of it."""
        groups: list[dict[str, Any]] = [{"params": list(self.model.probe.parameters()), "lr": lr}]
        inner = [p for p in self.model.upstream.parameters() if p.requires_grad]
        return [*groups, {"params": inner, "lr": lr * self.config.fine_tune_lr}] if inner else groups

    def describe(self) -> dict[str, Any]:
        """The model's description."""
        return self.about | {"labels": list(self.model.labels), "pretrained": self.upstream_json}

    def _loader(self, frames: TunedFrames, shuffle: bool) -> Loader:
        sampler = BatchSampler(
            frames.num_frames, self.config.batch_frames, self.loading.seed, shuffle=shuffle,
            rank=self.loading.rank, world_size=self.loading.world_size,
        )  # fmt: skip
        return Loader(frames, sampler, self.loading.num_workers)


def load_upstream(path: str, feats: FeatureReader) -> Upstream:
    """The pre-trained model, seen to fit the features."""
    if feats.meta.upstream:
        raise InputError(
            f"holds representations of {feats.meta.upstream}", where=feats.path,
            mend="give the acoustic features that the model inside takes",
        )  # fmt: skip
    upstream = load(Path(path))
    require_equal(upstream.meta.acoustic(), feats.meta.acoustic(), path, feats.path)
    return upstream


def rebuild(model_json: dict[str, Any], config: Any) -> TunedProbe:
    """The model that ``describe()`` told of, weights not yet loaded."""
    return TunedProbe(rebuild_upstream(model_json["pretrained"]), model_json["labels"], config)
