"""A long utterance in overlapping windows, each seen alone: for models that know no positions beyond one.

A model trained on crops of W frames has never met a later position, and what it makes of one is far worse
than what it makes of the first W. So an utterance longer than W is cut into windows of W frames that begin
every W // 2 frames, and each frame is taken from the window in which it lies nearest to the middle.
"""

from collections.abc import Callable

import torch

from speechrep.data.padded import zero_padding

Encode = Callable[[torch.Tensor, torch.Tensor], list[torch.Tensor]]

# On a CPU what is computed at once should stay in its cache: 4096 frames of 256 values take
# 1.35 times as long.
FRAMES_AT_ONCE = {False: 1024, True: 32768}


def encode_in_windows(
    encode: Encode, frames: torch.Tensor, lens: torch.Tensor, window: int
) -> list[torch.Tensor]:
    """Encode a batch window by window.

    What an utterance becomes depends on nothing else in the batch, nor on its padding.

    Args:
        encode: (N, W, F) and their lengths (N,) to a list of (N, W, H), one per layer.
        frames: (B, T, F).
        lens: (B,) int64.
        window: W, at least 2.

    Returns:
        (B, T, H) per layer; 0 on padding.
    """
    B, T, _ = frames.shape
    device = frames.device
    at_once = max(1, FRAMES_AT_ONCE[frames.is_cuda] // window)
    hop = window // 2
    counts = 1 + (lens - window).clamp(min=0).add(hop - 1).div(hop, rounding_mode="floor")  # windows, (B,)
    utterance = torch.repeat_interleave(torch.arange(B, device=device), counts)
    first = counts.cumsum(0) - counts  # each utterance's first window
    start = (torch.arange(len(utterance), device=device) - first[utterance]) * hop

    padded = torch.nn.functional.pad(frames, (0, 0, 0, window))
    within = torch.arange(window, device=device)
    parts: list[list[torch.Tensor]] = []
    for chunk in range(0, len(utterance), at_once):
        of, begin = utterance[chunk : chunk + at_once], start[chunk : chunk + at_once]
        # the batch may end inside a window; its frames there are beyond every utterance, whichever they are
        inputs = padded[of[:, None], (begin[:, None] + within).clamp(max=T + window - 1)]
        parts.append(encode(inputs, (lens[of] - begin).clamp(max=window)))

    frame = torch.arange(T, device=device).expand(B, T)
    nearest = (frame - window // 2 + hop // 2).div(hop, rounding_mode="floor").clamp(min=0)
    nearest = nearest.minimum(counts[:, None] - 1)
    row, column = first[:, None] + nearest, (frame - nearest * hop).clamp(max=window - 1)
    return [zero_padding(torch.cat(layer)[row, column], lens) for layer in zip(*parts, strict=True)]
