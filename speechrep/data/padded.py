"""Utterances of different length in one tensor: padding, and what masks it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def pad_arrays(
    arrays: Sequence[np.ndarray], value: float = 0.0, least: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Arrays of different length to one tensor.

    Args:
        arrays: B arrays (T_i, ...) of one dtype.
        value: what fills the rest.
        least: of T.

    Returns:
        (B, T, ...), T that of the longest, and the lengths (B,) int64.
    """
    lens = torch.tensor([len(array) for array in arrays], dtype=torch.int64)
    T = max(int(lens.max()), least)
    padded = np.empty((len(arrays), T, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)], row[len(array) :] = array, value
    return torch.from_numpy(padded), lens


def pad_features(items: Sequence[dict[str, Any]], least: int = 0) -> dict[str, Any]:
    """What every batch of items with ``utt_id`` and ``feats`` (T_i, ...) has.

    Returns:
        ``utt_ids``, ``feats`` (B, T, ...) and ``feat_lens`` (B,) int64, as of :func:`pad_arrays`.
    """
    feats, feat_lens = pad_arrays([item["feats"] for item in items], least=least)
    return {"utt_ids": [item["utt_id"] for item in items], "feats": feats, "feat_lens": feat_lens}


def valid_mask(lens: torch.Tensor, T: int) -> torch.Tensor:
    """(B, T) bool, True on the frames that belong to an utterance."""
    return torch.arange(T, device=lens.device)[None] < lens[:, None]


def zero_padding(frames: torch.Tensor, lens: torch.Tensor | None) -> torch.Tensor:
    """(B, T, D) with 0 in place of whatever follows an utterance's end, NaN too: 0 * NaN would be NaN."""
    if lens is None:
        return frames
    return frames.masked_fill(~valid_mask(lens, frames.shape[1])[..., None], 0.0)


def stack_frames(frames: torch.Tensor, count: int) -> torch.Tensor:
    """(B, T, D) to (B, T // count, count D): neighbours side by side, a rest shorter than that dropped."""
    B, T, D = frames.shape
    return frames[:, : T // count * count].reshape(B, T // count, count * D)
