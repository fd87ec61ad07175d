"""SpecAugment (Park et al. 2019, without time warping): hide random spans of time and of dimensions."""

import torch

MAX_SHARE = 0.2  # of an utterance: no time span is longer


def spec_augment(
    feats: torch.Tensor,
    feat_lens: torch.Tensor,
    time_masks: int,
    time_width: int,
    freq_masks: int,
    freq_width: int,
) -> torch.Tensor:
    """Set random spans to zero, the mean of normalised features.

    Args:
        feats: (B, T, F), normalised.
        feat_lens: (B,).
        time_masks, freq_masks: spans per utterance.
        time_width, freq_width: longest span in frames and in dimensions; drawn uniformly from 0 to it.

    Returns:
        (B, T, F); the argument is left as it is.
    """
    _, T, F = feats.shape
    frames = torch.arange(T, device=feats.device)
    dims = torch.arange(F, device=feats.device)
    widest = torch.clamp((feat_lens * MAX_SHARE).long(), max=time_width)
    hidden = _spans(frames, feat_lens, widest, time_masks)[:, :, None]  # (B, T, 1)
    all_dims = torch.full_like(feat_lens, F)
    hidden = hidden | _spans(dims, all_dims, all_dims.clamp(max=freq_width), freq_masks)[:, None, :]
    return feats.masked_fill(hidden, 0.0)


def _spans(positions: torch.Tensor, lens: torch.Tensor, widest: torch.Tensor, count: int) -> torch.Tensor:
    """(B, len(positions)) True inside any of ``count`` random spans per row."""
    uniform = torch.rand(2, len(lens), count, device=lens.device)
    width = (uniform[0] * (widest[:, None] + 1)).long()  # (B, count)
    start = (uniform[1] * (lens[:, None] - width + 1)).long()
    inside = (positions >= start[..., None]) & (positions < (start + width)[..., None])  # (B, count, P)
    return inside.any(dim=1)
