"""Self-attention that does not see padding, by the fastest kernel there is.

PyTorch's flash kernels of a GPU take no mask. They do take sequences of any length, laid end to end, with the
place where each begins. To them a padded batch (B, T) is such a row of B T frames already: an utterance's
frames are one sequence, and its padding is another, which nobody looks at. So nothing is copied, and the
lengths stay on the device.
"""

from typing import NamedTuple

import torch
from torch import nn

from speechrep.data.padded import valid_mask

HALVES = (torch.bfloat16, torch.float16)  # the formats of the flash kernels
_FLASH = torch.ops.aten._flash_attention_forward


class Valid(NamedTuple):
    """The frames of a batch that may be attended to, as either kind of kernel wants to be told."""

    mask: torch.Tensor
    """(B, 1, 1, T) bool, True on valid frames."""
    begins: torch.Tensor | None
    """(2 B + 1,) int32: where each utterance and its padding begin, and the end; None for masks."""


def valid_frames(lens: torch.Tensor, T: int, head_size: int) -> Valid:
    """The first frames of each utterance.

    Args:
        lens: (B,) int64. An empty utterance has one frame: attention to nothing would be NaN.
        T: frames of the batch.
        head_size: values of a head.
    """
    lens = lens.clamp(min=1)
    begins = None
    if _has_flash(lens.device, head_size):
        begins = _begins(lens, torch.arange(len(lens) + 1, device=lens.device) * T)
    return Valid(valid_mask(lens, T)[:, None, None], begins)


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, valid: Valid | None, dropout: float, causal: bool
) -> torch.Tensor:
    """What each query finds, (B, M, heads, D).

    Args:
        q: (B, M, heads, D).
        k, v: (B, T, heads, D).
        valid: the frames of k and v to look at; None for all.
        dropout: of the attention weights.
        causal: whether a query sees only the frames up to its own; excludes ``valid``.
    """
    if valid is not None and valid.begins is not None and q.dtype in HALVES:
        return _flash(q, k, v, valid.begins, dropout)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    mask = None if valid is None else valid.mask
    found = nn.functional.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
    return found.transpose(1, 2)


def _flash(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, begins: torch.Tensor, dropout: float
) -> torch.Tensor:
    """All queries of an utterance look at its frames; there is no query that looks at its padding."""
    (B, M), T = q.shape[:2], k.shape[1]
    every = _begins(M, torch.arange(B + 1, device=q.device) * M)
    flat = [x.flatten(0, 1) for x in (q, k, v)]
    return _FLASH(*flat, every, begins, M, T, dropout, False, False)[0].unflatten(0, (B, M))


def _begins(lens: torch.Tensor | int, rows: torch.Tensor) -> torch.Tensor:
    """Where utterances and their padding begin in turn, and the end; int32.

    Args:
        lens: (B,), or of all.
        rows: (B + 1,) where utterances begin, and the end. It stays a tensor so that torch.compile does
            not make a variant for each shape.

    Returns:
        (2 B + 1,)
    """
    pairs = torch.stack([rows[:-1], rows[:-1] + lens], 1).flatten()
    return torch.cat([pairs, rows[-1:]]).to(torch.int32)


def _has_flash(device: torch.device, head_size: int) -> bool:
    """Whether the kernels run there: NVIDIA's from Ampere on, if built in and not switched off.

    Above 192 values a head's gradient, with dropout, does not fit into the smaller ones of them.
    """
    if device.type != "cuda" or torch.version.hip or head_size % 8 or head_size > 192:
        return False
    backends = torch.backends.cuda
    built_in = getattr(backends, "is_flash_attention_available", lambda: True)  # torch 2.4 does not tell
    if not (backends.flash_sdp_enabled() and built_in()):
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)
