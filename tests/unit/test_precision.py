"""A warning where a number format is emulated."""

import platform

import pytest
import torch

from speechrep.upstream.precision import warn_if_emulated


@pytest.mark.parametrize(
    ("precision", "device", "capability", "told"),
    [
        ("bf16", "cpu", "AVX2", True),
        ("fp16", "cpu", "DEFAULT", True),
        ("bf16", "cpu", "AVX512", False),
        ("bf16", "cuda", "AVX2", False),
        ("fp32", "cpu", "AVX2", False),
    ],
)
def test_told_on_processors_without_it(monkeypatch, caplog, precision, device, capability, told):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    warn_if_emulated(precision, torch.device(device))
    assert ("--precision fp32 is faster" in caplog.text) == told
