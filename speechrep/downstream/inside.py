"""A pre-trained model inside a downstream model: frozen, trained along, or so after some steps.

This works for every task at once. The task is built on representations that are computed while they are read
(:class:`speechrep.upstream.represented.Represented`), as if it read a dump: labels, statistics and a solved
probe come out as they would of one. In training, batches hold acoustic features instead and go through the
model first; what is left of the task sees vectors as ever.
"""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechrep.config import from_dict
from speechrep.data.features import FeatureReader
from speechrep.data.loader import Loader
from speechrep.data.padded import valid_mask
from speechrep.downstream.base import HeadTask, Kind, Labelled, Loading, TaskConfig, description
from speechrep.downstream.probe import Probe
from speechrep.errors import InputError
from speechrep.io.model_files import read_info
from speechrep.train.task import Task
from speechrep.upstream.base import Upstream
from speechrep.upstream.checkpoint import describe, load, rebuild
from speechrep.upstream.represented import Represented

logger = logging.getLogger(__name__)


class WithUpstream(nn.Module):
    """A task's model, the head, on top of the model it reads, which is trained or not.

    Args:
        upstream: takes acoustic features.
        head: takes what the upstream gives.
        config: of the task.
    """

    def __init__(self, upstream: Upstream, head: nn.Module, config: TaskConfig):
        super().__init__()
        self.upstream, self.head, self.config = upstream, head, config
        self.set_tuning(config.fine_tune)

    def set_tuning(self, tuning: bool) -> None:
        """Train the upstream from now on, or not."""
        self.is_tuning = tuning
        self.upstream.requires_grad_(tuning)
        self.train(self.training)

    def train(self, mode: bool = True) -> "WithUpstream":
        """A frozen upstream never drops out."""
        super().train(mode)
        self.upstream.train(mode and self.is_tuning)
        return self

    def represent(self, feats: Tensor, feat_lens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F) and (B,) to (B, T', D), or (B, T', L, D) of all layers, and (B,)."""
        output = self.upstream(feats, feat_lens)
        vectors = torch.stack(output.hiddens, 2) if self.config.mix_layers else output.hiddens[-1]
        return vectors, output.hidden_lens


class TunedTask(Task):
    """What the trainer trains: head and upstream, each at its own learning rate.

    Args:
        head: the task, built on representations.
        upstream: what made them.
        config: of the task.
        train, valid: their acoustic features.
    """

    def __init__(
        self,
        head: HeadTask,
        upstream: Upstream,
        config: TaskConfig,
        train: FeatureReader,
        valid: FeatureReader,
    ):
        self.head, self.config = head, config
        self.best_metric, self.best_is_lower = head.best_metric, head.best_is_lower
        self.leaves_unused = config.fine_tune  # what only pre-training needs, and all of it before its time
        self._upstream_json = describe(upstream) | {"weights_sha256": upstream.weights_sha256}
        self._acoustic, self._begins = train, config.fine_tune_after
        self._train, self._valid = head.train.over(train), head.valid.over(valid)
        self.model = WithUpstream(upstream, head.model, config)

    def prepare(self, device: torch.device) -> None:
        """Let the head begin as it would on a dump: a linear probe solved."""
        self.head.prepare(device)

    def train_loader(self) -> Loader:
        """Batches in an order that changes with every epoch."""
        return self.head.loader(self._train, shuffle=True)

    def valid_loader(self) -> Loader:
        """Batches in a fixed order."""
        return self.head.loader(self._valid, shuffle=False)

    def begin_run(self, total_steps: int) -> None:
        """Of a training that ends before the upstream's time, as on a share of the labels, half is it."""
        if self.config.fine_tune and 0 < total_steps <= self._begins:
            self._begins = total_steps // 2
            logger.warning(
                "--fine-tune-after %d: training ends after %d steps; the model inside joins after %d",
                self.config.fine_tune_after, total_steps, self._begins,
            )  # fmt: skip

    def begin_step(self, step: int) -> None:
        """The upstream joins once its time has come."""
        self.model.set_tuning(self._is_time(step))

    def _is_time(self, step: int) -> bool:
        return self.config.fine_tune and step >= self._begins

    def loss(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The task's, of the upstream's vectors."""
        vectors, lens = self.model.represent(batch["feats"], batch["feat_lens"])
        if self.head.pooling:
            vectors, lens = pool_batch(vectors, lens, self.head.pooling)[:, None], torch.ones_like(lens)
        return self.head.loss(batch | {"feats": vectors, "feat_lens": lens})

    def summary(self, stats: dict[str, float]) -> dict[str, float]:
        """The task's."""
        return self.head.summary(stats)

    def parts_to_compile(self) -> list[nn.Module]:
        """The upstream's."""
        return self.model.upstream.parts_to_compile()

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Head and upstream, each at its own rate."""
        groups = [{"params": [p for p in self.model.head.parameters() if p.requires_grad], "lr": lr}]
        if self.config.fine_tune:
            inner = list(self.model.upstream.parameters())
            groups.append({"params": inner, "lr": lr * self.config.fine_tune_lr})
        return groups

    def describe(self) -> dict[str, Any]:
        """The head's description, but of the acoustic features; and the upstream's."""
        about = self.head.describe()
        own = description(about["task"], self.config, self._acoustic, pretrained=self._upstream_json)
        return about | own


def pool_batch(vectors: Tensor, lens: Tensor, pooling: str) -> Tensor:
    """(B, T, ..., D), 0 on padding, to means (B, ..., D), or means and deviations (B, ..., 2 D)."""
    shape = (-1, *[1] * (vectors.ndim - 2))
    counts = lens.view(shape).clamp(min=1)
    mean = vectors.sum(1) / counts
    if pooling == "mean":
        return mean
    mask = valid_mask(lens, vectors.shape[1]).view(*vectors.shape[:2], *shape[1:])
    squares = (vectors - mean[:, None]).square().masked_fill(~mask, 0.0).sum(1)
    return torch.cat([mean, (squares / counts).clamp(min=1e-12).sqrt()], -1)


def with_upstream(kind: Kind) -> Kind:
    """The same task, with a pre-trained model inside where its options name one."""

    def build(config: TaskConfig, train: Labelled, valid: Labelled, loading: Loading) -> Task:
        if not config.pretrained:
            return kind.build(config, train, valid, loading)
        upstream = load(Path(config.pretrained), loading.device)
        sets = [_through(data, upstream, config) for data in (train, valid)]
        head: Any = kind.build(config, *sets, loading)
        if config.fine_tune and isinstance(head.model, Probe) and len(head.model.config.l2) > 1:
            raise InputError(
                f"{len(head.model.config.l2)} penalties would pull one model in several ways", where="l2",
                mend="give one value when fine-tuning",
            )  # fmt: skip
        return TunedTask(head, upstream, config, train.feats, valid.feats)

    def load_model(model_json: dict[str, Any]) -> nn.Module:
        head = kind.load(model_json)
        if not model_json.get("pretrained"):  # null in a recogniser of an earlier commit
            return head
        config: Any = from_dict(kind.config, model_json["config"], "model.json")
        return WithUpstream(rebuild(model_json["pretrained"], "model.json"), head, config)

    def decode(model: nn.Module, data: Labelled, out_dir: Path, options: Any) -> None:
        if isinstance(model, WithUpstream):
            data, model = _through(data, model.upstream, model.config), model.head
        kind.decode(model, data, out_dir, options)

    return kind._replace(build=build, load=load_model, decode=decode)


def source_sha256(model_json: dict[str, Any]) -> str:
    """The SHA-256 of the weights of the model whose vectors a task reads; "" where it does not say."""
    inside = model_json.get("pretrained") or {}
    return str(inside.get("weights_sha256") or model_json.get("features", {}).get("weights_sha256") or "")


def require_pretrained(model_json: dict[str, Any], where: object) -> None:
    """Refuse a task's model that was trained with another model inside than is there now.

    Raises:
        InputError: naming both.
    """
    path = model_json.get("config", {}).get("pretrained", "")
    if path and source_sha256(model_json) not in ("", read_info(path).get("weights_sha256")):
        raise InputError(
            f"was trained with another model inside than {path} is now", where=where,
            mend="put that model back, or --overwrite starts anew",
        )  # fmt: skip


def _through(data: Labelled, upstream: Upstream, config: TaskConfig) -> Labelled:
    where = config.pretrained or "the model inside"
    return data._replace(feats=Represented(data.feats, upstream, config.mix_layers, where))
