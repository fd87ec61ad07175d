"""Masking for Mockingjay: runs of frames, hidden, swapped or kept; for a whole batch at once.

Liu, Yang, Chi, Hsu and Lee, "Mockingjay", ICASSP 2020, section 2.2.
"""

import math
from dataclasses import dataclass

import torch

from speechrep.data.padded import valid_mask

HIDE, SWAP = 0.8, 0.1  # shares of utterances whose chosen frames are set to 0, or exchanged for others


@dataclass
class Masked:
    """A batch to reconstruct."""

    inputs: torch.Tensor
    """(B, T, F) the altered copy of the frames."""
    chosen: torch.Tensor
    """(B, T) bool, the frames in the loss."""
    most: int
    """No utterance has more chosen frames than this."""


def mask_batch(
    feats: torch.Tensor, lens: torch.Tensor, share: float, span: int, original: bool, starts_only: bool
) -> Masked:
    """Choose and alter frames, with the global random generator of the tensors' device.

    In every utterance non-overlapping runs of ``span`` frames are chosen such that ``share`` of all frames is
    chosen in expectation, but one run at least. An utterance below 2 ``span`` frames has runs of half its
    length. One draw per utterance decides what happens to its runs: set to 0 (80 %), replaced by other runs
    of the same utterance (10 %), or left as they are (10 %). All chosen frames are in the loss.

    Args:
        feats: (B, T, F); not changed.
        lens: (B,) int64.
        share: of frames to choose.
        span: frames of a run.
        original: choose as the first implementation did: floor(share * length / span) starts, drawn without
            replacement from 0 to length - span - 2, so that runs may overlap, the last two frames are never
            chosen and short utterances have no run at all.
        starts_only: only the first frame of each run is in the loss, as in the first implementation.
    """
    B, T, _ = feats.shape
    device = feats.device
    spans = torch.full_like(lens, span) if original else (lens // 2).clamp(1, span)
    K = _most(share, span, T)
    starts, used = (_original_starts if original else _separate_starts)(lens, spans, share, K, T)
    sources = (torch.rand(starts.shape, device=device) * (lens - spans + 1).clamp(min=1)[:, None]).long()

    within = torch.arange(span, device=device)
    inside = used[..., None] & (within < spans[:, None, None])  # (B, K, C)
    frames = torch.where(inside, starts[..., None] + within, T).flatten(1)  # T: a column that is cut off
    taken = (sources[..., None] + within).clamp(max=T - 1).flatten(1)

    altered = torch.zeros(B, T + 1, dtype=torch.bool, device=device).scatter_(1, frames, True)[:, :T]
    chosen = altered
    if starts_only:
        first = torch.where(used, starts, T)
        chosen = torch.zeros(B, T + 1, dtype=torch.bool, device=device).scatter_(1, first, True)[:, :T]

    dice = torch.rand(B, 1, device=device)
    everywhere = torch.arange(T + 1, device=device).repeat(B, 1)
    source = everywhere.scatter(1, frames, torch.where(frames == T, T, taken))[:, :T]
    swapped = (dice >= HIDE) & (dice < HIDE + SWAP)
    source = torch.where(swapped, source, everywhere[:, :T])
    inputs = feats.gather(1, source[..., None].expand_as(feats))
    inputs = inputs.masked_fill((altered & (dice < HIDE))[..., None], 0.0)
    return Masked(inputs, chosen, min(T, K * (1 if starts_only else span)))


def _separate_starts(
    lens: torch.Tensor, spans: torch.Tensor, share: float, K: int, T: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Starts (B, K) of non-overlapping runs, and which of the K are used.

    k runs of c frames in n frames are k distinct places out of n - k (c - 1), pulled apart by c - 1 each.
    """
    device = lens.device
    wanted = lens * share / spans
    counts = (wanted + torch.rand(len(lens), device=device)).floor().long().clamp(min=1)  # rounds fairly
    counts = counts.minimum(lens // spans)  # 0 for an empty utterance
    places = lens - counts * (spans - 1)
    scores = torch.rand(len(lens), T, device=device).masked_fill(~valid_mask(places, T), -1.0)
    place = scores.topk(K, dim=1).indices
    k = torch.arange(K, device=device)
    used = k < counts[:, None]
    place = place.masked_fill(~used, T).sort(dim=1).values  # unused ones go last
    return place + k * (spans - 1)[:, None], used


def least_original(share: float, span: int) -> int:
    """The fewest frames in which :func:`mask_batch` chooses a run with ``original``."""
    return max(math.ceil(span / share), span + 2)


def _original_starts(
    lens: torch.Tensor, spans: torch.Tensor, share: float, K: int, T: int
) -> tuple[torch.Tensor, torch.Tensor]:
    device = lens.device
    counts = (lens * share).div(spans, rounding_mode="floor").long()
    places = (lens - spans - 1).clamp(min=0)
    counts = counts.minimum(places)
    scores = torch.rand(len(lens), T, device=device).masked_fill(~valid_mask(places, T), -1.0)
    return scores.topk(K, dim=1).indices, torch.arange(K, device=device) < counts[:, None]


def _most(share: float, span: int, T: int) -> int:
    """An upper bound of the runs in T frames, told without waiting for the lengths on the device.

    An utterance of n < 2 ``span`` frames has runs of n // 2, hence at most 3 ``share`` of them, rounded up.
    """
    return min(T, max(1, math.ceil(T * share / span), math.ceil(3 * share)))
