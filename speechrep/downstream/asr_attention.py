"""Attention of the decoder over the encoder's frames: content alone, or content and location."""

from typing import NamedTuple

import torch
from torch import nn


class Memory(NamedTuple):
    """What a decoder looks at; row n belongs to hypothesis n."""

    hiddens: torch.Tensor  # (N, T', D) the encoder's output
    keys: torch.Tensor  # (N, T', A) projected once for all steps
    mask: torch.Tensor  # (N, T') True on valid frames

    def select(self, rows: torch.Tensor) -> "Memory":
        """Rows (M,) of this memory, in that order, possibly repeated."""
        return Memory(*(part[rows] for part in self))


class DotAttention(nn.Module):
    """Scaled dot product of projected query and keys."""

    def __init__(self, encoder_dim: int, query_dim: int, dim: int):
        super().__init__()
        self.key, self.query = nn.Linear(encoder_dim, dim), nn.Linear(query_dim, dim)
        self.scale = dim**-0.5

    def forward(self, query: torch.Tensor, memory: Memory, before: torch.Tensor) -> torch.Tensor:
        """Weights (N, T') for queries (N, Q); ``before`` is not used."""
        scores = torch.einsum("nta,na->nt", memory.keys, self.query(query)) * self.scale
        weights: torch.Tensor = scores.masked_fill(~memory.mask, -torch.inf).softmax(-1)
        return weights


class LocationAttention(nn.Module):
    """Attention that also sees where it looked last (Chorowski et al. 2015, section 2.2).

    Args:
        encoder_dim, query_dim: widths of keys and queries.
        dim: of the space they are compared in.
        channels: of the convolution over the last weights.
        width: of its kernel, 2 * width + 1 frames.
        sharpening: factor on the scores.
    """

    def __init__(
        self, encoder_dim: int, query_dim: int, dim: int, channels: int, width: int, sharpening: float
    ):
        super().__init__()
        self.key, self.query = nn.Linear(encoder_dim, dim), nn.Linear(query_dim, dim, bias=False)
        self.convolution = nn.Conv1d(1, channels, 2 * width + 1, padding=width, bias=False)
        self.location = nn.Linear(channels, dim, bias=False)
        self.score = nn.Linear(dim, 1, bias=False)
        self.sharpening = sharpening

    def forward(self, query: torch.Tensor, memory: Memory, before: torch.Tensor) -> torch.Tensor:
        """Weights (N, T') for queries (N, Q), the last step's weights being ``before`` (N, T')."""
        location = self.location(self.convolution(before[:, None]).transpose(1, 2))  # (N, T', A)
        scores = self.score(torch.tanh(memory.keys + self.query(query)[:, None] + location))[..., 0]
        scores = scores * self.sharpening
        weights: torch.Tensor = scores.masked_fill(~memory.mask, -torch.inf).softmax(-1)
        return weights
