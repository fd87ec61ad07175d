"""Feed damaged files to every parser of files that others made.

    PYTHONPATH=.:utils python tests/fuzz/run.py [--seconds 600] [--targets "ark store"] [--keep DIR]
    PYTHONPATH=.:utils python tests/fuzz/run.py --seconds 600 --record tests/fuzz/record.json

With a record, targets take turns in slices until each has had its seconds, those of earlier runs counted; as
many such runs as there are cores may share one record. Killed at any moment a run loses the slice it is in,
with SIGTERM not even that.

Each target runs in a process of its own with little memory to spare. Whatever a file holds, a parser must
give a value or an InputError: no other exception, no crash of the interpreter, no case beyond two seconds of
processor time, no memory for what a header only claims. Seconds are of the processor. The inputs that fail
are kept; ``--case FILE`` of one target runs one again.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

from mutate import mutated
from record import ROOT, Record
from targets import CASE_S, TARGETS, Target

from speechrep.errors import InputError

SPARE_BYTES = 512 << 20  # of address space, beyond what the process has at its start
LEAST_CASES = 60  # of a run, however short
MOST_FAILURES = 5  # of a target; then it ends


STOPPING: list[int] = []  # the signal that asked for an end


class Hang(BaseException):
    """A case took too long; no parser may catch it."""


def main() -> int:
    """Print a line per target, and return 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--targets", default=" ".join(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="a table that this run reads and adds to")
    parser.add_argument("--slice", type=float, default=60, help="seconds of a turn, with a record")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that failed")
    parser.add_argument("--case", type=Path, help="only this input, here, without limits")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    args = parser.parse_args()
    keep = (args.keep or Path(tempfile.mkdtemp(prefix="fuzz-failed-"))).absolute()
    signal.signal(signal.SIGTERM, lambda number, _frame: STOPPING.append(number))
    try:
        return work(args, keep)
    finally:
        with contextlib.suppress(OSError):
            keep.rmdir()  # nothing failed


def work(args: argparse.Namespace, keep: Path) -> int:
    """Do what was asked for; 1 if anything failed."""
    if args.record:
        record = Record(args.record.absolute())
        return take_turns(args.targets.split(), args.seconds, args.slice, record, keep)
    report = {}
    for name in args.targets.split():
        if args.case:
            with workplace() as folder:
                TARGETS[name].prepare(folder)
                print(TARGETS[name].parse(folder, args.case.read_bytes()))
            continue
        report[name] = found = fuzz(name, args.seconds, args.seed, keep)
        if not args.json:
            print(f"{name:12} {told(found)}", flush=True)
    if args.json:
        print(json.dumps(report))
    return int(any(found["failures"] for found in report.values()))


def take_turns(names: list[str], seconds: float, slice_s: float, record: Record, keep: Path) -> int:
    """Go on where the record ends, until every target has had its seconds or failed.

    Returns:
        1 if any failed, or cannot run here.
    """
    skipped = [name for name in names if TARGETS[name].missing()]
    for name in skipped:
        print(f"{name:12} skipped: {TARGETS[name].missing()}", flush=True)
        names.remove(name)
    failed = bool(skipped)
    while not STOPPING:
        name, seed = record.next(names, seconds)
        if not name:
            break
        with workplace() as folder:
            part = _in_child(name, slice_s, seed, folder)
            kinds = _keep(name, part, folder, keep)
        found = {key: part[key] for key in ("files", "cases", "refused")}
        record.add(name, found | {"seconds": round(part["seconds"], 1), "failures": [k for k, _ in kinds]})
        failed = failed or bool(kinds)
        print(f"{name:12} seed {seed}: {part['seconds']:.0f} s, {part['cases']} cases", flush=True)
        print("".join(f"    {text}\n" for _, text in kinds), end="", flush=True)
    return int(failed)


def told(found: dict) -> str:
    """One line about a target."""
    if found["skipped"]:
        return f"skipped: {found['skipped']}"
    text = f"{found['cases']:8} cases, {found['refused']} refused, peak +{found['peak_mb']} MB"
    return text + "".join(f"\n    {failure}" for failure in found["failures"])


def fuzz(name: str, seconds: float, seed: int, keep: Path) -> dict:
    """Run one target, in a child process; again from the next seed if the child dies."""
    total = {"cases": 0, "refused": 0, "peak_mb": 0, "failures": [], "skipped": TARGETS[name].missing()}
    spent = 0.0
    while not total["skipped"] and spent < seconds and len(total["failures"]) < MOST_FAILURES:
        with workplace() as folder:
            part = _in_child(name, seconds - spent, seed, folder)
            total["failures"] += [text for _, text in _keep(name, part, folder, keep)]
        total["cases"] += part["cases"]
        total["refused"] += part["refused"]
        total["peak_mb"] = max(total["peak_mb"], part["peak_mb"])
        spent += max(part["seconds"], 0.5)
        seed += 1
        if not part["died"]:
            break
    return total


