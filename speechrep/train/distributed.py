"""The processes of one training run: rank, device, collectives; all of it trivial for one process."""

import importlib
import os
from typing import Any

import torch
import torch.distributed as dist

from speechrep.errors import InputError


def start(ngpu: int) -> torch.device:
    """Join the process group if torchrun started this process as one of several, and pick the device.

    Args:
        ngpu: 0 for the CPU, else the number of GPUs of this machine.

    Raises:
        InputError: GPUs that are not there, or half of the variables that torchrun sets.
    """
    device = choose_device(ngpu)
    if _number("WORLD_SIZE", 1) > 1 and not dist.is_initialized():
        if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
            raise InputError(
                f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but there is no {missing[0]}",
                where="environment",
                mend="unset WORLD_SIZE, which is left of something else; --ngpu starts processes",
            )  # fmt: skip
        # Its functions keep the group that exists when it is imported, as a default; DistributedDataParallel
        # imports it. A group so kept is never taken down, and its threads may abort the process at its exit.
        importlib.import_module("torch.distributed.nn")
        dist.init_process_group("nccl" if ngpu else "gloo")
    return device


def choose_device(ngpu: int) -> torch.device:
    """The device of this process, which is left to itself: 0 for the CPU, else a GPU."""
    require_gpus(ngpu)
    device = torch.device("cuda", _number("LOCAL_RANK", 0)) if ngpu else torch.device("cpu")
    if ngpu:
        torch.cuda.set_device(device)
        torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for every shape, and batches differ
    return device


def _number(name: str, usual: int) -> int:
    """A variable of the environment, as torchrun sets it."""
    text = os.environ.get(name, str(usual))
    if not text.isdecimal():
        raise InputError(f"{name} is {text!r}, want a number", where="environment", mend=f"unset {name}")
    return int(text)


def require_gpus(ngpu: int) -> None:
    """Refuse to use GPUs that are not there."""
    if ngpu and not torch.cuda.is_available():
        raise InputError(f"ngpu is {ngpu} but PyTorch sees no GPU", mend="--ngpu 0 runs on the CPU")
    if ngpu > torch.cuda.device_count():
        raise InputError(f"ngpu is {ngpu} but this machine has {torch.cuda.device_count()}")


def stop() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def gather(value: Any) -> list[Any]:
    """Every process's plain value, in rank order, on every process."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values
