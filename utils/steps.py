#!/usr/bin/env python3
"""Run several steps of a recipe, some at once, sharing the cores; exit 1 if any failed.

    utils/steps.py --slots 2 --cores 2 <steps

Each step on the standard input is the number of its words and the words, those of utils/step.py, all ended by
NUL. What is up to date is seen here, at its turn, and starts no process.
"""

import argparse
import os
import sys
from pathlib import Path

import step
from children import Children
from jobs import THREADS

STEP = str(Path(__file__).with_name("step.py"))


def main() -> None:
    """A failed step ends those in a row, not those side by side; an interrupt ends all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slots", type=int, required=True, help="steps at once")
    parser.add_argument("--cores", type=int, required=True, help="cores to share among those running at once")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs to share among those running at once")
    args = parser.parse_args()
    waiting = parse(sys.stdin.buffer.read())
    at_once = max(1, min(args.slots, len(waiting)))
    free, slots = list(range(at_once)), {}
    children = Children(grace_s=30)
    failed = 0
    while waiting or slots:
        ended = children.finished()
        for child in ended:
            free.append(slots.pop(child))
            failed += bool(child.returncode)
        if children.signal or (failed and at_once == 1):
            waiting.clear()
        if waiting and free:
            words = waiting.pop(0)
            asked = step.read_step(words)
            try:
                with children.forwarding_only():
                    is_due = step.due(asked)
            except step.ERRORS as error:
                step.say(step.told(asked, error))
                failed += 1
                continue
            if is_due and not children.signal:
                slot = free.pop(0)
                own = environment(slot, at_once, args.cores, args.gpus)
                slots[children.start([sys.executable, STEP, *words], env=own)] = slot
        elif slots and not ended:
            children.wait()
    children.end_like_signal()
    if failed:
        sys.exit(1)


def environment(slot: int, at_once: int, cores: int, gpus: int) -> dict[str, str]:
    """The environment of a step: its share of the cores, its GPU, and no bar if others print too."""
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
    """The words of each step in the standard input."""
    words = os.fsdecode(data).split("\0")[:-1]
    steps = []
    while words:
        count = int(words[0])
        steps.append(words[1 : count + 1])
        del words[: count + 1]
    return steps


if __name__ == "__main__":
    main()
