"""Autoregressive Predictive Coding: recurrent layers that predict the frame n steps ahead.

Chung, Hsu, Tang and Glass, "An unsupervised autoregressive model for speech representation learning",
Interspeech 2019.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from speechrep.config import at_least, opt, require_dropout
from speechrep.data.padded import zero_padding
from speechrep.io.feature_meta import FeatureMeta
from speechrep.upstream.base import Output
from speechrep.upstream.predictive import Predictive
from speechrep.upstream.waveform import LongFeatures


@dataclass(frozen=True)
class ApcConfig:
    """Options of :class:`Apc`; the defaults are the paper's."""

    hidden_size: int = opt(512, "width of the recurrent layers")
    num_layers: int = opt(3, "recurrent layers")
    prenet_layers: int = opt(0, "fully connected layers (ReLU) before the recurrent ones")
    prenet_dropout: float = opt(0.0, "dropout after each of them")
    dropout: float = opt(0.0, "dropout after each recurrent layer but the last")
    residual: str = opt(
        "all",
        "add a layer's input to its output where the widths agree: in all layers, all but the first, or none",
        choices=("all", "inner", "none"),
    )
    time_shift: int = opt(3, "how many frames ahead to predict")
    loss_on: str = opt(
        "valid",
        "frames in the loss; 'padded' counts padding too, as the original implementation did",
        choices=("valid", "padded"),
    )

    def __post_init__(self) -> None:
        at_least(1, self, "hidden_size", "num_layers", "time_shift")
        at_least(0, self, "prenet_layers")
        require_dropout(self, "prenet_dropout", "dropout")


class Apc(Predictive):
    """A stack of one-layer GRUs, each run over the whole padded batch.

    Padding comes after an utterance and recurrence runs forward only, so it changes no valid frame. Sequences
    are not packed: on a CPU packing makes the backward pass several times slower.
    The hidden vectors are [pre-net output if there is one,] then each layer's output, residual included.
    """

    name = "apc"
    config_class = ApcConfig

    def __init__(self, config: ApcConfig, meta: FeatureMeta):
        super().__init__(config, meta)
        self.loss_on = config.loss_on
        H, F = config.hidden_size, meta.dim
        self.prenet = nn.ModuleList(nn.Linear(H if i else F, H) for i in range(config.prenet_layers))
        first = H if config.prenet_layers else F
        self.rnns = nn.ModuleList(
            nn.GRU(H if i else first, H, batch_first=True) for i in range(config.num_layers)
        )
        self.postnet = nn.Linear(H, F)

    def hidden_states(self, feats: torch.Tensor, feat_lens: torch.Tensor | None) -> list[torch.Tensor]:
        """(B, T, H) of the pre-net, if there is one, and of every layer."""
        # NaN on padding would reach no frame, but all gradients
        return self.run(zero_padding(feats, feat_lens))[0]

    def run(
        self, feats: torch.Tensor, state: list[torch.Tensor] | None = None
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Hidden vectors of frames that follow those which left ``state``, and the new state.

        Args:
            feats: (B, T, F).
            state: (1, B, H) per layer, from the frames before; None at the start of an utterance.
        """
        config = self.config
        hiddens, states, hidden = [], [], feats
        first_residual = {"all": 0, "inner": 1, "none": len(self.rnns)}[config.residual]
        # CPU GRU kernels are several times slower in bf16 than in fp32
        with torch.autocast(feats.device.type, enabled=feats.is_cuda and torch.is_autocast_enabled("cuda")):
            for layer in self.prenet:
                hidden = nn.functional.dropout(layer(hidden).relu(), config.prenet_dropout, self.training)
            if self.prenet:
                hiddens.append(hidden)
            for i, rnn in enumerate(self.rnns):
                output, last = rnn(hidden, None if state is None else state[i])
                if i + 1 < len(self.rnns):
                    output = nn.functional.dropout(output, config.dropout, self.training)
                if output.shape == hidden.shape and i >= first_residual:
                    output = output + hidden
                hidden = output
                hiddens.append(hidden)
                states.append(last)
        return hiddens, states

    def _stream(self, feats: LongFeatures, window: int, margin: int) -> Iterator[Output]:
        """Exactly: each piece starts from the state that the one before left."""
        state = None
        for start in range(0, feats.num_frames, window):
            hiddens, state = self.run(self._batch(feats.read(start, start + window)), state)
            state = [last.detach() for last in state]  # or a model in training would hold every piece
            yield Output(hiddens, torch.tensor([hiddens[0].shape[1]]), self.meta.frame_shift_ms)
