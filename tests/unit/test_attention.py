"""Attention past padding: the flash kernels' way of telling sequences gives what masks give."""

import itertools

import pytest
import torch

from speechrep.upstream import attention
from speechrep.upstream.attention import Valid, attend, valid_frames
from speechrep.upstream.transformer import TransformerLayer

LENS = torch.tensor([7, 1, 4, 0, 6])


@pytest.fixture
def flash(monkeypatch):
    """As on a GPU with flash kernels, which take float64 here."""
    monkeypatch.setattr(attention, "_has_flash", lambda device, head_size: True)
    monkeypatch.setattr(attention, "HALVES", (torch.float64,))


def slow_kernel(q, k, v, begins_q, begins_k, max_q, max_k, dropout, causal, debug):
    """What the kernels promise: sequence by sequence; rows of no sequence are not written."""
    assert begins_q.dtype == begins_k.dtype == torch.int32
    assert (dropout, causal, debug) == (0.0, False, False)
    assert int(begins_q.diff().max()) <= max_q and int(begins_k.diff().max()) <= max_k
    found = torch.full_like(q, torch.nan)
    spans = [list(itertools.pairwise(begins)) for begins in (begins_q.tolist(), begins_k.tolist())]
    for (q0, q1), (k0, k1) in zip(*spans, strict=True):
        scores = torch.einsum("mhd,thd->hmt", q[q0:q1], k[k0:k1]) / q.shape[-1] ** 0.5
        found[q0:q1] = torch.einsum("hmt,thd->mhd", scores.softmax(-1), v[k0:k1])
    return found, None, None, None, None


@pytest.mark.parametrize("M", [7, 3, 1])
def test_sequences_end_to_end_are_masks(flash, monkeypatch, M):
    monkeypatch.setattr(attention, "_FLASH", slow_kernel)
    torch.manual_seed(0)
    q = torch.randn(5, M, 2, 8, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(5, 7, 2, 8, dtype=torch.float64, requires_grad=True) for _ in "kv")
    valid = valid_frames(LENS, 7, head_size=8)
    both = [attend(q, k, v, way, 0.0, False) for way in (valid, Valid(valid.mask, None))]
    torch.testing.assert_close(*both)
    out = torch.randn(both[0].shape, dtype=torch.float64)
    torch.testing.assert_close(*(torch.autograd.grad((x * out).sum(), [q, k, v]) for x in both))


def test_begins_are_in_order_and_cover_every_frame(flash):
    begins = valid_frames(LENS, 7, head_size=8).begins.tolist()
    assert begins == [0, 7, 7, 8, 14, 18, 21, 22, 28, 34, 35]


def test_the_kernel_takes_what_it_is_given_and_has_a_gradient(flash, monkeypatch):
    """On PyTorch's device without data: shapes, types and the gradient's formula are the real ones."""
    monkeypatch.setattr(attention, "HALVES", (torch.bfloat16,))
    with torch.device("meta"):
        q = torch.empty(5, 3, 2, 8, dtype=torch.bfloat16, requires_grad=True)
        k, v = (torch.empty(5, 7, 2, 8, dtype=torch.bfloat16, requires_grad=True) for _ in "kv")
        found = attend(q, k, v, valid_frames(torch.empty(5, dtype=torch.int64), 7, head_size=8), 0.1, False)
    assert found.shape == q.shape
    assert [grad.shape for grad in torch.autograd.grad(found.sum(), [q, k, v])] == [q.shape, k.shape, v.shape]


@pytest.mark.parametrize("has_flash", [True, False])
def test_compiled_once_for_batches_of_all_shapes(flash, monkeypatch, has_flash):
    monkeypatch.setattr(attention, "_has_flash", lambda device, head_size: has_flash)
    graphs = []
    layer = TransformerLayer(16, 2, 32, "gelu", 0.1, 0.1, 1e-12).to("meta", torch.float64)
    layer.compile(dynamic=True, fullgraph=True, backend=lambda graph, inputs: graphs.append(1) or graph)
    for B, T, M in ((3, 20, 5), (4, 31, 7), (2, 50, 9)):
        valid = valid_frames(torch.empty(B, dtype=torch.int64, device="meta"), T, head_size=8)
        hidden = torch.empty(B, T, 16, device="meta", dtype=torch.float64)
        assert layer(hidden, valid).shape == hidden.shape
        places = torch.empty(B, M, dtype=torch.int64, device="meta")
        assert layer(hidden, valid, places=places).shape == (B, M, 16)
    assert len(graphs) == 2  # with and without places


@pytest.mark.parametrize(
    ("device", "head_size", "capability", "on", "built", "has"),
    [
        ("cuda", 64, (9, 0), True, True, True),
        ("cuda", 64, (8, 0), True, True, True),
        ("cuda", 192, (8, 6), True, True, True),
        ("cuda", 200, (8, 6), True, True, False),
        ("cuda", 64, (7, 5), True, True, False),
        ("cuda", 60, (9, 0), True, True, False),
        ("cuda", 64, (9, 0), False, True, False),
        ("cuda", 64, (9, 0), True, False, False),
        ("cpu", 64, (9, 0), True, True, False),
    ],
)
def test_where_flash_kernels_run(monkeypatch, device, head_size, capability, on, built, has):
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: built)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.backends.cuda, "flash_sdp_enabled", lambda: on)
    assert attention._has_flash(torch.device(device), head_size) is has


def test_amds_kernels_are_others(monkeypatch):
    for name in ("is_flash_attention_available", "flash_sdp_enabled"):
        monkeypatch.setattr(torch.backends.cuda, name, lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 4))
    monkeypatch.setattr(torch.version, "hip", "6.2")
    assert not attention._has_flash(torch.device("cuda"), 64)
