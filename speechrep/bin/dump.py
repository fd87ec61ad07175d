"""Store a model's hidden vectors of a set in an HDF5 file.

    python -m speechrep.bin.dump --upstream exp/apc --feats-dir dump/fbank80/dev --out dump/apc/dev.h5

A large set is dumped in parts; run again after a kill, the finished ones are kept. --nj makes them jobs.
"""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import configargparse

from speechrep.bin import run
from speechrep.bin.jobs import add_job_options, check_jobs, run_launcher, run_local
from speechrep.compat.convert import load_any
from speechrep.config import add_options, from_options, make_parser
from speechrep.data.features import open_features
from speechrep.downstream.inside import source_sha256
from speechrep.downstream.layer_sum import learned_weights
from speechrep.errors import InputError
from speechrep.io.model_files import read_info
from speechrep.io.store import Store
from speechrep.io.store_export import check_ark, check_espnet, export_ark, export_espnet
from speechrep.progress import Progress
from speechrep.train import distributed
from speechrep.upstream.dumping import BATCH_FRAMES, Dump, DumpConfig

FORMATS = ("hdf5", "espnet", "ark")
MODULE = "speechrep.bin.dump"
_log = logging.getLogger("dump")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = _parse(words)
    check_jobs(args.nj, args.job)
    if args.format != "ark" and not args.out.endswith(".h5"):
        raise InputError(f"{args.out!r} does not end in .h5", where="--out")
    store_path = args.out if args.format == "hdf5" else args.out.rstrip("/") + ".store.h5"
    mix = tuple(learned_weights(args.layer_weights_from).values()) if args.layer_weights_from else ()
    if mix:
        if args.layers not in ("last", "all"):
            told = f"sums all layers; --layers {args.layers} says others"
            raise InputError(told, where="--layer-weights-from")
        args.layers = "all"
    elsewhere = args.cmd and not args.job  # where the jobs are launched there may be no GPU
    device = distributed.choose_device(0 if elsewhere else args.ngpu)
    model, reader = load_any(args.upstream, device), open_features(args.feats_dir)
    config = from_options(DumpConfig, args)
    if not config.max_frames:  # who waits for jobs must foresee the same batches
        config = dataclasses.replace(config, max_frames=BATCH_FRAMES[args.ngpu > 0])
    if reader.path.resolve() in (Path(args.out).resolve(), Path(store_path).resolve()):
        raise InputError("holds the features to represent", where=args.out, mend="choose another --out")
    work = Dump(model, reader, store_path, config, args.upstream, args.nj, mix)
    if args.format == "ark":  # before anything is computed
        check_ark(work.num_layers, args.out)
    elif args.format == "espnet":
        check_espnet(reader.utt_ids, args.feats_dir)
    if mix and source_sha256(read_info(args.layer_weights_from)) not in ("", model.weights_sha256):
        raise InputError("was trained on layers of another model", where=args.layer_weights_from)
    if args.verify:
        if args.format != "hdf5":
            raise InputError("checks stores; leave out --format", where="--verify")
        _verify(work)
        return
    numbers = range(len(work.parts))
    if args.job:
        work.run(numbers[args.job - 1 :: args.nj])
        return

    def log(job: object) -> Path:
        return work.part_path(0).with_name(f"dump.{job}.log")

    if args.cmd:
        run_launcher(args.cmd, MODULE, words, args.nj, log)
    elif args.nj == 1:
        work.run(numbers)
    else:
        jobs, progress = range(1, args.nj + 1), Progress(len(reader.utt_ids), "utterances")
        run_local(MODULE, words, jobs, log, progress)
    work.finish()
    if args.format != "hdf5":
        export = export_espnet if args.format == "espnet" else export_ark
        export(Store(store_path), args.out)
        Path(store_path).unlink()
        _log.info("%s: all of it, as %s", args.out, args.format)


def _parse(words: Sequence[str]) -> configargparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--upstream", required=True, metavar="MODEL", help="experiment directory or model file"
    )
    parser.add_argument("--feats-dir", required=True, metavar="FEATS", help="the set's acoustic features")
    parser.add_argument("--out", required=True, help="the store to write, FILE.h5; a directory for ark")
    parser.add_argument(
        "--format", choices=FORMATS, default="hdf5",
        help="hdf5: our store; espnet: one data set per utterance; ark: a Kaldi feature directory",
    )  # fmt: skip
    parser.add_argument(
        "--layer-weights-from", default="", metavar="DIR",
        help="store the layers' sum, weighted as this downstream model learned",
    )  # fmt: skip
    parser.add_argument("--ngpu", type=int, default=0, help="1 to compute on a GPU")
    add_job_options(parser, "jobs, each a process")
    parser.add_argument(
        "--verify", action="store_true", help="only check an existing store against model and features"
    )
    add_options(parser, DumpConfig, "store")
    return parser.parse_args(words)


def _verify(work: Dump) -> None:
    """Print what is wrong with the store, and fail if anything is."""
    problems = work.problems()
    for problem in problems:
        print(problem)
    if problems:
        raise InputError(f"{len(problems)} faults", where=work.out, mend="dump it again")
    print(f"{work.out}: {len(work.lengths)} utterances, whole and up to date")


if __name__ == "__main__":
    run(main)
