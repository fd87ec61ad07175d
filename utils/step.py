#!/usr/bin/env python3
"""Run a step of a recipe unless it is up to date: same command, same inputs, outputs there.

    utils/step.py --marker exp/x/.done/apc --log exp/x/logs/apc.log --in conf/apc.yaml dump/fbank/train \\
        --out exp/x/apc/model.safetensors --own exp/x/apc -- python -m speechrep.bin.pretrain ...

The marker is written last. It holds checksums of what nobody edits (--sealed), which later steps compare.
A step that was interrupted and is asked for again, unchanged, finds what it left and may continue; a step
that changed finds what it owns (--own) moved aside to NAME.old, or NAME.unfinished.old if it was not done;
asked for as it was before, it gets NAME.old back.
"""

import argparse
import contextlib
import difflib
import os
import re
import shlex
import signal
import socket
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from aside import lies_aside, mend_exchange, set_aside, take_back
from children import Children
from fingerprint import fingerprint
from jobs import status
from lock import lock
from marker import Step, read_marker
from seals import refuse_damaged, seal, sealed_files

from speechrep.errors import InputError, telling_of
from speechrep.io.files import write_json
from speechrep.provenance import commit, now

# Where or how fast a step runs does not count as a change of it.
FREE_OPTIONS = {"--nj", "--ngpu", "--cmd"}
ERRORS = (InputError, OSError, UnicodeError)  # of files: missing, damaged, or on a full disk
LOG_LINES = 20  # of a failed step's log
NEWS_S = 60  # a step that takes longer tells how far it is, then after twice the time, at least every hour


def main() -> None:
    """Exit with the status of the command; 0 if there was nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is a child to forward it to
    step = read_step(sys.argv[1:])
    try:
        if state := due(step):
            with lock(step.marker.with_name(step.name + ".lock")):
                run(step, state)
    except ERRORS as error:
        sys.exit(told(step, error))


def read_step(words: Sequence[str]) -> Step:
    """What the words of a command line ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--marker", type=Path, required=True, help="file that tells that the step is done")
    parser.add_argument("--log", required=True, help="file for what the command prints")
    parser.add_argument("--in", dest="inputs", nargs="+", action="extend", default=[], metavar="PATH",
                        help="files and folders whose change makes the step run again")  # fmt: skip
    parser.add_argument("--out", dest="outputs", nargs="+", action="extend", default=[], metavar="PATH",
                        help="files and folders that the step must leave behind")  # fmt: skip
    parser.add_argument("--own", dest="owns", nargs="+", action="extend", default=[], metavar="FOLDER",
                        help="folders only this step writes: moved aside when it starts anew")  # fmt: skip
    parser.add_argument("--sealed", nargs="+", action="extend", default=[], metavar="PATH",
                        help="outputs that nobody edits: who reads them compares checksums")  # fmt: skip
    parser.add_argument(
        "--cmd", default="", help="launcher: utils/run.py (the default) or utils/slurm.py ..."
    )
    parser.add_argument("--dry-run", choices=["true", "false"], default="false",
                        help="only tell whether the step would run, and why")  # fmt: skip
    parser.add_argument("--verbose", type=int, default=1,
                        help="0: only tell of failures, 1: a line or two, 2: the command too")  # fmt: skip
    parser.add_argument("command", nargs="+", help="-- and the command")
    args = parser.parse_args(words)
    return Step(
        args.marker.name, args.marker, Path(args.log),
        *(
            tuple(map(Path, dict.fromkeys(paths)))
            for paths in (args.inputs, args.outputs, args.owns, args.sealed)
        ),
        tuple(shlex.split(args.cmd) or [sys.executable, str(Path(__file__).with_name("run.py"))]),
        tuple(args.command), args.dry_run == "true", args.verbose,
    )  # fmt: skip


def due(step: Step) -> dict | None:
    """What the step's products depend on, if it must run; else why not is told, and nothing returned.

    Raises:
        InputError, OSError, UnicodeError: an input is missing or cannot be read.
    """
    if step.dry_run:
        foresee(step)
        return None
    state = state_of(step)
    if reason(step, state):
        return state
    tell(step, "up to date")  # without the lock: others may see so, too, at once
    return None


def run(step: Step, state: dict) -> None:
    """Run the step, unless another run has just done so."""
    mend_exchange(step)
    why = reason(step, state)
    if not why:
        tell(step, "up to date")
        return
    refuse_damaged(step.inputs)
    started = step.marker.with_name(step.name + ".started")
    if read_marker(started) == state:
        why += "; goes on where it was interrupted"
    elif lies_aside(step, state):
        take_back(step)
        started.unlink(missing_ok=True)
        tell(step, "up to date: made so before, taken back from .old")
        return
    else:
        for moved in set_aside(step):
            say(f"step.py: {moved}")
    tell(step, f"runs: {why}" + (f"\n    {shlex.join(step.command)}" if step.verbose > 1 else ""))
    step.marker.unlink(missing_ok=True)
    write_json(started, state)
    step.log.parent.mkdir(parents=True, exist_ok=True)
    begin, began = now(), time.monotonic()
    children = Children(grace_s=20)
    child = children.start([*step.launcher, str(step.log), *step.command])
    next_news = NEWS_S
    while children.live:
        children.finished()
        children.wait()
        seconds = time.monotonic() - began
        if seconds >= next_news and children.live:
            next_news = min(2 * seconds, seconds + 3600)
            tell(step, f"{duration(seconds)}: {last_line(step.log) or 'no word yet'}")
    seconds = time.monotonic() - began
    if children.signal:
        tell(step, f"interrupted after {duration(seconds)}; asked for again, it goes on")
        children.end_like_signal()
    if child.returncode:
        fail(step, status(step.log) or child.returncode, f"failed after {duration(seconds)}")
    if missing := [str(path) for path in step.outputs if not path.exists()]:
        fail(step, 1, f"the command succeeded but did not write {missing[0]}")
    done = {"seconds": round(seconds, 1), "started": begin, "host": socket.gethostname(), "commit": commit()}
    made = {"outputs": [str(path) for path in step.outputs], "sealed": seal(step.sealed, step.marker)}
    write_json(step.marker, state | made | done)
    started.unlink()
    tell(step, f"done in {duration(seconds)}")


