"""What the recogniser's encoder reads: standardised features, several layers of them mixed."""

import torch
from torch import nn

_LEAST_SCALE = 1e-3  # a dimension that never varies (CMVN's rest) is not blown up


class InputLayer(nn.Module):
    """Standardised frames, the layers of a multi-layer input mixed by learned weights.

    Args:
        dim: F of the features.
        num_layers: L of features (B, T, L, F), 0 for (B, T, F).
        frame_shift_ms: of the features.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, dim: int, num_layers: int, frame_shift_ms: float):
        super().__init__()
        self.dim, self.frame_shift_ms = dim, frame_shift_ms
        shape = (num_layers, dim) if num_layers else (dim,)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.layer_weights = nn.Parameter(torch.zeros(num_layers)) if num_layers else None

    def set_statistics(self, frames: torch.Tensor) -> None:
        """Take mean and standard deviation of frames (N, F) or (N, L, F), for standardising."""
        self.mean.copy_(frames.mean(0))
        self.scale.copy_(1 / frames.std(0).clamp(min=_LEAST_SCALE))

    def forward(self, feats: torch.Tensor) -> torch.Tensor:
        """(B, T, F) or (B, T, L, F) to (B, T, F)."""
        frames = (feats - self.mean) * self.scale
        if self.layer_weights is not None:
            frames = torch.einsum("btlf,l->btf", frames, self.layer_weights.softmax(0))
        return frames
