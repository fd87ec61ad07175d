"""What the recogniser's encoder reads: standardised features, several layers of them mixed."""

import torch
from torch import nn

from speechrep.downstream.layer_sum import layer_scores, sum_layers


class InputLayer(nn.Module):
    """Standardised frames, the layers of a multi-layer input mixed by learned weights.

    Args:
        dim: F of the features.
        num_layers: L of features (B, T, L, F), 0 for (B, T, F).
        frame_shift_ms: of the features.
        layer_sum: how layers are weighted, see :mod:`speechrep.downstream.layer_sum`.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, dim: int, num_layers: int, frame_shift_ms: float, layer_sum: str = "softmax"):
        super().__init__()
        self.dim, self.frame_shift_ms, self.layer_sum = dim, frame_shift_ms, layer_sum
        shape = (num_layers, dim) if num_layers else (dim,)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.layer_weights = layer_scores(num_layers, layer_sum)

    def forward(self, feats: torch.Tensor) -> torch.Tensor:
        """(B, T, F) or (B, T, L, F) to (B, T, F)."""
        return sum_layers((feats - self.mean) * self.scale, self.layer_weights, self.layer_sum)
