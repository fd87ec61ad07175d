"""Surface features as an upstream: the frames themselves, with their neighbours if asked."""

from dataclasses import dataclass

import torch

from speechrep.config import at_least, opt
from speechrep.upstream.base import Upstream


@dataclass(frozen=True)
class SurfaceConfig:
    """Options of :class:`Surface`."""

    context: int = opt(0, "frames of each side stacked onto every frame")

    def __post_init__(self) -> None:
        at_least(0, self, "context")


class Surface(Upstream):
    """The baseline of every comparison. With ``context`` c, D = (2c + 1) F, earliest frame first.

    At an utterance's edges the first or last frame is repeated.
    """

    name = "surface"
    config_class = SurfaceConfig

    def hidden_states(self, feats: torch.Tensor, feat_lens: torch.Tensor | None) -> list[torch.Tensor]:
        """One layer: (B, T, (2c + 1) F)."""
        c, (B, T, F) = self.config.context, feats.shape
        if c == 0 or T == 0:
            return [feats.repeat(1, 1, 2 * c + 1)]
        lens = torch.full((B,), T, device=feats.device) if feat_lens is None else feat_lens
        frames = torch.arange(T, device=feats.device)[:, None] + torch.arange(-c, c + 1, device=feats.device)
        frames = frames[None].clamp(min=0).minimum((lens.clamp(min=1) - 1)[:, None, None])  # (B, T, 2c+1)
        index = frames.reshape(B, -1, 1).expand(-1, -1, F)
        return [feats.gather(1, index).reshape(B, T, (2 * c + 1) * F)]
