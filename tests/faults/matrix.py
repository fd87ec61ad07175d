"""What happened to each stage under each fault: collected by the tests, written as a table.

SPEECHREP_FAULTS=FILE python -m pytest -q tests/faults
PYTHONPATH=. python tests/faults/matrix.py FILE --out docs/reliability.md
"""

import argparse
import collections
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from plan import FAULTS, STAGES, whole

from tests.fuzz.record import RECORD, Record, section
from tests.machine import machine

OUTCOMES = {
    "refused": "ended with an error that names the culprit; what was there, checkpoints too, is untouched",
    "recovered": "ended early; the same command then gave what an undisturbed run gives, bit for bit",
    "unaffected": "went on and gave what an undisturbed run gives, bit for bit",
    "unnoticed": "went on, and a value of the result is another: nothing there could have told",
    "not tried": "could not be injected on that machine",
    "LOST": "anything else: a traceback, a hang, a damaged state, or a rerun that differs",
}
NOTES = """
A kill happens at a seeded operation on files (half of a write is done, then SIGKILL), of the command or of
all its processes together. A disk is full from a seeded operation on, or is a real tmpfs that fills up. A
read error is EIO from one input, met by the recipe, which compares checksums before a command starts, and
by the command alone. A corrupted byte is one byte of one input, at a seeded place, exchanged.
What follows is compared with an undisturbed run: weights, features, stores, hypotheses and figures bit for
bit, without times and dates. Where a refusal left every file as it was, the rerun is not made: it would be
the undisturbed run. A dash: the stage reads no such file, or has no workers; those of mosei's stage 0 write
outside of its working folder and are met in librispeech's, whose code they share.

What notices a changed byte:

- FLAC has checksums of its own; `model.safetensors` and checkpoints are compared with a SHA-256 beside them.
- Stores and feature archives have a CRC-32 of about every 16 KB, in the store or in a file beside the
  archive. Whoever reads a part compares it, also a command run by hand (`command alone` in the tables).
- A step's marker holds checksums of the features, stores, models and hypotheses it made; a later step that
  reads them compares first. Of one step 64 MB are read for this, smallest files first; of what exceeds it
  only the size is compared, and the checksums above do the rest.
- Nothing can notice a value changed into another possible one where there is no checksum: in a
  configuration, in transcripts, alignments and label tables (which people may edit), in WAV recordings. What
  such a file made is made anew when the file changes again, so putting it right is enough. Nor can it in the
  figures of earlier steps that `results.json` holds (its form is one that others write, too).
"""


def table(rows: Sequence[dict], keys: Sequence[str], columns: Sequence[str], column_key: str) -> list[str]:
    """A Markdown table that counts outcomes by two keys."""
    cells: dict[tuple, collections.Counter] = collections.defaultdict(collections.Counter)
    for row in rows:
        cells[tuple(row[key] for key in keys), row[column_key]][row["outcome"]] += 1
    lines = [
        f"| {' | '.join([*keys, *columns])} |",
        f"|{'---|' * (len(keys) + len(columns))}",
    ]
    for head in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        counts = (cells[head, column] for column in columns)
        text = (", ".join(f"{n} {outcome}" for outcome, n in in_order(count)) or "-" for count in counts)
        lines.append(f"| {' | '.join([*head, *text])} |")
    return lines


def in_order(counts: collections.Counter) -> Iterable[tuple[str, int]]:
    """Outcomes and their numbers, worst first."""
    return ((outcome, counts[outcome]) for outcome in reversed(OUTCOMES) if counts[outcome])


def page(rows: Sequence[dict], commit: str, date: str, note: str = "") -> str:
    """The whole of docs/reliability.md."""
    total = collections.Counter(row["outcome"] for row in rows)
    lines = [
        "# What happens when something breaks",
        "",
        "Faults are injected into every stage of both recipes, on tiny corpora. This page is written by the",
        "tests, by",
        "",
        "    make faults",
        "",
        f"at commit {commit}, {date}, on {machine()}: {len(rows)} injections.{note and f' {note}'}",
        "",
        "| outcome | count | meaning |",
        "|---|---|---|",
        *(f"| {outcome} | {total[outcome]} | {meaning} |" for outcome, meaning in OUTCOMES.items()),
        "",
        NOTES.strip(),
    ]
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        own = sorted(
            (row for row in rows if row["recipe"] == recipe), key=lambda row: FAULTS.index(row["fault"])
        )
        lines += ["", f"## Recipe {recipe}: outcomes by fault and stage", ""]
        lines += table(own, ["fault"], STAGES, "stage")
        lines += ["", f"## Recipe {recipe}: a corrupted byte, by kind of file", ""]
        bytes_ = sorted(
            (row for row in own if row["fault"] == "corrupted byte"), key=lambda row: row["detail"]
        )
        files = [row | {"file": row["detail"]} for row in bytes_]
        lines += table(files, ["file"], STAGES, "stage")
    lines += listed("Every unnoticed change", rows, "unnoticed")
    lines += listed("What could not be tried", rows, "not tried")
    return "\n".join(lines) + "\n"


def listed(title: str, rows: Sequence[dict], outcome: str) -> list[str]:
    """A section of all rows of an outcome."""
    told = sorted(
        {
            f"- {row['recipe']}, stage {row['stage']}, {row['detail']}: {row['what']}"
            for row in rows
            if row["outcome"] == outcome
        }
    )
    return ["", f"## {title}", "", *(told or ["None."])]


def missing(rows: Sequence[dict]) -> list[str]:
    """Injections that the tests should have made and did not, in words."""
    wanted = list(whole())
    keys = tuple(wanted[0])
    left = collections.Counter(tuple(row.values()) for row in wanted)
    left -= collections.Counter(tuple(row[key] for key in keys) for row in rows)
    return [f"{', '.join(filter(None, key))}: {count}" for key, count in left.items()]


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("matrices", nargs="+", type=Path, help="what the tests wrote")
    parser.add_argument("--out", type=Path, required=True, help="the page")
    parser.add_argument("--note", default="", help="a sentence on how they were made")
    args = parser.parse_args()
    rows = [row for path in args.matrices for row in map(json.loads, path.read_text().splitlines())]
    rows.sort(key=lambda row: (row["recipe"], row["stage"], row["fault"], row["detail"]))
    if lacking := missing(rows):
        told = "\n".join(lacking)
        sys.exit(f"the page is left as it was: these injections are missing, see the tests' output\n{told}")
    words = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, capture_output=True, text=True, check=True)
    text = page(rows, commit.stdout.strip(), time.strftime("%Y-%m-%d", time.gmtime()), args.note)
    args.out.write_text(f"{text}\n{section(Record(RECORD).read())}")
    if any(row["outcome"] == "LOST" for row in rows):
        sys.exit("something was lost")


if __name__ == "__main__":
    main()