def state_of(step: Step) -> dict:
    """What the step's products depend on."""
    return {"command": significant(step.command), "inputs": fingerprints(step.inputs)}


def reason(step: Step, state: dict) -> str:
    """Why the step must run; empty if it need not."""
    done = read_marker(step.marker)
    if done is None:
        return "first time"
    if done["command"] != state["command"]:
        return "command changed: " + difference(done["command"], state["command"])
    before, current = done["inputs"], state["inputs"]
    for path in sorted(before.keys() | current.keys()):
        if before.get(path) != current.get(path):
            how = "is gone" if path not in current else "changed" if path in before else "is new"
            return f"input {path} {how}"
    for path in (*step.outputs, *sealed_files(done, step.marker)):
        if not path.exists():
            return f"output {path} is missing"
    return ""


def foresee(step: Step) -> None:
    """Tell what the step would do, taking into account the steps foreseen before it."""
    # run.sh names a scratch file that collects what would be made anew.
    collected = Path(os.environ.get("SPEECHREP_DRY_RUN", os.devnull))
    anew = collected.read_text().splitlines()
    renewed = [str(path) for path in step.inputs if is_within(path, anew)]
    absent = [path for path in step.inputs if not path.exists() and str(path) not in renewed]
    if absent:
        raise InputError("input is missing, and no step here makes it", where=absent[0])
    if renewed and step.marker.exists():
        why = f"input {renewed[0]} would be made anew"
    elif renewed:
        why = "first time"
    else:
        state = state_of(step)
        why = reason(step, state)
    if not why:
        tell(step, "up to date")
        return
    with open(collected, "a") as stream:
        stream.writelines(f"{path}\n" for path in (*step.outputs, *step.owns))
    if not renewed and lies_aside(step, state):
        tell(step, "would be taken back from .old: made so before", least=0)
        return
    tell(step, f"would run: {why}\n    {shlex.join(step.command)}", least=0)


def is_within(path: Path, folders: list[str]) -> bool:
    """Whether a path is one of ``folders``, or lies in one, or holds one."""
    others = [Path(folder) for folder in folders]
    return any(path == other or other in path.parents or path in other.parents for other in others)


def significant(command: tuple[str, ...]) -> list[str]:
    """The command without the options that change no result."""
    return [word for before, word in pairwise(("", *command)) if not {before, word} & FREE_OPTIONS]


def fingerprints(inputs: tuple[Path, ...]) -> dict[str, str]:
    """What each input looks like now."""
    seen = {}
    for path in inputs:
        with telling_of(path):
            try:
                seen[str(path)] = fingerprint(path)
            except FileNotFoundError:
                raise InputError(
                    "input is missing", where=path, mend="run the stage that makes it first"
                ) from None
    return seen


def difference(before: list[str], after: list[str]) -> str:
    """The first change between two commands, with the option it belongs to."""
    for what, i, j, k, m in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if what != "equal":
            option = after[k - 1] + " " if k and after[k - 1].startswith("--") else ""
            return f"{option}{shlex.join(before[i:j]) or 'nothing'} -> {shlex.join(after[k:m]) or 'nothing'}"
    return "order"


def fail(step: Step, code: int, what: str) -> None:
    """Tell of a failure with the end of the log, and exit."""
    with contextlib.suppress(OSError):
        lines = step.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        say("".join(f"    {line}\n" for line in lines).rstrip("\n"))
    if is_full(step.log):  # then the reason may not have reached the log
        what += "; error: no space left on the disk of the log"
    tell(step, f"{what}; log: {step.log}", least=0)
    sys.exit(code if code > 0 else 128 - code)


def last_line(log: Path) -> str:
    """What the command said last, without its date."""
    with contextlib.suppress(OSError), open(log, "rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4096))
        lines = stream.read().decode(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "")
        return re.sub(r"^\d{4}-\d\d-\d\dT[\d:]+ ", "", said)
    return ""


def is_full(path: Path) -> bool:
    """Whether there is no room for a file's next lines."""
    with contextlib.suppress(OSError):
        room = os.statvfs(path.parent)
        return room.f_bavail * room.f_frsize < 16384
    return False


def tell(step: Step, what: str, least: int = 1) -> None:
    """One line about the step, unless ``--verbose`` is below ``least``."""
    if step.verbose >= least:
        say(f"{time.strftime('%H:%M:%S')} {step.name}: {what}")


def say(text: str) -> None:
    """Print to stderr; the work goes on if that was a terminal that has been closed."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def told(step: Step, error: Exception) -> str:
    """The line about what keeps a step from running."""
    return f"step.py: {step.name}: error: {error}"


def duration(seconds: float) -> str:
    """A time span for people."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return (
        f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
    )


if __name__ == "__main__":
    main()