def _keep(name: str, part: dict, folder: Path, keep: Path) -> list[tuple[str, str]]:
    """Kinds of failures, each with its text; the inputs are kept."""
    failures = [(f["kind"], f["what"], bytes.fromhex(f["data"])) for f in part["failures"]]
    if part["died"]:
        case = folder / "case"
        failures.append((part["died"], part["died"], case.read_bytes() if case.exists() else b""))
    texts = []
    for kind, what, data in failures:
        path = keep / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
        keep.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        texts.append((kind, f"{what} ({path})"))
    return texts


def _in_child(name: str, seconds: float, seed: int, folder: Path) -> dict:
    """What :func:`_cases` tells, or how the child died."""
    result = folder / "result.json"
    child = os.fork()
    if not child:
        status = 1
        try:
            _limit(seconds)
            complaints = os.dup(2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # of the libraries
            result.write_text(json.dumps(_cases(TARGETS[name], seconds, seed, folder)))
            status = 0
        except BaseException:  # the parent must not go on twice
            os.dup2(complaints, 2)
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status, used = os.wait4(child, 0)
    noted = folder / "files.json"
    files = json.loads(noted.read_text()) if noted.exists() else []
    if result.exists() and not status:
        return json.loads(result.read_text()) | {"files": files, "died": ""}
    code = os.waitstatus_to_exitcode(status)
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
    seconds_used = used.ru_utime + used.ru_stime
    return {"cases": 0, "refused": 0, "peak_mb": 0, "failures": [], "seconds": seconds_used, "files": files,
            "died": f"the interpreter died: {how}"}  # fmt: skip


def _limit(seconds: float) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    cpu = int(time.process_time() + seconds + 60)  # XCPU ends what hangs beyond Python's reach
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, 64 << 20))
    signal.signal(signal.SIGPROF, _too_long)
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def _too_long(number: int, frame: object) -> None:
    raise Hang


def _cases(target: Target, seconds: float, seed: int, folder: Path) -> dict:
    seeds = target.prepare(folder)
    # At once, should a case end this process.
    (folder / "files.json").write_text(json.dumps(_files_used(target, folder, seeds)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rng = random.Random(f"{seed}")
    cases, refused, failures = 0, 0, []
    started = _processor_s()
    queue = list(target.hostile)
    while queue or (
        (cases < LEAST_CASES or _processor_s() - started < seconds)
        and len(failures) < MOST_FAILURES
        and not STOPPING
    ):
        data = queue.pop() if queue else mutated(seeds, target.words, rng)
        (folder / "case").write_bytes(data)
        what = _outcome(target, folder, data)
        cases, refused = cases + 1, refused + (what == "refused")
        kind = what.split(":")[0] + what.rpartition(" at ")[2]
        if what not in ("", "refused") and kind not in {failure["kind"] for failure in failures}:
            failures.append({"what": what, "data": data.hex(), "kind": kind})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"cases": cases, "refused": refused, "peak_mb": peak // 1024, "failures": failures,
            "seconds": _processor_s() - started}  # fmt: skip


def _processor_s() -> float:
    """Seconds of the processor, those of processes that a parser started among them."""
    return sum(os.times()[:4])


def _files_used(target: Target, folder: Path, seeds: list[bytes]) -> list[str]:
    """The files of the package and of utils/ that the good files lead through; what is good must be taken."""
    used: set[str] = set()
    sys.setprofile(lambda frame, _event, _arg: used.add(frame.f_code.co_filename))
    try:
        for data in seeds:
            target.parse(folder, data)
    finally:
        sys.setprofile(None)
    folders = tuple(f"{ROOT / name}{os.sep}" for name in ("speechrep", "utils"))
    return sorted(os.path.relpath(name, ROOT) for name in used if name.startswith(folders))


def _outcome(target: Target, folder: Path, data: bytes) -> str:
    """Empty if it was read, ``refused`` if InputError came, else what went wrong."""
    signal.setitimer(signal.ITIMER_PROF, CASE_S)
    try:
        target.parse(folder, data)
    except InputError as error:
        return "refused" if str(error) else "an InputError that says nothing"
    except Hang:
        return f"took more than {CASE_S} s"
    except BaseException as error:  # SystemExit too
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:120]} at {Path(where.filename).name}:{where.lineno}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return ""


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder that is the current one; names in damaged files then lead nowhere else by accident."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


if __name__ == "__main__":
    sys.exit(main())
