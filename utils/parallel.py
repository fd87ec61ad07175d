#!/usr/bin/env python3
"""Run several commands, some at once, sharing the cores; exit 1 if any failed.

    printf '%s\\0' 2 echo a 2 echo b | utils/parallel.py --slots 2 --cores 2

Each command on the standard input is the number of its words and the words, all ended by NUL.
"""

import argparse
import os
import sys

from children import Children
from jobs import THREADS


def main() -> None:
    """A failed command ends those in a row, not those side by side; an interrupt ends all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slots", type=int, required=True, help="commands at once")
    parser.add_argument("--cores", type=int, required=True, help="cores to share among those running at once")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs to share among those running at once")
    args = parser.parse_args()
    commands = parse(sys.stdin.buffer.read())
    at_once = max(1, min(args.slots, len(commands)))
    free, slots = list(range(at_once)), {}
    children = Children(grace_s=30)
    failed = 0
    while commands or children.live:
        while commands and free and not children.signal:
            slot = free.pop(0)
            child = children.start(commands.pop(0), env=environment(slot, at_once, args.cores, args.gpus))
            slots[child] = slot
        ended = children.finished()
        for child in ended:
            free.append(slots.pop(child))
            failed += bool(child.returncode)
        if children.signal or (failed and at_once == 1):
            commands.clear()
        if not ended:
            children.wait()
    children.end_like_signal()
    if failed:
        sys.exit(1)


def environment(slot: int, at_once: int, cores: int, gpus: int) -> dict[str, str]:
    """The environment of a command: its share of the cores, its GPU, and no bar if others print too."""
    threads = str(max(1, cores // at_once))
    own = dict.fromkeys(THREADS, threads)
    if at_once > 1:
        own["SPEECHREP_PROGRESS"] = "log"
        if gpus:
            shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            devices = shown.split(",") if shown else [str(number) for number in range(gpus)]
            own["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    return os.environ | own


def parse(data: bytes) -> list[list[str]]:
    """The commands in the standard input."""
    words = os.fsdecode(data).split("\0")[:-1]
    commands = []
    while words:
        count = int(words[0])
        commands.append(words[1 : count + 1])
        del words[: count + 1]
    return commands


if __name__ == "__main__":
    main()
