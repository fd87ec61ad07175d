"""Encoders of the recogniser: features (B, T, F) to fewer, wider frames (B, T', D).

No encoder lets padding reach a valid frame, so an utterance comes out the same alone and in a batch.
"""

import itertools
import math
from typing import Protocol

import torch
from torch import nn

from speechrep.data.padded import stack_frames, valid_mask
from speechrep.upstream.transformer import Positions


def reverse_frames(feats: torch.Tensor, feat_lens: torch.Tensor) -> torch.Tensor:
    """Each utterance back to front within its own length; its padding stays at the end."""
    frames = torch.arange(feats.shape[1], device=feats.device)
    index = feat_lens[:, None] - 1 - frames  # (B, T)
    index = torch.where(index >= 0, index, frames)
    return feats.gather(1, index[..., None].expand_as(feats))


class Encoder(Protocol):
    """What the recogniser asks of an encoder, a module."""

    dim: int
    """D of its output."""

    def out_lens(self, feat_lens: torch.Tensor) -> torch.Tensor:
        """Encoder frames of utterances of ``feat_lens`` (B,) input frames."""

    def __call__(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, F) and (B,) to (B, T', D) and (B,)."""


class StackFront(nn.Module):
    """Stacked frames, no parameters."""

    def __init__(self, input_dim: int, stack: int):
        super().__init__()
        self.stack, self.dim = stack, input_dim * stack

    def out_lens(self, feat_lens: torch.Tensor) -> torch.Tensor:
        """Lengths after stacking."""
        return feat_lens // self.stack

    def forward(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, F) to (B, T // stack, F * stack)."""
        return stack_frames(feats, self.stack), feat_lens // self.stack


class VggFront(nn.Module):
    """Four 3 x 3 convolutions over time and frequency, a quarter of the frames (Hori et al. 2017, section 4).

    The features are seen as ``F / 40`` channels of 40 bins, as statics and deltas lie side by side. Those of
    another dimension, such as representations, are first projected to 80.
    """

    CHANNELS = (64, 64, 128, 128)
    BINS = 40

    def __init__(self, input_dim: int):
        super().__init__()
        fits = input_dim % self.BINS == 0
        self.project = nn.Identity() if fits else nn.Linear(input_dim, 2 * self.BINS)
        channels = [(input_dim if fits else 2 * self.BINS) // self.BINS, *self.CHANNELS]
        pairs = itertools.pairwise(channels)
        self.convolutions = nn.ModuleList(nn.Conv2d(one, other, 3, padding=1) for one, other in pairs)
        self.dim = self.CHANNELS[-1] * (self.BINS // 4)

    def out_lens(self, feat_lens: torch.Tensor) -> torch.Tensor:
        """Two poolings, each dropping an odd last frame."""
        return feat_lens // 2 // 2

    def forward(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, F) to (B, T // 4, 1280)."""
        hiddens = self.project(feats).unflatten(2, (-1, self.BINS)).transpose(1, 2)  # (B, channels, T, 40)
        for number, convolution in enumerate(self.convolutions):
            # A convolution sees its neighbours: what follows an utterance must be as empty as its end alone.
            valid = valid_mask(feat_lens, hiddens.shape[2])
            hiddens = convolution(hiddens * valid[:, None, :, None]).relu()
            if number % 2:
                hiddens = nn.functional.max_pool2d(hiddens, 2)
                feat_lens = feat_lens // 2
        return hiddens.transpose(1, 2).flatten(2), feat_lens


class BiLstmLayer(nn.Module):
    """One bidirectional LSTM layer on padded batches.

    Packed sequences train several times slower on CPU than padded ones. To keep padding out of the
    backward direction all the same, that direction reads every utterance reversed within its length.
    """

    def __init__(self, input_dim: int, hidden: int):
        super().__init__()
        self.forward_lstm = nn.LSTM(input_dim, hidden, batch_first=True)
        self.backward_lstm = nn.LSTM(input_dim, hidden, batch_first=True)

    def forward(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> torch.Tensor:
        """(B, T, F) to (B, T, 2 * hidden)."""
        there, _ = self.forward_lstm(feats)
        back, _ = self.backward_lstm(reverse_frames(feats, feat_lens))
        return torch.cat([there, reverse_frames(back, feat_lens)], dim=-1)


class BiLstmEncoder(nn.Module):
    """A front, then bidirectional LSTM layers with dropout, projection and sub-sampling after each.

    Args:
        front: what makes the LSTM's input.
        hidden: units per direction.
        num_layers: LSTM layers.
        dropout: after every layer.
        projection: width of a linear layer with tanh after every LSTM layer; 0 for none.
        subsample: for each layer, how many of its output frames become one; () for all 1.
        subsample_by: ``drop`` keeps the first of them, ``concat`` joins them.
    """

    def __init__(
        self,
        front: "StackFront | VggFront",
        hidden: int,
        num_layers: int,
        dropout: float,
        projection: int = 0,
        subsample: tuple[int, ...] = (),
        subsample_by: str = "drop",
    ):
        super().__init__()
        self.front, self.by_concat = front, subsample_by == "concat"
        self.subsample = subsample or (1,) * num_layers
        self.layers, self.projections = nn.ModuleList(), nn.ModuleList()
        self.dim = front.dim
        for factor in self.subsample:
            self.layers.append(BiLstmLayer(self.dim, hidden))
            width = 2 * hidden * (factor if self.by_concat else 1)
            self.dim = projection or width
            self.projections.append(
                nn.Sequential(nn.Linear(width, projection), nn.Tanh()) if projection else nn.Identity()
            )
        self.dropout = nn.Dropout(dropout)

    def out_lens(self, feat_lens: torch.Tensor) -> torch.Tensor:
        """Lengths after the front and the layers."""
        lens = self.front.out_lens(feat_lens)
        for factor in self.subsample:
            lens = lens // factor if self.by_concat else (lens + factor - 1) // factor
        return lens

    def forward(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, F) and (B,) to (B, T', D) and (B,)."""
        hiddens, lens = self.front(feats, feat_lens)
        for layer, projection, factor in zip(self.layers, self.projections, self.subsample, strict=True):
            hiddens = self.dropout(layer(hiddens, lens))
            if self.by_concat:
                hiddens, lens = stack_frames(hiddens, factor), lens // factor
            elif factor > 1:
                hiddens, lens = hiddens[:, ::factor], (lens + factor - 1) // factor
            hiddens = projection(hiddens)
        return hiddens, lens


class TransformerEncoder(nn.Module):
    """A front, then a pre-norm Transformer with sinusoidal positions.

    Args:
        front: what makes the input.
        dim: D.
        num_layers: blocks.
        num_heads: attention heads.
        dropout: everywhere but in the attention weights, where it would disable the fast kernels on CPU.
    """

    def __init__(
        self, front: "StackFront | VggFront", dim: int, num_layers: int, num_heads: int, dropout: float
    ):
        super().__init__()
        self.front, self.dim = front, dim
        self.input = nn.Linear(front.dim, dim)
        self.dropout = nn.Dropout(dropout)
        block = nn.TransformerEncoderLayer(
            dim, num_heads, 4 * dim, dropout, "gelu", batch_first=True, norm_first=True
        )
        block.self_attn.dropout = 0.0
        self.positions = Positions(dim, sinusoids)
        self.blocks = nn.TransformerEncoder(block, num_layers, nn.LayerNorm(dim), enable_nested_tensor=False)

    def out_lens(self, feat_lens: torch.Tensor) -> torch.Tensor:
        """Lengths after the front."""
        return self.front.out_lens(feat_lens)

    def forward(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, F) and (B,) to (B, T', D) and (B,)."""
        hiddens, lens = self.front(feats, feat_lens)
        inputs = self.input(hiddens)
        hiddens = self.dropout(inputs + self.positions(inputs.shape[1], like=inputs))
        return self.blocks(hiddens, src_key_padding_mask=~valid_mask(lens, hiddens.shape[1])), lens


def sinusoids(length: int, dim: int) -> torch.Tensor:
    """(length, dim) positions, dim even, as in Vaswani et al. (2017), section 3.5, sines first."""
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angles = torch.arange(length)[:, None] * rates  # (length, dim / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
