"""Make other speakers of the same frames: change the tempo, and the length of the vocal tract.

Both resample by straight lines between neighbours, every utterance by its own random factor. Warping the
frequency axis (vocal tract length perturbation, Jaitly and Hinton 2013) makes sense only where neighbouring
dimensions are neighbouring frequencies, as in a filter bank.
"""

import torch


def warp(
    feats: torch.Tensor, feat_lens: torch.Tensor, tempo: float, frequency: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Resample a batch.

    Args:
        feats: (B, T, F).
        feat_lens: (B,).
        tempo: speeds are drawn uniformly from 1 - tempo to 1 + tempo; no utterance gets shorter than
            ``shortest(feat_lens, tempo)``.
        frequency: the same for the frequency axis, whose low end stays; above the last value it is repeated.

    Returns:
        (B, T', F) and lengths (B,).
    """
    B, _, F = feats.shape
    if frequency:
        factor = _factors(B, frequency, feats)
        places = torch.arange(F, device=feats.device) * factor[:, None]
        feats = _resample(feats, places, torch.full_like(feat_lens, F), axis=2)
    if tempo:
        factor = _factors(B, tempo, feats)
        lens = (feat_lens / factor).long().clamp(min=1)
        places = torch.arange(int(lens.max()), device=feats.device) * factor[:, None]
        feats, feat_lens = _resample(feats, places, feat_lens, axis=1), lens
    return feats, feat_lens


def shortest(feat_lens: torch.Tensor, tempo: float) -> torch.Tensor:
    """The fewest frames (B,) that :func:`warp` may leave of utterances."""
    return torch.clamp((feat_lens / (1 + tempo)).long(), min=1) if tempo else feat_lens


def _factors(count: int, width: float, like: torch.Tensor) -> torch.Tensor:
    return 1 + width * (2 * torch.rand(count, device=like.device) - 1)


def _resample(feats: torch.Tensor, places: torch.Tensor, lens: torch.Tensor, axis: int) -> torch.Tensor:
    """Values at fractional ``places`` (B, P) along an axis; beyond ``lens`` (B,) the last one."""
    last = (lens - 1).clamp(min=0)[:, None]
    lower = torch.minimum(places.floor().long(), last)
    upper = torch.minimum(lower + 1, last)
    share = (places - lower).clamp(0, 1).to(feats)
    shape = list(feats.shape)
    shape[axis] = places.shape[1]
    view = (slice(None), slice(None), None) if axis == 1 else (slice(None), None, slice(None))
    below, above = (feats.gather(axis, index[view].expand(shape)) for index in (lower, upper))
    return below + (above - below) * share[view]
