"""An LSTM language model over text units, and how a search uses it."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from speechrep.config import at_least, from_dict, opt, require_dropout, to_dict
from speechrep.errors import InputError
from speechrep.io.model_files import read_model
from speechrep.text.registry import parse_tokenizer, require_same_units
from speechrep.text.tokenizer import Tokenizer

KIND = "lm"  # model.json's "kind"


@dataclasses.dataclass(frozen=True)
class LmConfig:
    """Size of the language model."""

    embedding: int = opt(128, "width of the input units")
    hidden_size: int = opt(256, "LSTM units per layer")
    num_layers: int = opt(2, "LSTM layers")
    dropout: float = opt(0.3, "dropout")

    def __post_init__(self) -> None:
        at_least(1, self, "embedding", "hidden_size", "num_layers")
        require_dropout(self, "dropout")


class LstmLm(nn.Module):
    """Predicts each unit of a sentence from those before it.

    Classes are unit numbers less one; the last, ``C - 1`` for C units with the blank, is the sentence's end
    and stands before its first unit.

    Args:
        config: its size.
        tokenizer: its units.
    """

    def __init__(self, config: LmConfig, tokenizer: Tokenizer):
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        num_classes = len(tokenizer.units)
        self.embedding = nn.Embedding(num_classes, config.embedding)
        between = config.dropout if config.num_layers > 1 else 0.0
        self.lstm = nn.LSTM(
            config.embedding, config.hidden_size, config.num_layers, batch_first=True, dropout=between
        )
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden_size, num_classes)

    def forward(self, classes: torch.Tensor) -> torch.Tensor:
        """(B, L) classes to log probabilities (B, L, C) of each one's successor."""
        hiddens, _ = self.lstm(self.dropout(self.embedding(classes)))
        log_probs: torch.Tensor = self.output(self.dropout(hiddens)).log_softmax(-1)
        return log_probs

    def describe(self) -> dict[str, Any]:
        """What :func:`load_lm` rebuilds it from."""
        return {"kind": KIND, "config": to_dict(self.config), "tokenizer": self.tokenizer.to_json()}


class LstmScorer:
    """An :class:`LstmLm` as a :class:`speechrep.decode.beam.Scorer`; a state is (N, 2, layers, H)."""

    def __init__(self, model: LstmLm):
        self.model = model

    def initial(self, utts: torch.Tensor) -> torch.Tensor:
        """Nothing read yet."""
        lstm = self.model.lstm
        return torch.zeros(len(utts), 2, lstm.num_layers, lstm.hidden_size, device=utts.device)

    def step(
        self, state: torch.Tensor, classes: torch.Tensor, utts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read one class (N,) per hypothesis; log probabilities of the next (N, C)."""
        hidden, cell = (part.contiguous() for part in state.permute(1, 2, 0, 3))  # (layers, N, H) each
        embedded = self.model.embedding(classes[:, None])
        output, (hidden, cell) = self.model.lstm(embedded, (hidden, cell))
        log_probs = self.model.output(output[:, 0]).log_softmax(-1)
        return log_probs, torch.stack([hidden, cell]).permute(2, 0, 1, 3)

    def select(self, state: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Rows of the state."""
        return state[rows]


def load_lm(exp_dir: str | Path, tokenizer: Tokenizer, device: torch.device | str = "cpu") -> LstmLm:
    """Load what train_lm left, in evaluation mode.

    Args:
        exp_dir: its experiment.
        tokenizer: the recogniser's units, which must be the model's too.
        device: where to put it.

    Raises:
        InputError: no language model, or one over other units.
    """
    weights, info = read_model(exp_dir)
    if info.get("kind") != KIND:
        raise InputError(
            f"holds a model of kind {info.get('kind')!r}, not a language model", where=exp_dir,
            mend="give an experiment of train_lm",
        )  # fmt: skip
    require_same_units(parse_tokenizer(info["tokenizer"], exp_dir), tokenizer, exp_dir)
    model = LstmLm(from_dict(LmConfig, info["config"], exp_dir), tokenizer)
    try:
        model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    except RuntimeError as error:
        raise InputError(f"weights do not fit the description: {error}", where=exp_dir) from error
    return model.eval().requires_grad_(False).to(device)
