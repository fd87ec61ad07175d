"""Decode a set with a trained downstream model: writes hyp and ref as Kaldi text.

    python -m speechrep.bin.decode --exp-dir exp/phone_apc --data dump/apc/test.h5 --data-dir data/test \\
        --out-dir exp/phone_apc/decode_test

--nj makes jobs of it where that is worth it; run again after a failure, the finished ones are kept.
"""

import dataclasses
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import configargparse

from speechrep.bin import run
from speechrep.bin.jobs import add_job_options, check_jobs, run_launcher, run_local
from speechrep.config import add_options, from_options, make_parser
from speechrep.data.features import open_features
from speechrep.data.layers import choose_layer
from speechrep.downstream.base import Labelled, require_features
from speechrep.downstream.models import load_trained
from speechrep.downstream.registry import TASKS
from speechrep.downstream.split import file_of
from speechrep.errors import InputError, telling_of
from speechrep.io.files import read_marker, sha256, write_marker
from speechrep.io.model_files import INFO, WEIGHTS, model_folder, read_info
from speechrep.progress import Progress
from speechrep.train import distributed

MODULE = "speechrep.bin.decode"
DONE = "done.json"  # of a job, written last: what it was made of, and what was made


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    words = list(sys.argv[1:] if argv is None else argv)
    args, merge = _parse(words)
    check_jobs(args.nj, args.job)
    out_dir = Path(args.out_dir)
    work = out_dir / "jobs"

    def log(job: object) -> Path:
        return work / f"decode.{job}.log"

    if merge is None or args.nj == 1:
        if args.cmd and not args.job:
            run_launcher(args.cmd, MODULE, words, 1, log)
            shutil.rmtree(work)
        else:
            _decode(args, (0, 1), out_dir)
        return
    state, jobs = _state(args), range(1, args.nj + 1)
    folders = [work / str(job) for job in jobs]
    if args.job:
        folder = folders[args.job - 1]
        if not _is_done(folder, state):
            shutil.rmtree(folder, ignore_errors=True)  # merging must find nothing of earlier options
            _decode(args, (args.job - 1, args.nj), folder)
            write_marker(folder / DONE, state | _made(folder))
        return
    if args.cmd:
        run_launcher(args.cmd, MODULE, words, args.nj, log)
    else:
        run_local(MODULE, words, jobs, log, Progress(0, "utterances"))  # the jobs know how many they decode
    missing = [folder for folder in folders if not _is_done(folder, state)]
    if missing:
        raise InputError("was not decoded", where=missing[0], mend="run the same again")
    merge(folders, out_dir)
    shutil.rmtree(work)


def _decode(args: configargparse.Namespace, share: tuple[int, int], out_dir: Path) -> None:
    trained = load_trained(args.exp_dir, distributed.choose_device(args.ngpu))
    feats = choose_layer(open_features(args.data), trained.info.get("layer", ""))
    require_features(trained.info, feats, args.exp_dir)
    data = Labelled(feats, Path(args.data_dir), args.split, share)
    trained.kind.decode(trained.model, data, out_dir, from_options(trained.kind.decode_config, args))


def _state(args: configargparse.Namespace) -> dict[str, Any]:
    """What the results of a job depend on: options, and size and time of every file that is read."""
    free = ("cmd", "config", "job", "out_dir")
    options = {name: value for name, value in sorted(vars(args).items()) if name not in free}
    model, (split, _) = model_folder(args.exp_dir), file_of(args.split)
    named = [model / INFO, model / WEIGHTS, args.data, args.data_dir, split, getattr(args, "lm", "")]
    paths = [Path(path) for path in named if path]
    files = {file for path in paths for file in (path.iterdir() if path.is_dir() else [path])}
    stats = {str(file): file.stat() for file in sorted(files) if file.is_file()}
    return {
        "options": options,
        "files": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()},
    }


def _is_done(folder: Path, state: dict[str, Any]) -> bool:
    return read_marker(folder / DONE) == state | _made(folder)


def _made(folder: Path) -> dict[str, Any]:
    """What lies in the folder of a job, so that damage is noticed before it is merged."""
    sums = {}
    for path in sorted(folder.glob("*")):
        if path.name != DONE:
            with telling_of(path):
                sums[path.name] = sha256(path)
    return {"made": sums}


def _parse(words: Sequence[str]) -> tuple[configargparse.Namespace, Any]:
    """The options, and how the task makes one result of its jobs' (None: it has but one job)."""
    parser = make_parser(__doc__)
    parser.add_argument("--exp-dir", required=True, metavar="DIR", help="what train_downstream wrote")
    parser.add_argument("--data", required=True, metavar="FEATS", help="the features that were trained on")
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="their data directory")
    parser.add_argument(
        "--split", default="", metavar="PART",
        help="part of the set: train, valid, test (of each speaker's), joined by +; or a file of ids",
    )  # fmt: skip
    parser.add_argument("--out-dir", required=True, metavar="DIR", help="where hyp and ref go")
    parser.add_argument("--ngpu", type=int, default=0, help="1 to compute on a GPU")
    add_job_options(parser, "jobs, each a process; only asr takes that long")
    task = _task_of(words)
    add_options(parser, TASKS[task].decode_config, task)
    _accept_other_tasks(parser, task)
    return parser.parse_args(words), TASKS[task].merge


def _task_of(argv: Sequence[str]) -> str:
    """The task of the model that ``--exp-dir`` names; the first one where there is none, as for --help."""
    first = make_parser("")  # of --config too
    first.add_argument("--exp-dir")
    words = [word for word in argv if word not in ("-h", "--help")]
    exp_dir = first.parse_known_args(words)[0].exp_dir
    task = read_info(exp_dir).get("task") if exp_dir else None
    return task if task in TASKS else next(iter(TASKS))


def _accept_other_tasks(parser: configargparse.ArgParser, task: str) -> None:
    """Take the other tasks' options without effect: one decode.yaml serves all tasks."""
    known = {action.dest for action in parser._actions} | {"help"}
    for kind in TASKS.values():
        for field in dataclasses.fields(kind.decode_config):
            if field.name not in known:
                known.add(field.name)
                parser.add_argument(f"--{field.name.replace('_', '-')}", help=configargparse.SUPPRESS)


if __name__ == "__main__":
    run(main)
