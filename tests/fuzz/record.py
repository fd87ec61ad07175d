"""How long each parser has been fed damaged files: a small table that every run adds to.

    PYTHONPATH=. python tests/fuzz/record.py --page docs/reliability.md     writes the table's section there
    PYTHONPATH=. python tests/fuzz/record.py --add OTHER.json               adds another checkout's record

What was tried counts for the code that it was tried on: the files of the package that the parser runs
through, their comments and layout apart. After a change the older seconds are told in a column of their own.
"""

import argparse
import ast
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.machine import machine

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("record.json")
HEADING = "## Damaged files for every parser"


def fingerprint(files: Sequence[str]) -> str:
    """One short hash of the code of files, given relative to the checkout."""
    sums = hashlib.sha256()
    for name in sorted(files):
        sums.update(f"{name} {_fingerprint(name)}\n".encode())
    return sums.hexdigest()[:12]


@functools.cache  # a run keeps to the code that it has loaded
def _fingerprint(name: str) -> str:
    path = ROOT / name
    code = ast.dump(ast.parse(path.read_text("utf-8"))) if path.exists() else "gone"
    return hashlib.sha256(code.encode()).hexdigest()


def current(entry: dict) -> dict:
    """What was tried on the code as it is now; zeros if nothing was."""
    for run in entry["runs"]:
        if run["code"] == fingerprint(run["files"]):
            return run
    return {"seconds": 0.0, "cases": 0, "refused": 0, "failures": []}


class Record:
    """The table, in a file that several runs may add to at once; it is whole at any moment.

    ``{target: {"seeds": how many were used, from 0 on, "runs": [one per state of the code]}}``
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, dict]:
        """All targets."""
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    @contextlib.contextmanager
    def changing(self) -> Iterator[dict[str, dict]]:
        """The table, to be changed; written when the block ends."""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            table = self.read()
            yield table
            new = self.path.with_name(f".{self.path.name}.new")
            new.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
            os.replace(new, self.path)
        finally:
            os.close(folder)

    def next(self, names: Sequence[str], seconds: float) -> tuple[str, int]:
        """The target that has had the least so far and a seed that it never had; "" when all had enough."""
        with self.changing() as table:
            had = {name: current(table.setdefault(name, {"seeds": 0, "runs": []})) for name in names}
            had = {n: run for n, run in had.items() if run["seconds"] < seconds and not run["failures"]}
            if not had:
                return "", 0
            name = min(had, key=lambda name: had[name]["seconds"])
            seed = table[name]["seeds"]
            table[name]["seeds"] += 1
            return name, seed

    def add(self, name: str, part: dict) -> None:
        """Count a part of a run: ``files, seconds, cases, refused, failures`` (one text per kind).

        ``files`` is empty where not even a good file was read: they are those of the part before.
        """
        with self.changing() as table:
            runs = table.setdefault(name, {"seeds": 0, "runs": []})["runs"]
            files = part["files"] or (runs[-1]["files"] if runs else [])
            about = {"code": fingerprint(files), "commit": commit(), "machine": machine(),
                     "date": time.strftime("%Y-%m-%d", time.gmtime())}  # fmt: skip
            _add(runs, about | part | {"files": files})


def _add(runs: list[dict], new: dict) -> None:
    old = next((run for run in runs if run["code"] == new["code"]), None)
    if not old:
        runs.append(new)
        return
    for key in ("seconds", "cases", "refused"):
        new[key] = round(old[key] + new[key], 1)
    new["failures"] = list(dict.fromkeys(old["failures"] + new["failures"]))
    runs[runs.index(old)] = new


def merge(table: dict[str, dict], other: dict[str, dict]) -> None:
    """Put what another checkout has tried in place of what this one knows, if it went on from it."""
    for name, entry in other.items():
        if entry["seeds"] >= table.get(name, entry)["seeds"]:
            table[name] = entry


def commit() -> str:
    """The checkout's, with a + if its package differs from it."""
    git = ["git", "-C", str(ROOT)]
    name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "speechrep"]).returncode
    return name.strip() + "+" * bool(changed)


def section(table: dict[str, dict]) -> str:
    """The table for readers."""
    lines = [
        HEADING,
        "",
        "`make fuzz SECONDS=600` feeds every parser of files that others made with damaged ones until it has",
        "had as many seconds of processor time on its present code, with seeds that were never used before.",
        "Whatever a file holds, a parser must give a value or an error in words, in two seconds and 512 MB.",
        "A changed parser begins at 0 again; what was tried on its earlier code stands in the last column.",
        "",
        "| parser | seconds | inputs | refused | failures | seeds | commit | seconds on earlier code |",
        "|---|---|---|---|---|---|---|---|",
    ]
    now = {name: current(entry) for name, entry in sorted(table.items())}
    for name, run in now.items():
        before = sum(old["seconds"] for old in table[name]["runs"]) - run["seconds"]
        share = f"{100 * run['refused'] / run['cases']:.0f} %" if run["cases"] else "-"
        used = table[name]["seeds"]
        cells = [name, f"{run['seconds']:.0f}", run["cases"], share, len(run["failures"]),
                 f"0-{used - 1}" if used else "-", run.get("commit", "-"), f"{before:.0f}"]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    spent = sum(run["seconds"] for run in now.values())
    all_spent = sum(run["seconds"] for entry in table.values() for run in entry["runs"])
    machines = sorted({run["machine"] for entry in table.values() for run in entry["runs"]})
    lines += [
        "",
        f"In all {spent / 60:.0f} minutes on the present code, {all_spent / 60:.0f} with earlier code,"
        f" {sum(run['cases'] for run in now.values())} inputs, on: {'; '.join(machines)}.",
    ]
    lines += [f"\n- {name}: {what}" for name, run in now.items() for what in run["failures"]]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Add records, write the section; print how far it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--add", nargs="*", type=Path, default=[], help="records of other checkouts")
    parser.add_argument("--page", type=Path, help="the page whose last section is the table")
    args = parser.parse_args()
    record = Record(args.record)
    for other in args.add:
        with record.changing() as table:
            merge(table, Record(other).read())
    text = section(record.read())
    if args.page:
        page = args.page.read_text().partition(HEADING)[0].rstrip()
        args.page.write_text(f"{page}\n\n{text}")
    else:
        print(text)


if __name__ == "__main__":
    main()
