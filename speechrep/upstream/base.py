"""What every upstream is: features in, one hidden vector per frame and layer out."""

import dataclasses
from typing import Any, ClassVar

import torch

from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta


@dataclasses.dataclass
class Output:
    """What a model makes of a batch."""

    hiddens: list[torch.Tensor]
    """(B, T', D) per layer, first to last; 0 on padding. T' = T // (down-sampling rate)."""
    hidden_lens: torch.Tensor
    """(B,) int64, valid frames of T'."""
    frame_shift_ms: float
    """From one of the T' frames to the next."""


class Upstream(torch.nn.Module):
    """Base of all upstreams.

    Args:
        config: the model's options, an instance of :attr:`config_class`.
        meta: the features it takes.
    """

    name: ClassVar[str]
    config_class: ClassVar[type]
    downsample: int = 1
    weights_sha256: str = ""
    """Of the file it was loaded from; "" for a model that was not loaded."""

    def __init__(self, config: Any, meta: FeatureMeta):
        super().__init__()
        self.config, self.meta = config, meta

    def hidden_states(self, feats: torch.Tensor, feat_lens: torch.Tensor | None) -> list[torch.Tensor]:
        """Hidden vectors of every layer, (B, T', D) each; on padding they may be anything.

        Args:
            feats: (B, T, F).
            feat_lens: (B,) int64, or None where no frame is padding.
        """
        raise NotImplementedError

    def pretrain_loss(
        self, feats: torch.Tensor, feat_lens: torch.Tensor | None, targets: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """The summed loss and the sums that are reported with it, ``weight`` among them.

        Args:
            feats: (B, T, F).
            feat_lens: (B,) int64, or None where no frame is padding.
            targets: (B, T, F2) other features to predict, for models that can; None for ``feats`` itself.
        """
        raise InputError(f"{self.name} has nothing to train", mend="--max-steps 0")

    def shortest(self) -> int:
        """The least number of frames of which something can be learned."""
        return 1

    def forward(self, feats: torch.Tensor, feat_lens: torch.Tensor | None = None) -> Output:
        """Represent a batch.

        Args:
            feats: (B, T, F) float; what follows an utterance's end does not matter.
            feat_lens: (B,) int64 frames; None where every utterance has T.

        Raises:
            InputError: the shape does not fit the model.
        """
        feat_lens = self._check(feats, feat_lens)
        hidden_lens = feat_lens // self.downsample
        hiddens = self.hidden_states(feats, feat_lens)
        mask = valid_mask(hidden_lens, hiddens[0].shape[1])[..., None]
        return Output(
            [hidden.masked_fill(~mask, 0.0) for hidden in hiddens],
            hidden_lens,
            self.meta.frame_shift_ms * self.downsample,
        )

    def reps(
        self,
        feats: torch.Tensor,
        feat_lens: torch.Tensor | None = None,
        all_layers: bool = False,
        tile: bool = True,
    ) -> torch.Tensor:
        """Representations as one tensor.

        Args:
            feats: (B, T, F).
            feat_lens: (B,) int64, or None where every utterance has T.
            all_layers: (B, L, T', D) of all layers instead of (B, T', D) of the last.
            tile: repeat each vector of a down-sampling model, so that T' is r * (T // r), not T // r.
        """
        hiddens = self(feats, feat_lens).hiddens
        chosen = torch.stack(hiddens, dim=1) if all_layers else hiddens[-1]
        return chosen.repeat_interleave(self.downsample, dim=-2) if tile and self.downsample > 1 else chosen

    def _check(self, feats: torch.Tensor, feat_lens: torch.Tensor | None) -> torch.Tensor:
        if feats.ndim != 3 or feats.shape[-1] != self.meta.dim:
            want = (
                f"want (B, T, {self.meta.dim}), {self.meta.feature} frames of {self.meta.frame_shift_ms} ms"
            )
            raise InputError(f"feats has shape {tuple(feats.shape)}", where=self.name, mend=want)
        B, T, _ = feats.shape
        if feat_lens is None:
            return torch.full((B,), T, device=feats.device)
        if feat_lens.shape != (B,) or feat_lens.is_floating_point() or feat_lens.is_complex():
            shape, dtype = tuple(feat_lens.shape), feat_lens.dtype
            raise InputError(f"feat_lens is {dtype} {shape}", where=self.name, mend=f"want int64 ({B},)")
        if B and (int(feat_lens.max()) > T or int(feat_lens.min()) < 0):
            raise InputError(f"feat_lens has {int(feat_lens.max())} of {T} frames", where=self.name)
        return feat_lens.to(feats.device)


def valid_mask(lens: torch.Tensor, T: int) -> torch.Tensor:
    """(B, T) bool, True on the frames that belong to an utterance."""
    return torch.arange(T, device=lens.device)[None] < lens[:, None]
