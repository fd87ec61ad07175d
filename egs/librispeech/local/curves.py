#!/usr/bin/env python3
"""Validation curves of pre-trainings as tab-separated values, to be kept when the experiments are not.

    local/curves.py exp/base/apc exp/*/apc > curves.tsv

For each run a comment with its commit and the options in which it differs from the first, then a line per
validation: run, step, loss, and the loss relative to knowing nothing (predicting 0, or the last frame again).
"""

from pathlib import Path
from typing import Any

from speechrep.bin import run
from speechrep.config import load_yaml, make_parser
from speechrep.io.files import read_utf8
from speechrep.io.model_files import read_info
from speechrep.report.curves import read_log


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("exp_dirs", nargs="+", type=Path, metavar="EXP", help="folders that pretrain wrote")
    args = parser.parse_args()
    print("run", "step", "loss", "relative", sep="\t")
    first = _options(args.exp_dirs[0])
    for folder in dict.fromkeys(args.exp_dirs):
        options = _options(folder)
        changed = [name for name in first | options if first.get(name) != options.get(name)]
        told = [f"--{name} {options.get(name, 'absent')}" for name in changed]
        print(f"# {folder}: commit {read_info(folder)['commit'][:7]}", *told)
        for line in read_log(folder):
            if line["part"] == "valid":
                relative = [f"{value:.4f}" for name, value in line.items() if name.startswith("loss_over_")]
                print(folder, line["step"], f"{line['loss']:.4f}", *(relative or "-"), sep="\t")


def _options(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    return load_yaml(read_utf8(path), path)


if __name__ == "__main__":
    run(main)
