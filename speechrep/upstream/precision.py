"""Number formats of the forward pass, and what they cost."""

import logging
import platform

import torch

logger = logging.getLogger(__name__)


def warn_if_emulated(precision: str, device: torch.device) -> None:
    """Tell that this CPU emulates a format of 16 bits, which takes it many times longer than fp32.

    All x86 processors without AVX-512 do; of others nothing is told.

    Args:
        precision: fp32, bf16 or fp16.
        device: where the model computes.
    """
    if precision == "fp32" or device.type != "cpu" or platform.machine() != "x86_64":
        return
    capability = torch.backends.cpu.get_cpu_capability()
    if not capability.startswith("AVX512"):
        logger.warning(
            "%s is slow on this CPU, which has %s: --precision fp32 is faster", precision, capability
        )
