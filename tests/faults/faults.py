"""Injects one fault and says how it went: an outcome of matrix.OUTCOMES, and the evidence."""

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from commands import SILENT, Target
from lab import Done, Lab, Step, digests, kept


class Seen(NamedTuple):
    """What came of a fault."""

    outcome: str
    what: str


# How an error names a full disk; on it the log of a job has no room for its last words.
FULL = ("No space left", "no space left", "is the disk full?", ".log: job")
WORKER = ("job 1 ", "worker", "killed by signal")  # and a process that is gone


def rng(*seed: object) -> random.Random:
    """Chance that repeats."""
    return random.Random(" ".join(map(str, seed)))


def last_line(text: str) -> str:
    """What a message says at its end."""
    return (text.strip().splitlines() or [""])[-1][-300:]


def after_success(lab: Lab, stage: int, silent: bool = False) -> Seen:
    """The outcome of a run that ended well in spite of the fault."""
    differing = lab.differences(stage)
    if not differing:
        return Seen("unaffected", "")
    silent = silent and all(lab.has_all_scores(stage, name) for name in differing)
    return Seen("unnoticed" if silent else "LOST", f"differs: {' '.join(differing[:3])}")


def after_failure(lab: Lab, stage: int, done: Done, again: Done, culprits: Sequence[str]) -> Seen:
    """The outcome of a run that failed and was, with the fault gone, run again.

    Args:
        culprits: what its words must name, one of them; none where it was killed, and has no last words.
    """
    if done.status is None:
        return Seen("LOST", f"hung: {last_line(done.text)}")
    if culprits and not done.is_clear(culprits):
        return Seen("LOST", f"status {done.status}, no clear words: {last_line(done.text)}")
    if again.status != 0:
        return Seen("LOST", f"cannot be run again: {last_line(again.text)}")
    if differing := lab.differences(stage):
        return Seen("LOST", f"run again, it differs: {' '.join(differing[:3])}")
    return Seen("refused" if culprits else "recovered", last_line(done.text))


def to_keep(lab: Lab, damaged: Path | None = None) -> dict[str, str]:
    """What a command that ends with an error must leave as it was."""
    return digests(lab.work, damaged) | kept(lab.work)


def without_change(lab: Lab, before: dict[str, str], damaged: Path | None = None) -> Seen:
    """An empty outcome, unless a failed run changed something that was there before it."""
    now = to_keep(lab, damaged)
    wanted = (path for path in before if "/jobs/" not in path)  # a killed run's jobs may be done anew
    changed = [path for path in wanted if now.get(path) != before[path]]
    return Seen("LOST", f"changed {changed[0]}") if changed else Seen("", "")


def names(path: Path, content: bytes = b"", place: int = 0) -> list[str]:
    """What an error may call a damaged file: by its name, or that of the file that it belongs to.

    Args:
        path: the file.
        content, place: what it holds now, and where the damage is: of a table its line may be told.
    """
    found = [path.name, f"{path.with_suffix('')}."]
    if path.name == "config.yaml":
        found.append(f"{path.parent}: holds a run with other options")
    if path.parent.name == ".jobs":
        found.append(f"feats.{path.stem}.ark: its job")
    if path.parent.parent.name == "jobs":
        found.append(f"{path.parent}: ")
    if path.suffix in ("", ".scp", ".txt"):
        line = content[content.rfind(b"\n", 0, place) + 1 :].partition(b"\n")[0]
        found += [word for word in line.decode(errors="replace").split() if len(word) > 3]
    return found


# One command


