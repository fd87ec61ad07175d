"""The training loop, the same for every task; exact to resume and to spread over processes.

Every micro-batch seeds the random generators from (seed, step, its number within the step over all
processes). So dropout and masks depend neither on where a run was interrupted nor on which process took a
batch, and a checkpoint needs no generator states.
"""

import contextlib
import dataclasses
import itertools
import logging
import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from speechrep import provenance
from speechrep.config import to_dict
from speechrep.errors import InputError
from speechrep.io.files import read_json, write_json
from speechrep.io.model_files import INFO, WEIGHTS, read_info, write_model
from speechrep.train import checkpoint, distributed
from speechrep.train.config import TrainConfig
from speechrep.train.divergence import Watch
from speechrep.train.forward import Forward
from speechrep.train.log import TrainLog
from speechrep.train.optim import build_optimizer, lr_factor, set_lr
from speechrep.train.stats import add, averages, reduced
from speechrep.train.task import Task
from speechrep.upstream.precision import warn_if_emulated

# Losses are sums over thousands of frames; this keeps gradients in the range of any format and cancels later.
NOMINAL_WEIGHT = 4096.0
MOST_LEFT_OUT = 50  # steps of fp16 in a row without a finite gradient: then no smaller scale helps
FINISHED = "finished.json"
OUTPUTS = ("tokenizer", "labels")  # of a description: what a model's outputs stand for
NOTES = "SPEECHREP_INTERRUPTED"


class Interrupted(SystemExit):
    """A signal came: the state is saved and the same command continues. Exit status 75 ("try again").

    A process of several tells :mod:`speechrep.train.launch` in a folder that it names.
    """

    def __init__(self) -> None:
        super().__init__(75)
        if folder := os.environ.get(NOTES):
            Path(folder, str(distributed.rank())).touch()


@dataclasses.dataclass
class TrainState:
    """Where a run stands; with the weights and the optimiser's state all that a resumed run needs."""

    step: int = 0
    epoch: int = 0
    batches: int = 0  # of this epoch, over all processes
    best: float = math.nan
    best_step: int = -1
    unimproved: int = 0  # validations since
    total_steps: int = -1  # of the whole run; -1 in states of earlier versions


