"""Sentiment of an utterance, -3 to 3, by a small GRU over features (Mockingjay, section 4.4).

Modes: ``regression`` (all figures derive from its number), ``class7`` (-3 to 3, annotations rounded half to
even) and ``binary`` (negative against non-negative). A decoded number is the prediction, the class, or the
log odds of non-negative.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from speechrep.config import at_least, from_dict, opt, require_dropout
from speechrep.data.batches import BatchSampler, Segment
from speechrep.data.features import FeatureReader, lengths_of
from speechrep.data.loader import Loader
from speechrep.data.padded import pad_features, valid_mask
from speechrep.downstream.base import (
    MAY_LACK,
    HeadTask,
    Labelled,
    Loading,
    TaskConfig,
    description,
    make_loader,
    num_layers_of,
    sample_frames,
    standardise,
    with_features,
)
from speechrep.downstream.layer_sum import layer_scores, sum_layers
from speechrep.downstream.split import draw, part_of
from speechrep.errors import InputError
from speechrep.io.data_dir import DataDir
from speechrep.io.table import read_table, write_table
from speechrep.progress import Progress
from speechrep.score.sentiment import parse

MODES = ("regression", "class7", "binary")


@dataclasses.dataclass(frozen=True)
class SentimentConfig(TaskConfig):
    """Options of the sentiment task."""

    mode: str = opt("regression", "what is predicted", MODES)
    hidden_size: int = opt(32, "units of the GRU and of the layer after it")
    num_layers: int = opt(1, "GRU layers")
    dropout: float = opt(0.5, "dropout before the output")
    every: int = opt(5, "input frames per GRU step")
    join: str = opt(
        "mean", "how they become one: their mean, or the first alone as in the paper", ("mean", "first")
    )
    pooling: str = opt(
        "last", "what stands for the utterance: the GRU's last state or the mean", ("last", "mean")
    )
    max_frames: int = opt(40000, "input frames of a batch, padding included")
    max_utts: int = opt(32, "utterances of a batch")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "hidden_size", "num_layers", "every", "max_frames", "max_utts")
        require_dropout(self, "dropout")


class SentimentModel(nn.Module):
    """Features of an utterance to one number, or to seven logits.

    Args:
        config: shape.
        input_dim: F.
        num_input_layers: L of features (B, T, L, F), mixed by learned weights; 0 for (B, T, F).
    """

    def __init__(self, config: SentimentConfig, input_dim: int, num_input_layers: int):
        super().__init__()
        self.config = config
        shape = (num_input_layers, input_dim) if num_input_layers else (input_dim,)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.layer_weights = layer_scores(num_input_layers, config.layer_sum)
        self.gru = nn.GRU(input_dim, config.hidden_size, config.num_layers, batch_first=True)
        self.hidden = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden_size, 7 if config.mode == "class7" else 1)

    def set_statistics(self, feats: NDArray[np.float32], targets: Tensor) -> None:
        """Take the normalisation from frames (N, F) or (N, L, F), the output's start from targets (U,)."""
        standardise(self, feats)
        if self.config.mode == "regression":  # starting at the mean, no step is spent on getting there
            nn.init.constant_(self.output.bias, float(targets.mean()))

    def forward(self, feats: Tensor, feat_lens: Tensor) -> Tensor:
        """(B, T, F) or (B, T, L, F) and (B,) to (B, 1), or (B, 7) logits."""
        feats = sum_layers((feats - self.mean) * self.scale, self.layer_weights, self.config.layer_sum)
        steps, step_lens = _thin(feats, feat_lens, self.config.every, self.config.join)
        packed = nn.utils.rnn.pack_padded_sequence(
            steps, step_lens.cpu(), batch_first=True, enforce_sorted=False
        )
        outputs, last = self.gru(packed)
        if self.config.pooling == "last":
            pooled = last[-1]
        else:
            padded, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)  # zeros after the end
            pooled = padded.sum(1) / step_lens[:, None]
        return self.output(self.dropout(F.relu(self.hidden(pooled))))

    def predict(self, feats: Tensor, feat_lens: Tensor) -> Tensor:
        """(B,) the decoded numbers."""
        outputs = self(feats, feat_lens)
        return outputs.argmax(1) - 3.0 if self.config.mode == "class7" else outputs[:, 0]


def _thin(feats: Tensor, feat_lens: Tensor, every: int, join: str) -> tuple[Tensor, Tensor]:
    """Every so many frames become one: (B, T, F) to (B, ceil(T / every), F)."""
    step_lens = (feat_lens + every - 1) // every
    if join == "first":
        return feats[:, ::every], step_lens
    T = feats.shape[1]
    valid = valid_mask(feat_lens, T)[..., None]
    padding = (0, 0, 0, -T % every)
    sums = F.pad(feats * valid, padding).unflatten(1, (-1, every)).sum(2)
    counts = F.pad(valid.to(feats), padding).unflatten(1, (-1, every)).sum(2)
    return sums / counts.clamp(min=1), step_lens


