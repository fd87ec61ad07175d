"""What the recogniser's encoder reads: features as stored, or as a pre-trained model inside sees them."""

from typing import Any

import torch
from torch import nn

from speechrep.config import from_dict
from speechrep.io.feature_meta import parse_meta
from speechrep.upstream.base import Upstream
from speechrep.upstream.registry import UPSTREAMS, build

_LEAST_SCALE = 1e-3  # a dimension that never varies (CMVN's rest) is not blown up


class InputLayer(nn.Module):
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
        self.upstream, self.fine_tune, self.mix = upstream, fine_tune, mix
        self.downsample = 1
        if upstream is not None:
            upstream.requires_grad_(fine_tune)
            with torch.no_grad():
                frames = 4 * upstream.downsample
                out = upstream.eval()(torch.zeros(1, frames, dim), torch.tensor([frames]))
            dim, num_layers = out.hiddens[-1].shape[-1], len(out.hiddens) if mix else 0
            frame_shift_ms, self.downsample = out.frame_shift_ms, upstream.downsample
        self.dim, self.frame_shift_ms = dim, frame_shift_ms
        shape = (num_layers, dim) if num_layers else (dim,)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.layer_weights = nn.Parameter(torch.zeros(num_layers)) if num_layers else None

    def train(self, mode: bool = True) -> "InputLayer":
        """A frozen upstream never drops out."""
        super().train(mode)
        if self.upstream is not None and not self.fine_tune:
            self.upstream.eval()
        return self

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


def rebuild_upstream(values: dict[str, Any]) -> Upstream:
    """The untrained upstream that :func:`speechrep.upstream.checkpoint.describe` described."""
    config: Any = from_dict(UPSTREAMS[values["upstream"]].config_class, values["config"], "model.json")
    return build(values["upstream"], config, parse_meta(values["input"], "model.json"))