class Bench:
    """A target, ready for faults; counts the operations of its undisturbed run."""

    def __init__(self, lab: Lab, target: Target):
        self.lab, self.target, self.step = lab, target, lab.step(target.stage, target.marker)
        self.prepare()
        done = self.fork(kind="count")
        assert done.status == 0, done.text
        assert not lab.differences(target.stage)
        self.operations = done.fired

    def prepare(self, left: bool = False) -> None:
        """The state before the step, or the one that a killed run ``left``."""
        lab, step = self.lab, self.step
        lab.restore_before(self.target.stage, step)
        if left and self.target.part:
            done = self.fork(self.target.part)
            assert done.status == 0, done.text
        elif left:
            for path in step.products:
                kept = lab.state(self.target.stage + 1) / path.relative_to(lab.work)
                if kept.is_dir():
                    shutil.copytree(kept, path, dirs_exist_ok=True)
                elif not path.exists():
                    shutil.copy2(kept, path)
            for path in lab.work.glob(f"{self._folder()}/checkpoints/*"):
                if not path.stem.startswith("step-3"):
                    path.unlink()

    def _folder(self) -> str:
        return str(self.step.products[0].relative_to(self.lab.work))

    def fork(self, more: tuple[str, ...] = (), sealed: bool = True, **fault: object) -> Done:
        """Run the command; ``sealed``: after comparing checksums, as the recipe does."""
        return self.lab.fork(self.step, more=(*self.target.more, *more), sealed=sealed, **fault)

    def file(self, pattern: str) -> Path:
        """The first input of a kind."""
        return sorted(self.lab.work.glob(pattern))[0]

    def kill(self, number: int) -> Seen:
        """SIGKILL at an operation on files, in the middle of writing where it writes."""
        self.prepare()
        at = rng(self.lab.recipe.name, self.target.marker, "kill", number).randint(1, self.operations)
        done = self.fork(kind="kill", at=at)
        if not done.fired:
            return after_success(self.lab, self.target.stage)
        seen = after_failure(self.lab, self.target.stage, done, self.fork(), ())
        return seen._replace(what=f"operation {at} of {self.operations}: {seen.what}")

    def full_disk(self, number: int) -> Seen:
        """ENOSPC from an operation on."""
        self.prepare()
        before = to_keep(self.lab)
        at = rng(self.lab.recipe.name, self.target.marker, "enospc", number).randint(1, self.operations)
        done = self.fork(kind="enospc", at=at)
        if done.status == 0:
            return after_success(self.lab, self.target.stage)
        seen = without_change(self.lab, before)
        seen = seen if seen.outcome else after_failure(self.lab, self.target.stage, done, self.fork(), FULL)
        return seen._replace(what=f"operation {at} of {self.operations}: {seen.what}")

    def read_error(self, kind: str, alone: bool = False) -> Seen:
        """EIO when reading one input; ``alone``: the command meets it, not who compares checksums first."""
        left = kind in self.target.state
        self.prepare(left)
        before = to_keep(self.lab)
        path = self.file((self.target.state if left else self.target.files)[kind])
        done = self.fork(sealed=not alone, kind="eio", path=path)
        if not done.fired:
            return Seen("LOST", f"nobody read {path.name}")
        if done.status == 0:
            return after_success(self.lab, self.target.stage)
        seen = without_change(self.lab, before)
        if seen.outcome:
            return seen
        return after_failure(self.lab, self.target.stage, done, self.fork(), names(path))

    def corrupt(self, kind: str, number: int, alone: bool = False) -> Seen:
        """One byte of one input exchanged; ``alone``: without the checksums of the recipe's markers."""
        chance = rng(self.lab.recipe.name, self.target.marker, "byte", kind, number, alone)
        left = kind in self.target.state
        self.prepare(left)
        path = self.file((self.target.state if left else self.target.files)[kind])
        good, stat = path.read_bytes(), path.stat()
        all_before = everything(self.lab.work)
        # Every other one near the beginning, where binary formats keep what is needed to read the rest.
        place = chance.randrange(len(good) if number % 2 else min(len(good), 2048))
        byte = good[place] ^ chance.randint(1, 255)
        bad = good[:place] + bytes([byte]) + good[place + 1 :]
        path.write_bytes(bad)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # a medium that errs does not tell
        before = to_keep(self.lab, path)
        done = self.fork(sealed=not alone)
        told = f"byte {place} of {path.name} {good[place]} -> {byte}: "
        if done.status == 0:
            if path.exists() and not any(path.is_relative_to(product) for product in self.step.products):
                path.write_bytes(good)
            seen = after_success(self.lab, self.target.stage, silent=kind in SILENT)
            return seen._replace(what=told + seen.what)
        seen = without_change(self.lab, before, path)
        path.write_bytes(good)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        culprits = names(path, bad, place)
        if not seen.outcome and done.is_clear(culprits) and everything(self.lab.work) == all_before:
            seen = Seen("refused", last_line(done.text))  # run again, it would be the undisturbed run
        elif not seen.outcome:
            seen = after_failure(self.lab, self.target.stage, done, self.fork(), culprits)
        return seen._replace(what=told + seen.what)

    def worker_dies(self) -> Seen:
        """SIGKILL to one of its processes."""
        assert self.target.workers
        more, fault = self.target.workers
        self.prepare()
        undisturbed = self.fork(more)
        assert undisturbed.status == 0, undisturbed.text
        wanted = digests(self.lab.work)  # other batches than those of one process round otherwise
        self.prepare()
        done = self.fork(more, **fault)
        if not done.fired or done.status == 0:
            return Seen("LOST", f"no worker was met, or not missed: {last_line(done.text)}")
        again = self.fork(more)
        seen = after_failure(self.lab, self.target.stage, done, again, WORKER)
        same = again.status == 0 and digests(self.lab.work) == wanted
        return Seen("refused", last_line(done.text)) if same and done.is_clear(WORKER) else seen


