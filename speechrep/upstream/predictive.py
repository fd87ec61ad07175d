"""The objective of APC, for any model that looks only back."""

from typing import Any

import torch

from speechrep.data.padded import valid_mask, zero_padding
from speechrep.errors import InputError
from speechrep.upstream.base import Upstream


class Predictive(Upstream):
    """An upstream with a ``postnet``, which maps its last layer to the frame ``config.time_shift`` ahead."""

    postnet: torch.nn.Linear
    loss_on = "valid"
    """Frames in the loss: "valid", or "padded" for all of a batch's; on padding the last layer is 0 then."""

    def shortest(self) -> int:
        """One frame to predict from, one to predict."""
        return self.config.time_shift + 1

    def predict(self, feats: torch.Tensor, feat_lens: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T, F): at frame t the prediction of frame t + ``time_shift``."""
        return self.postnet(self.hidden_states(feats, feat_lens)[-1])

    def pretrain_loss(
        self, feats: torch.Tensor, feat_lens: torch.Tensor | None, targets: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """L1 between prediction and the frame ``time_shift`` ahead, mean over F, summed over frames.

        Outside training also ``copy``, the same loss of predicting no change.
        """
        if targets is not None:
            raise InputError(f"{self.name} predicts its own input, not other features")
        n, (B, T, _) = self.config.time_shift, feats.shape
        if n >= T:
            return self.postnet.bias.sum() * 0, {"weight": 0.0}
        past, future = feats[:, :-n], feats[:, n:]
        past_lens = future_lens = None
        if feat_lens is not None:
            past_lens, future_lens = feat_lens.clamp(max=T - n), feat_lens - n
        future = zero_padding(future, future_lens)
        if future_lens is None or self.loss_on == "padded":
            mask = torch.ones(B, T - n, dtype=torch.bool, device=feats.device)
        else:
            mask = valid_mask(future_lens, T - n)
        stats: dict[str, Any] = {"weight": mask.sum()}
        if not self.training:
            stats["copy"] = _masked_l1(zero_padding(past, past_lens), future, mask)
        hidden = self.hidden_states(past, past_lens)[-1]
        if self.loss_on == "padded":  # as sequences that were packed come back
            hidden = zero_padding(hidden, future_lens)
        return _masked_l1(self.postnet(hidden), future, mask), stats


def _masked_l1(prediction: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Summed over the frames (B, T) where ``mask``, mean over features."""
    error = (prediction.float() - target).abs().mean(-1)
    return error.masked_fill(~mask, 0.0).sum()
