"""The end of a run whose loss or gradient is no longer finite."""

import itertools
import math
from pathlib import Path

import torch

from speechrep.errors import InputError
from speechrep.train import checkpoint, distributed


class Watch:
    """Remembers steps until it is asked about them, since asking waits for the device.

    Args:
        exp_dir: for the message.
    """

    def __init__(self, exp_dir: Path):
        self.exp_dir = exp_dir
        self._steps: list[tuple[int, list[str], torch.Tensor, torch.Tensor]] = []

    def add(self, step: int, utt_ids: list[str], own_loss: torch.Tensor, total: torch.Tensor) -> None:
        """Remember a step: this process's utterances and loss, and what must be finite on all of them."""
        self._steps.append((step, utt_ids, own_loss, total))

    def check(self) -> None:
        """Stop at the first remembered step that was not finite, naming the utterances to blame."""
        totals = torch.stack([total for *_, total in self._steps]).tolist() if self._steps else []
        bad = next((i for i, total in enumerate(totals) if not math.isfinite(total)), None)
        if bad is not None:
            step, utt_ids, own_loss, _ = self._steps[bad]
            told = distributed.gather((math.isfinite(float(own_loss)), utt_ids))
            guilty = [ids for finite, ids in told if not finite] or [ids for _, ids in told]
            self.stop(step, "training loss or gradient", list(itertools.chain(*guilty)))
        self._steps.clear()

    def stop(self, step: int, what: str, utt_ids: list[str]) -> None:
        """Raise the error; ``what`` is not finite."""
        saved = checkpoint.saved_states(self.exp_dir / "checkpoints")
        named = f", utterances {' '.join(utt_ids[:20])}" if utt_ids else ""
        raise InputError(
            f"the {what} is not finite at step {step}{named}",
            where=self.exp_dir,
            mend=f"last good checkpoint: {saved[-1] if saved else 'none'}; look at these utterances, "
            "or lower the learning rate",
        )