def everything(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every file below a folder, with its size and time."""
    stats = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats}


# A whole stage


def machine_goes_down(lab: Lab, stage: int, seconds: float, number: int) -> Seen:
    """SIGKILL to every process of a run, after a share of the time it takes."""
    lab.restore(stage)
    share = rng(lab.recipe.name, stage, "down", number).uniform(0.1, 0.9)
    process = lab.start(stage)
    time.sleep(share * seconds)
    lab.kill_everything()
    done = lab.finish(process)
    if done.status == 0:
        return after_success(lab, stage)
    return after_failure(lab, stage, done, lab.rerun(stage), ())


def two_runs(lab: Lab, stage: int, *other: str) -> Seen:
    """The same stage twice at once; ``other``: words of the second one alone."""
    lab.restore(stage)
    processes = [lab.start(stage), lab.start(stage, *other)]
    dones = [lab.finish(process) for process in processes]
    failed = [done for done in dones if done.status != 0]
    for done in failed:
        if "another run is at work on this" not in done.text or "Traceback" in done.text:
            return Seen("LOST", last_line(done.text))
    if len(failed) == len(dones):
        return after_failure(lab, stage, failed[0], lab.rerun(stage), ("another run is at work",))
    if other:
        shutil.rmtree(lab.work / "exp/other", ignore_errors=True)
    seen = after_success(lab, stage)
    return Seen("refused", last_line(failed[0].text)) if failed and seen.outcome == "unaffected" else seen


def disk_fills_up(lab: Lab, stage: int) -> Seen:
    """The stage on a file system with room for a share of what it writes."""
    share = rng(lab.recipe.name, stage, "disk").uniform(0.0, 0.9)
    lab.state(stage + 1)
    with small_disk(lab.work) as resize:
        if resize is None:
            return Seen("not tried", "no tmpfs may be mounted here; root may")
        lab.restore(stage)
        used = blocks(lab.work)
        room = share * (blocks(lab.state(stage + 1)) - used)
        resize(used + room)
        done = lab.run(stage)
        resize(1 << 30)
        if done.status == 0:
            return after_success(lab, stage)
        seen = after_failure(lab, stage, done, lab.rerun(stage), FULL)
        return seen._replace(what=f"room for {share:.0%}: {seen.what}")


def blocks(folder: Path) -> int:
    """Bytes that the files below a folder take on a tmpfs."""
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return sum(-(-size // 4096) * 4096 for size in sizes)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator:
    """Mount a tmpfs on a folder; gives what sets its size, or None where mounting is not allowed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1g", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield lambda size: subprocess.run(
            ["mount", "-o", f"remount,size={int(size)}", str(folder)], check=True, capture_output=True
        )
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


__all__ = ["Bench", "Seen", "Step", "disk_fills_up", "machine_goes_down", "two_runs"]
