"""What the recogniser's encoder reads: features as stored, or as a pre-trained model inside sees them."""

import torch
from torch import nn

from speechrep.downstream.inside import HoldsUpstream
from speechrep.upstream.base import Upstream

_LEAST_SCALE = 1e-3  # a dimension that never varies (CMVN's rest) is not blown up


class InputLayer(HoldsUpstream):
    """Standardised frames, the layers of a multi-layer input mixed by learned weights.

    Args:
        dim: F of the features.
        num_layers: L of features (B, T, L, F), 0 for (B, T, F).
        frame_shift_ms: of the features.
        upstream: a pre-trained model that the features go through first, or None.
        fine_tune: whether that model is trained too.
        mix: whether all its layers are mixed, or the last one taken.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        dim: int,
        num_layers: int,
        frame_shift_ms: float,
        upstream: Upstream | None = None,
        fine_tune: bool = False,
        mix: bool = False,
    ):
        super().__init__()
        self.upstream, self.mix, self.downsample = upstream, mix, 1
        if upstream is not None:
            dims, self.downsample = upstream.layer_dims(), upstream.downsample
            dim, num_layers = dims[-1], len(dims) if mix else 0
            frame_shift_ms *= self.downsample
        self.set_tuning(fine_tune)
        self.dim, self.frame_shift_ms = dim, frame_shift_ms
        shape = (num_layers, dim) if num_layers else (dim,)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.layer_weights = nn.Parameter(torch.zeros(num_layers)) if num_layers else None

    def out_lens(self, feat_lens: torch.Tensor) -> torch.Tensor:
        """Frames of the output."""
        return feat_lens // self.downsample

    def represent(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The features, or the upstream's vectors: (B, T', D) or (B, T', L, D), and lengths (B,)."""
        if self.upstream is None:
            return feats, feat_lens
        out = self.upstream(feats, feat_lens)
        return torch.stack(out.hiddens, dim=2) if self.mix else out.hiddens[-1], out.hidden_lens

    def set_statistics(self, frames: torch.Tensor) -> None:
        """Take mean and standard deviation of frames (N, D) or (N, L, D), for standardising."""
        self.mean.copy_(frames.mean(0))
        self.scale.copy_(1 / frames.std(0).clamp(min=_LEAST_SCALE))

    def forward(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, F) or (B, T, L, F) and (B,) to (B, T', D) and (B,)."""
        frames, lens = self.represent(feats, feat_lens)
        frames = (frames - self.mean) * self.scale
        if self.layer_weights is not None:
            frames = torch.einsum("btlf,l->btf", frames, self.layer_weights.softmax(0))
        return frames, lens