def train(
    task: Task,
    config: TrainConfig,
    exp_dir: str | os.PathLike[str],
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Train a task, or continue where its experiment directory stands, or find it finished.

    Args:
        task: the model, data and loss.
        config: how to train.
        exp_dir: gets ``checkpoints/``, ``model.safetensors`` and ``model.json`` (the best by validation),
            ``train_log.jsonl`` and ``tensorboard/``.
        device: where to train.

    Returns:
        The validation statistics of the best model.

    Raises:
        InputError: the loss or the gradient is not finite, the newest checkpoint is damaged, or the model
            that is there is of other units or classes.
        Interrupted: on SIGTERM or SIGHUP, after saving.
        KeyboardInterrupt: on Ctrl-C, likewise; at once on a second one.
    """
    if Path(exp_dir, INFO).exists():
        _require_outputs(task, read_info(exp_dir), exp_dir)
    finished = Path(exp_dir) / "checkpoints" / FINISHED
    if is_finished(exp_dir):
        if missing := [name for name in (INFO, WEIGHTS) if not Path(exp_dir, name).exists()]:
            raise InputError(
                f"has come to its end, but {missing[0]} is gone", where=exp_dir,
                mend="put it back, or --overwrite trains anew",
            )  # fmt: skip
        done = read_json(finished)
        stats = done.get("best_stats") if isinstance(done, dict) else None
        if not isinstance(stats, dict):
            raise InputError("no 'best_stats'", where=finished, mend="remove it to validate once more")
        return stats
    return Trainer(task, config, exp_dir, torch.device(device)).run()


def has_begun(exp_dir: str | os.PathLike[str]) -> bool:
    """Whether :func:`train` would go on there, or find it finished, and not begin anew."""
    return is_finished(exp_dir) or bool(checkpoint.saved_states(Path(exp_dir) / "checkpoints"))


def is_finished(exp_dir: str | os.PathLike[str]) -> bool:
    """Whether a training has come to its end there, so that :func:`train` would only tell of it."""
    return (Path(exp_dir) / "checkpoints" / FINISHED).exists()


def _require_outputs(task: Task, stored: dict[str, Any], where: object) -> None:
    """Files of the same names may hold other words or classes since; as many of them would go unnoticed."""
    about = task.describe()
    for key in OUTPUTS:
        if key in about and stored.get(key) != about[key]:
            raise InputError(
                f"holds a model whose {key} are others than those of the data now", where=where,
                mend="put the old labels back, or --overwrite starts anew",
            )  # fmt: skip


class Trainer:
    """One run of :func:`train`."""

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        exp_dir: str | os.PathLike[str],
        device: torch.device,
    ):
        if not isinstance(task, Task):
            raise InputError(f"{type(task).__name__} does not inherit speechrep.train.task.Task")
        self.task, self.config, self.device = task, config, device
        self.exp_dir, self.folder = Path(exp_dir), Path(exp_dir) / "checkpoints"
        self.first, self.world = distributed.rank() == 0, distributed.world_size()
        self.model = task.model.to(device)
        self.trainable = [p for p in self.model.parameters() if p.requires_grad]
        self.loader = task.train_loader()
        self.progress = TrainState()
        self.best_stats: dict[str, float] = {}
        self.sums: dict[str, float | torch.Tensor] = {}  # since the last log line
        self.watch = Watch(self.exp_dir)
        self.stop_signal, self.stops = 0, torch.zeros(())  # here, and on how many processes
        self.data_wait = 0.0
        self.left_out = torch.zeros((), device=device)  # steps in a row that fp16's scaler did not take
        if self.trainable:
            self.optimizer = build_optimizer(
                config.optimizer, task.param_groups(config.lr), config.lr, config.weight_decay
            )
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        saved = checkpoint.saved_states(self.folder)
        if saved:
            self._restore(saved[-1])
        if self.progress.total_steps < 0:
            self.progress.total_steps = self._total_steps(TrainState()) if self.trainable else 0
        self.total_steps = self.progress.total_steps
        task.begin_run(self.total_steps)
        self.warmup = config.warmup_steps or round(config.warmup_share * self.total_steps)
        if config.compile:
            # Layers share their code, and each kind of batch (padded, of one utterance, in validation) is a
            # variant of it; beyond the default of 8 variants PyTorch would go on without compiling.
            torch._dynamo.config.cache_size_limit = 64  # recompile_limit has this name in torch 2.4, too
            parts = task.parts_to_compile()
            if not parts and self.first:
                logging.getLogger("train").warning("--compile true: this model has no part that is worth it")
            for module in parts:
                module.compile(dynamic=True)  # in place: the names of the weights stay as they are
        self.forward = Forward(task, config, device, exchange=bool(self.trainable))
        if self.first:
            warn_if_emulated(config.precision, device)
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / FINISHED).unlink(missing_ok=True)
            checkpoint.remove_states(self.folder, keep=saved)
            for name in (WEIGHTS, INFO):  # half-written by a killed process
                for path in self.exp_dir.glob(f".{name}.*.tmp"):
                    path.unlink()
        self.log = TrainLog(exp_dir, self.total_steps, self.progress.step, self.first)

    def _total_steps(self, begun: TrainState) -> int:
        """Where a run ends that goes on from ``begun`` with this number of processes."""
        config = self.config
        limits = [config.max_steps] if config.max_steps >= 0 else []
        if config.max_epochs:
            left = max(0, self.loader.num_batches(begun.epoch) - begun.batches // self.world)
            later = math.ceil(self.loader.num_batches() / config.accumulate)
            later *= config.max_epochs - begun.epoch - 1
            limits.append(begun.step + math.ceil(left / config.accumulate) + later)
        return min(limits)

    def run(self) -> dict[str, float]:
        """Train to the end."""
        before = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
            if signal.getsignal(number) != signal.SIG_IGN  # as of a job in the background, or under nohup
        }
        try:
            self.log.say(
                f"{sum(p.numel() for p in self.trainable)} trainable parameters, {self.total_steps} steps, "
                f"from step {self.progress.step}, {self.world} process(es) on {self.device.type}"
            )
            if not self.trainable:
                self.progress.best_step = 0
                self._write_best()
            elif self.progress.step == 0:
                self._validate()  # the untrained model: the first point of every curve
            if self.progress.step < self.total_steps and not self._out_of_patience():
                self._train_epochs()
            found = self._finish()
            if self.stop_signal:  # no step came that would have ended it
                raise self._interruption()
            return found
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.loader.close()
            self.log.close()

    def _train_epochs(self) -> None:
        progress, config = self.progress, self.config
        self.clock, self.logged_step = time.monotonic(), progress.step
        for epoch in itertools.count(progress.epoch):
            if epoch != progress.epoch:
                progress.epoch, progress.batches = epoch, 0
            batches = self._timed(self.loader.epoch(epoch, skip=progress.batches // self.world))
            while micro_batches := list(itertools.islice(batches, config.accumulate)):
                self._step(micro_batches)
                progress.step += 1
                progress.batches += len(micro_batches) * self.world
                self.log.advance()
                last = progress.step >= self.total_steps
                log_due = last or progress.step % config.log_interval == 0
                if log_due or self.device.type == "cpu":
                    self.watch.check()
                if log_due:
                    self._log_train()
                if last or progress.step % config.valid_interval == 0:
                    self._validate()
                    last |= self._out_of_patience()
                stop = self._stop_everywhere(log_due)
                if last or stop or progress.step % config.save_interval == 0:
                    self._save()
                if last:
                    return
                if stop:
                    self.log.say(f"interrupted: saved step {progress.step}; the same command continues")
                    raise self._interruption()

    def _out_of_patience(self) -> bool:
        return bool(self.config.patience) and self.progress.unimproved >= self.config.patience

    def _timed(self, batches: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        while True:
            start = time.monotonic()
            batch = next(batches, None)
            self.data_wait += time.monotonic() - start
            if batch is None:
                return
            yield batch

    def _step(self, micro_batches: list[dict[str, Any]]) -> None:
        """One optimiser step. The gradient is that of (summed loss) / (summed weight) over everything."""
        config, step = self.config, self.progress.step
        self.task.begin_step(step)
        lr = set_lr(self.optimizer, lr_factor(config.schedule, step, self.warmup, self.total_steps))
        self.optimizer.zero_grad(set_to_none=True)
        utt_ids: list[str] = []
        total = torch.zeros(3, dtype=torch.float64, device=self.device)  # loss, weight, wishes to stop
        total[2] = float(bool(self.stop_signal))
        for i, batch in enumerate(micro_batches):
            last = i == len(micro_batches) - 1
            exchange = contextlib.nullcontext() if last else self.forward.without_exchange()
            with exchange, self._telling_of_limits(batch):
                loss, stats = self.forward.train(batch, step, i)
                self.scaler.scale(loss / NOMINAL_WEIGHT).backward()
            utt_ids += batch.get("utt_ids", [])
            frames = int(batch["feat_lens"].sum()) if batch else 0
            total[:2] += torch.stack([loss.detach().double(), torch.as_tensor(stats["weight"]).to(total)])
            add(self.sums, stats | {"loss": loss.detach(), "frames": frames})
        own_loss = total[0].clone()
        total = distributed.sum_over_ranks(total)
        self.stops = total[2]
        norm = self._update(NOMINAL_WEIGHT * self.world / total[1].clamp(min=1))
        self.sums["lr"], self.sums["grad_norm"] = lr, norm
        if self.scaler.is_enabled():
            # An infinite gradient is no news: the scaler leaves the step out and scales less.
            self.left_out = torch.where(norm.isfinite(), 0, self.left_out + 1)
            norm = torch.where(self.left_out < MOST_LEFT_OUT, 0, norm)
        self.watch.add(step + 1, utt_ids, own_loss, total[0] + norm)

    @contextlib.contextmanager
    def _telling_of_limits(self, batch: dict[str, Any]) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError as error:
            utt_ids = " ".join(batch.get("utt_ids", [])[:20])
            raise InputError(
                f"out of memory at step {self.progress.step + 1}, utterances {utt_ids}: {error}",
                where=self.exp_dir, mend="smaller batches (--max-frames) are another run: --overwrite",
            ) from error  # fmt: skip
        except RuntimeError as error:
            if "could not create a primitive" not in str(error):
                raise
            raise InputError(  # an LSTM in fp16, say
                f"this processor has no {self.config.precision} for a layer of this model",
                where=self.exp_dir, mend="--precision fp32 is another run: --overwrite",
            ) from error  # fmt: skip

    def _update(self, factor: torch.Tensor) -> torch.Tensor:
        """Scale the gradients, clip them, step; returns their norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        grads = [p.grad for p in self.trainable if p.grad is not None]
        torch._foreach_mul_(grads, factor.float())
        limit = self.config.grad_clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.trainable, limit)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return norm

    def _log_train(self) -> None:
        lr, norm = self.sums.pop("lr"), float(self.sums.pop("grad_norm"))
        sums = reduced(self.sums)
        seconds = time.monotonic() - self.clock
        speed = sums.pop("frames") / seconds
        stats = self.task.summary(averages(sums)) | {
            "lr": lr, "frames_per_s": speed, "data_wait": self.data_wait / seconds
        }  # fmt: skip
        if math.isfinite(norm):  # with fp16 it need not be, and JSON knows finite numbers only
            stats["grad_norm"] = norm
        seconds_per_step = seconds / max(1, self.progress.step - self.logged_step)
        eta = seconds_per_step * (self.total_steps - self.progress.step)
        self.log.write("train", self.progress.step, self.progress.epoch, stats, eta)
        self.sums, self.data_wait = {}, 0.0
        self.clock, self.logged_step = time.monotonic(), self.progress.step

    @torch.no_grad()
    def _validate(self) -> None:
        """Measure on the validation set, each batch with its own fixed seed; keep the model if it is best."""
        self.watch.check()  # what diverged in training is not validation's
        start = time.monotonic()
        self.model.eval()
        sums: dict[str, float | torch.Tensor] = {}
        losses: list[tuple[torch.Tensor, list[str]]] = []
        for i, batch in enumerate(self.task.valid_loader().epoch(0)):
            if batch:
                with self._telling_of_limits(batch):
                    loss, stats = self.forward.validate(batch, i)
                add(sums, stats | {"loss": loss})
                losses.append((loss, batch.get("utt_ids", [])))
        if self.first:
            self.log.pictures(self.progress.step, self.task.pictures())
        self.model.train()
        progress, total = self.progress, reduced(sums)
        if self.total_steps and not total["weight"]:  # a loss of nothing is 0: nothing could improve upon it
            raise InputError("nothing of the validation set is in the loss", where=self.exp_dir,
                             mend="validate on longer utterances, or with their labels")  # fmt: skip
        stats = self.task.summary(averages(total))
        value = stats[self.task.best_metric]
        if not math.isfinite(value):
            own = [utt_id for loss, utt_ids in losses if not loss.isfinite() for utt_id in utt_ids]
            self.watch.stop(progress.step, "validation loss", list(itertools.chain(*distributed.gather(own))))
        self.log.write("valid", progress.step, progress.epoch, stats)
        better = value < progress.best if self.task.best_is_lower else value > progress.best
        if progress.best_step < 0 or better:
            progress.best, progress.best_step, progress.unimproved = value, progress.step, 0
            self.best_stats = stats
            self._write_best()
        else:
            progress.unimproved += 1
        if hasattr(self, "clock"):  # validation is not training time
            self.clock += time.monotonic() - start

    def _write_best(self) -> None:
        if not self.first:
            return
        weights = {name: value.cpu().numpy() for name, value in self.model.state_dict().items()}
        about = {"step": self.progress.best_step, "valid": self.best_stats, "train": to_dict(self.config)}
        if self.device.type == "cuda":
            about["machine"] = f"{provenance.machine()}, {torch.cuda.get_device_name(self.device)}"
        write_model(self.exp_dir, weights, self.task.describe() | about)

    def _on_signal(self, number: int, frame: Any) -> None:
        self.stop_signal = number
        if number == signal.SIGINT:  # the next one does not wait for a step
            signal.signal(number, signal.default_int_handler)

    def _interruption(self) -> BaseException:
        """What ends this process: an interrupt as one, so that a shell's loop of trainings ends, too."""
        alone = self.world == 1  # torchrun tells of its processes itself
        return KeyboardInterrupt() if alone and self.stop_signal == signal.SIGINT else Interrupted()

    def _stop_everywhere(self, log_due: bool) -> bool:
        """Whether a signal reached any process. Several agree on it in the step; a GPU is asked rarely."""
        if self.world == 1:
            return bool(self.stop_signal)
        return (log_due or self.device.type == "cpu") and bool(self.stops)

    def _save(self) -> None:
        self.watch.check()
        # A step along a finite gradient may have been too long.
        if not all(p.isfinite().all() for p in self.trainable):
            self.watch.stop(self.progress.step, "model", [])
        if self.first:
            state = {
                "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(), "progress": dataclasses.asdict(self.progress),
                "best_stats": self.best_stats, "config": to_dict(self.config), "world_size": self.world,
                "data": self.loader.extent(),
            }  # fmt: skip
            checkpoint.save_state(
                self.folder, self.progress.step, state, self.config.keep_last, self.config.save_interval
            )

    def _restore(self, path: Path) -> None:
        state = checkpoint.load_state(path)
        shapes, here = (
            {name: value.shape for name, value in values.items()}
            for values in (state["model"], self.model.state_dict())
        )
        if shapes != here:
            raise InputError("the checkpoint is of another model", where=path, mend="--overwrite starts anew")
        now = self.loader.extent()
        if (data := state.get("data", now)) != now:  # earlier versions told none
            told, instead = (f"{one['utterances']} utterances, {one['frames']} frames" for one in (data, now))
            raise InputError(
                f"the checkpoint is of {told}, to train on, and there are now {instead}", where=path,
                mend="put the old ones back, or --overwrite starts anew",
            )  # fmt: skip
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.progress = progress = TrainState(**state["progress"])
        # Of another number of processes a step was another share of an epoch.
        if state["world_size"] != self.world and self.config.max_epochs:
            progress.batches -= progress.batches % self.world  # some utterances rather twice than not at all
            progress.total_steps = self._total_steps(progress)
        self.best_stats = state["best_stats"]

    def _try_average(self) -> None:
        """Validate the mean weights of the last checkpoints; they become the model if they are best."""
        distributed.gather(None)  # the first process has written the last one
        states = checkpoint.saved_states(self.folder, self.progress.step, self.config.save_interval)
        states = states[-self.config.average_last :]
        mean = checkpoint.average_weights(states)
        for name, value in self.model.state_dict().items():
            value.copy_(mean[name])
        self.log.say(f"the mean of the weights of {', '.join(path.stem for path in states)}:")
        self._validate()

    def _finish(self) -> dict[str, float]:
        if self.config.average_last > 1 and self.trainable and self.progress.step:
            self._try_average()
        done = {
            "step": self.progress.step,
            "best_step": self.progress.best_step,
            "best_stats": self.best_stats,
        }
        if self.first:
            write_json(self.folder / FINISHED, done)
        self.log.say(f"finished; best at step {self.progress.best_step}: {self.best_stats}")
        return self.best_stats
