"""What a training run tells: a count on a terminal or log lines, ``train_log.jsonl``, TensorBoard."""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from numpy.typing import NDArray

from speechrep.errors import telling_of
from speechrep.io.files import atomic_open, read_train_log
from speechrep.io.model_files import TRAIN_LOG
from speechrep.progress import Progress, clock

logger = logging.getLogger("train")


class TrainLog:
    """Writes progress to all three places; resumed at a step, it forgets what was logged after it.

    Args:
        exp_dir: gets ``train_log.jsonl`` and ``tensorboard/``.
        total_steps: the length of the run.
        first_step: the number of steps already done.
        enabled: False on all processes but the first.
    """

    def __init__(self, exp_dir: str | os.PathLike[str], total_steps: int, first_step: int, enabled: bool):
        self.total_steps, self.enabled = total_steps, enabled
        if not enabled:
            return
        from torch.utils.tensorboard import SummaryWriter  # slow to import; only one process needs it

        self._exp_dir, self._eta = Path(exp_dir), ""
        path = self._exp_dir / TRAIN_LOG
        # From the beginning, the untrained model is validated again.
        kept = [line for line in read_train_log(path) if 0 < first_step >= line["step"]]
        with atomic_open(path) as stream:
            stream.writelines(json.dumps(line) + "\n" for line in kept)
        self._stream = open(path, "a", encoding="utf-8")  # noqa: SIM115 - lives as long as the run
        self._board = SummaryWriter(str(self._exp_dir / "tensorboard"), purge_step=first_step + 1)
        self._count = Progress(total_steps, "steps", first_step) if sys.stderr.isatty() else None

    def write(self, part: str, step: int, epoch: int, stats: dict[str, float], eta_s: float = 0) -> None:
        """Tell one set of statistics.

        Args:
            part: "train" or "valid".
            step: the number of steps done.
            epoch: the current epoch, from 0.
            stats: name to value; ``loss`` first if present.
            eta_s: seconds to the end of the run, as far as can be told; of validation those last told.
        """
        if not self.enabled:
            return
        # A full disk, say; of which file it is, neither the system nor TensorBoard tells.
        with telling_of(self._exp_dir):
            self._stream.write(json.dumps({"part": part, "step": step, "epoch": epoch} | stats) + "\n")
            self._stream.flush()
            for name, value in stats.items():
                self._board.add_scalar(f"{part}/{name}", value, step)
        told = " ".join(f"{name} {_short(value)}" for name, value in stats.items())
        if self._count is not None and part == "train":
            self._count.note = f", loss {stats['loss']:.4f}, {stats['frames_per_s']:.0f} frames/s"
        else:
            if part == "train":
                self._eta = f" eta {clock(eta_s)}"
            self.say(f"{part} step {step}/{self.total_steps} epoch {epoch} {told}{self._eta}")

    def pictures(self, step: int, pictures: Mapping[str, NDArray]) -> None:
        """Show pictures in TensorBoard.

        Args:
            step: the number of steps done.
            pictures: name to red, green and blue, uint8 (height, width, 3).
        """
        if self.enabled:
            for name, picture in pictures.items():
                self._board.add_image(name, picture, step, dataformats="HWC")

    def advance(self) -> None:
        """One step done."""
        if self.enabled and self._count is not None:
            self._count.update(self._count.done + 1)

    def say(self, text: str) -> None:
        """A line of text."""
        if not self.enabled:
            return
        if self._count is not None:
            self._count.say(text)
        else:
            logger.info(text)

    def close(self) -> None:
        """Flush and close."""
        if self.enabled:
            # Of a full disk: the log was flushed as it was written, and an error told.
            with contextlib.suppress(OSError):
                self._stream.close()
                self._board.close()
            if self._count is not None:
                self._count.show(end=True)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
