"""Windows against a slow loop; batch and padding do not matter."""

import pytest
import torch

from speechrep.upstream import windows
from speechrep.upstream.windows import encode_in_windows


def encode(frames, lens):
    """Two layers that see the whole window: the sum of its valid frames, and each frame's place in it."""
    valid = (torch.arange(frames.shape[1]) < lens[:, None])[..., None]
    total = (frames * valid).sum(1, keepdim=True).expand_as(frames)
    return [total, frames + torch.arange(frames.shape[1])[None, :, None]]


def slow(frames, window):
    """One utterance (T, F): every frame from the window in whose middle it lies most nearly."""
    T, hop = len(frames), window // 2
    starts = [0]
    while starts[-1] + window < T:
        starts.append(starts[-1] + hop)
    out = []
    for t in range(T):
        holding = [s for s in starts if s <= t < s + window]
        best = min(holding, key=lambda s: (abs(t - s - window // 2 + 0.25), s))
        piece = frames[best : best + window]
        layers = encode(piece[None], torch.tensor([len(piece)]))
        out.append([layer[0, t - best] for layer in layers])
    return [torch.stack([row[i] for row in out]) for i in range(2)]


@pytest.mark.parametrize("window", [2, 4, 8, 20])
@pytest.mark.parametrize("at_once", [1, 1024])
def test_equals_a_loop_over_frames_whatever_the_batch(window, at_once, monkeypatch):
    monkeypatch.setitem(windows.FRAMES_AT_ONCE, False, at_once)
    torch.manual_seed(0)
    lens = torch.tensor([31, 8, 1, 17, 4])
    frames = torch.randn(5, 35, 3)
    got = encode_in_windows(encode, frames, lens, window)
    for i, n in enumerate(lens.tolist()):
        for layer, want in zip(got, slow(frames[i, :n], window), strict=True):
            torch.testing.assert_close(layer[i, :n], want)
            assert not layer[i, n:].any()
