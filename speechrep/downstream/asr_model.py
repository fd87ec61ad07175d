"""The recogniser: features to log probabilities of text units."""

import torch
from torch import nn

from speechrep.downstream.asr_config import AsrConfig
from speechrep.downstream.asr_encoder import BiLstmEncoder
from speechrep.downstream.spec_augment import spec_augment
from speechrep.text.tokenizer import Tokenizer

TARGET_SHIFT_MS = 30.0  # the encoder's frame shift where the configuration leaves it open
_LEAST_SCALE = 1e-3  # a dimension that never varies (CMVN's rest) is not blown up


class Recogniser(nn.Module):
    """Encoder and CTC output.

    Args:
        config: the recogniser's options.
        tokenizer: the text units, C of them, blank included.
        input_dim: F.
        num_input_layers: L of features (B, T, L, F), 0 for (B, T, F).
        frame_shift_ms: of the features.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        config: AsrConfig,
        tokenizer: Tokenizer,
        input_dim: int,
        num_input_layers: int,
        frame_shift_ms: float,
    ):
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        shape = (num_input_layers, input_dim) if num_input_layers else (input_dim,)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.layer_weights = nn.Parameter(torch.zeros(num_input_layers)) if num_input_layers else None
        stack = config.stack or max(1, round(TARGET_SHIFT_MS / frame_shift_ms))
        self.encoder = BiLstmEncoder(input_dim, config.hidden, config.num_layers, stack, config.dropout)
        self.ctc = nn.Linear(self.encoder.dim, len(tokenizer.units))

    def set_statistics(self, feats: torch.Tensor) -> None:
        """Take mean and standard deviation of frames (N, F) or (N, L, F), for standardising the input."""
        self.mean.copy_(feats.mean(0))
        self.scale.copy_(1 / feats.std(0).clamp(min=_LEAST_SCALE))

    def encode(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, F) or (B, T, L, F) and (B,) to the encoder's (B, T', D) and (B,)."""
        feats = (feats - self.mean) * self.scale
        if self.layer_weights is not None:
            feats = torch.einsum("btlf,l->btf", feats, self.layer_weights.softmax(0))
        config = self.config
        if self.training and (config.time_masks or config.freq_masks):
            feats = spec_augment(
                feats, feat_lens, config.time_masks, config.time_width, config.freq_masks, config.freq_width
            )
        hiddens, hidden_lens = self.encoder(feats, feat_lens)
        return hiddens, hidden_lens

    def forward(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features to CTC log probabilities (B, T', C) and their lengths (B,)."""
        hiddens, hidden_lens = self.encode(feats, feat_lens)
        return self.ctc(hiddens).log_softmax(-1), hidden_lens


def ctc_loss(
    log_probs: torch.Tensor, lens: torch.Tensor, labels: torch.Tensor, label_lens: torch.Tensor
) -> torch.Tensor:
    """Sum over the batch of -log p(labels).

    Args:
        log_probs: (B, T', C), blank first.
        lens: (B,) valid frames.
        labels: (B, L) unit numbers, padded with anything.
        label_lens: (B,).
    """
    return nn.functional.ctc_loss(
        log_probs.float().transpose(0, 1), labels, lens, label_lens, blank=0, reduction="sum"
    )
