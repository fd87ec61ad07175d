"""The recogniser: features to log probabilities of text units, by CTC, by attention or by both."""

import torch
from torch import nn

from speechrep.downstream.asr_attention import Memory
from speechrep.downstream.asr_config import AsrConfig
from speechrep.downstream.asr_decoder import AttentionDecoder
from speechrep.downstream.asr_encoder import BiLstmEncoder, Encoder, StackFront, TransformerEncoder, VggFront
from speechrep.downstream.asr_input import InputLayer
from speechrep.downstream.spec_augment import spec_augment
from speechrep.downstream.warp import shortest, warp
from speechrep.text.tokenizer import Tokenizer

TARGET_SHIFT_MS = 30.0  # the front's frame shift where the configuration leaves it open


class Recogniser(nn.Module):
    """Input, encoder with CTC output, attention decoder, or both.

    Args:
        config: the recogniser's options.
        tokenizer: the text units, C of them, blank included.
        front: what the encoder reads.
    """

    def __init__(self, config: AsrConfig, tokenizer: Tokenizer, front: InputLayer):
        super().__init__()
        self.config, self.tokenizer, self.front = config, tokenizer, front
        num_units = len(tokenizer.units)
        self.encoder = _encoder(config, front.dim, front.frame_shift_ms)
        self.ctc = nn.Linear(self.encoder.dim, num_units) if config.ctc_weight > 0 else None
        self.decoder = (
            AttentionDecoder(config, num_units, self.encoder.dim) if config.ctc_weight < 1 else None
        )

    def out_lens(self, feat_lens: torch.Tensor) -> torch.Tensor:
        """Encoder frames of utterances of ``feat_lens`` (B,) input frames."""
        return self.encoder.out_lens(feat_lens)

    def least_out_lens(self, feat_lens: torch.Tensor) -> torch.Tensor:
        """The same in training, where warping may shorten them."""
        return self.encoder.out_lens(shortest(feat_lens, self.config.tempo_warp))

    def encode(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, F) or (B, T, L, F) and (B,) to the encoder's (B, T', D) and (B,)."""
        frames, lens = self.front(feats), feat_lens
        config = self.config
        if self.training and (config.tempo_warp or config.frequency_warp):
            frames, lens = warp(frames, lens, config.tempo_warp, config.frequency_warp)
        if self.training and (config.time_masks or config.freq_masks):
            frames = spec_augment(
                frames, lens, config.time_masks, config.time_width, config.freq_masks, config.freq_width
            )
        return self.encoder(frames, lens)

    def ctc_log_probs(self, hiddens: torch.Tensor) -> torch.Tensor:
        """The encoder's output (B, T', D) to CTC log probabilities (B, T', C)."""
        assert self.ctc is not None, "a model without CTC"
        log_probs: torch.Tensor = self.ctc(hiddens).float().log_softmax(-1)
        return log_probs


def _encoder(config: AsrConfig, input_dim: int, frame_shift_ms: float) -> Encoder:
    if config.encoder == "vgg-blstm":
        front: StackFront | VggFront = VggFront(input_dim)
    else:
        front = StackFront(input_dim, config.stack or max(1, round(TARGET_SHIFT_MS / frame_shift_ms)))
    if config.encoder == "transformer":
        return TransformerEncoder(
            front, config.hidden_size, config.num_layers, config.num_heads, config.dropout
        )
    return BiLstmEncoder(
        front, config.hidden_size, config.num_layers, config.dropout, config.projection, config.subsample,
        config.subsample_by,
    )  # fmt: skip


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


def attention_greedy(
    decoder: AttentionDecoder, hiddens: torch.Tensor, lens: torch.Tensor
) -> list[tuple[list[int], float]]:
    """The decoder's best unit, step by step, until the end or as many units as frames.

    Args:
        decoder: the attention decoder.
        hiddens, lens: the encoder's output (B, T', D) and (B,).

    Returns:
        unit numbers of every utterance, and their log probability with that of the end, where it came.
    """
    memory: Memory = decoder.memory(hiddens, lens)
    state = decoder.initial(memory)
    classes = torch.full_like(lens, decoder.end)
    going = torch.ones_like(lens, dtype=torch.bool)
    found: list[list[int]] = [[] for _ in range(len(lens))]
    scores = torch.zeros(len(lens), dtype=torch.float64, device=lens.device)
    for length in range(int(lens.max())):
        logits, state = decoder.step(classes, state, memory)
        best, classes = logits.double().log_softmax(-1).max(-1)
        scores += torch.where(going & (length < lens), best, 0.0)
        going &= (classes != decoder.end) & (length < lens)
        if not going.any():
            break
        for row, (goes, unit) in enumerate(zip(going.tolist(), classes.tolist(), strict=True)):
            if goes:
                found[row].append(unit + 1)
    return list(zip(found, scores.tolist(), strict=True))