class SentimentDataset:
    """Features and annotations of utterances, for a Loader.

    Args:
        feats: the features.
        sentiments: utterance to annotation; the utterances to use.
    """

    def __init__(self, feats: FeatureReader, sentiments: dict[str, float]):
        self.feats, self.utt_ids = feats, list(sentiments)
        self.sentiments = np.array(list(sentiments.values()), np.float32)
        self.num_frames = lengths_of(self.utt_ids, feats)

    def __getitem__(self, segment: Segment) -> dict[str, Any]:
        """One utterance, always whole."""
        utt_id = self.utt_ids[segment.index]
        return {"utt_id": utt_id, "feats": self.feats.read(utt_id), "label": self.sentiments[segment.index]}

    def over(self, reader: FeatureReader) -> "SentimentDataset":
        """The same utterances and annotations with other features."""
        return SentimentDataset(reader, dict(zip(self.utt_ids, self.sentiments.tolist(), strict=True)))

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Padded ``feats``, ``feat_lens``, ``labels`` (B,) float32 and ``utt_ids``."""
        labels = torch.tensor([item["label"] for item in items])
        return pad_features(items) | {
            "labels": labels,
            "label_lens": torch.ones(len(items), dtype=torch.int64),
        }


def sentiments_of(data: Labelled, may_lack: float = 0.0) -> dict[str, float]:
    """Utterance to annotation, from ``utt2sentiment`` of the data directory; a share ``may_lack`` features.

    Raises:
        InputError: a value that is no number, or too many annotated utterances without features.
    """
    where = Path(data.data_dir) / "utt2sentiment"
    sentiments = parse(read_table(where), where)
    if data.split:
        utt2spk = DataDir(data.data_dir).utt2spk
        part = part_of(utt2spk, data.split, data.data_dir)
        sentiments = {utt_id: sentiments[utt_id] for utt_id in part if utt_id in sentiments}
    sentiments = with_features(sentiments, data.feats, where, may_lack)
    if not sentiments:
        raise InputError("no utterances", where=where)
    return sentiments


class SentimentTask(HeadTask):
    """What the trainer trains: a GRU on annotated utterances."""

    def __init__(self, config: SentimentConfig, train: Labelled, valid: Labelled, loading: Loading):
        self.config, self._loading, self._feats = config, loading, train.feats
        self.best_metric = {"regression": "mae", "class7": "acc7", "binary": "acc2"}[config.mode]
        self.best_is_lower = config.mode == "regression"
        sentiments = sentiments_of(train, MAY_LACK)
        kept = draw(list(sentiments), config.train_proportion, loading.seed)
        self.train = SentimentDataset(train.feats, {utt_id: sentiments[utt_id] for utt_id in kept})
        self.valid = SentimentDataset(valid.feats, sentiments_of(valid, MAY_LACK))
        torch.manual_seed(loading.seed)
        self.model = SentimentModel(config, **_input_of(train.feats))
        targets = torch.from_numpy(self.train.sentiments)
        self.model.set_statistics(sample_frames(train.feats, self.train.utt_ids), targets)

    def loader(self, dataset: SentimentDataset, shuffle: bool) -> Loader:
        """Batches of a dataset."""
        return make_loader(dataset, self._loading, self.config.max_frames, self.config.max_utts, shuffle)

    def loss(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """Squared error or cross-entropy summed over utterances; and what validation watches."""
        labels = batch["labels"]
        outputs = self.model(batch["feats"], batch["feat_lens"]).float()
        stats: dict[str, Any] = {"weight": len(labels)}
        if self.config.mode == "regression":
            errors = outputs[:, 0] - labels
            return errors.square().sum(), stats | {"mae": errors.detach().abs().sum()}
        if self.config.mode == "class7":
            classes = labels.clamp(-3, 3).round().long() + 3  # torch, too, rounds half to even
            correct = (outputs.argmax(1) == classes).sum()
            return F.cross_entropy(outputs, classes, reduction="sum"), stats | {"acc7": 100.0 * correct}
        positive = labels >= 0
        loss = F.binary_cross_entropy_with_logits(outputs[:, 0], positive.to(outputs), reduction="sum")
        return loss, stats | {"acc2": 100.0 * ((outputs[:, 0] >= 0) == positive).sum()}

    def describe(self) -> dict[str, Any]:
        """What :func:`load` rebuilds the model from."""
        return description("sentiment", self.config, self._feats, input=_input_of(self._feats))


def load(values: dict[str, Any]) -> SentimentModel:
    """The model that ``model.json`` describes, its weights not yet loaded."""
    return SentimentModel(from_dict(SentimentConfig, values["config"], "model.json"), **values["input"])


@torch.inference_mode()
def decode(model: SentimentModel, data: Labelled, out_dir: Path, options: Any) -> None:
    """Write ``hyp`` and ``ref``: ``utterance number``."""
    sentiments = sentiments_of(data)
    dataset = SentimentDataset(data.feats, sentiments)
    sampler = BatchSampler(dataset.num_frames, model.config.max_frames, seed=0, shuffle=False)
    if sampler.num_dropped:
        raise InputError(f"{sampler.num_dropped} utterances have no frames", where=data.feats.path)
    device = next(model.parameters()).device
    model.eval()
    hyps: dict[str, str] = {}
    progress = Progress(len(dataset.utt_ids), "utterances")
    for batch in Loader(dataset, sampler).epoch(0):
        numbers = model.predict(batch["feats"].to(device), batch["feat_lens"].to(device)).tolist()
        hyps |= {utt_id: f"{number:.6f}" for utt_id, number in zip(batch["utt_ids"], numbers, strict=True)}
        progress.update(len(hyps))
    progress.show(end=True)
    write_table(out_dir / "hyp", hyps)
    write_table(out_dir / "ref", {utt_id: f"{number:.6g}" for utt_id, number in sentiments.items()})


def _input_of(feats: FeatureReader) -> dict[str, int]:
    return {"input_dim": feats.meta.dim, "num_input_layers": num_layers_of(feats)}
