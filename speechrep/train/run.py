"""What every training command shares: its processes, its device, its experiment directory."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import configargparse
import torch
import yaml

from speechrep.config import load_yaml, renamed, to_dict, without_free
from speechrep.errors import InputError
from speechrep.io.files import atomic_open, read_utf8
from speechrep.io.model_files import INFO, TRAIN_LOG, WEIGHTS
from speechrep.train import distributed

OWNED = ("config.yaml", "checkpoints", WEIGHTS, INFO, TRAIN_LOG, "tensorboard")


def add_run_options(parser: configargparse.ArgParser) -> None:
    """The options of :func:`begin`."""
    group = parser.add_argument_group("run")
    group.add_argument("--exp-dir", required=True, metavar="DIR", help="where everything is written")
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="first remove the results in exp-dir; without it an interrupted run goes on",
    )
    group.add_argument(
        "--num-workers", type=int, default=-1,
        help="background processes that read data; -1: up to 8 for a GPU, none for the CPU",
    )  # fmt: skip
    group.add_argument("--ngpu", type=int, default=0, help="GPUs of this machine to use; 0 for the CPU")
    group.add_argument("--num-nodes", type=int, default=1, help="machines that train together")
    group.add_argument("--node-rank", type=int, default=0, help="this machine's number, from 0")
    group.add_argument("--master", default="", metavar="HOST:PORT", help="where machine 0 listens")


@contextlib.contextmanager
def begin(
    args: configargparse.Namespace,
    module: str,
    argv: Sequence[str] | None,
    named: Mapping[str, Any],
    configs: Sequence[Any],
) -> Iterator[torch.device]:
    """A training command, in the block: more processes if asked, the device, ``config.yaml``.

    A command that ends with an error before anything is trained leaves no ``config.yaml``.

    Args:
        args: parsed options, :func:`add_run_options` among them.
        module: the command's module, to start it again under torchrun.
        argv: its arguments.
        named: options that decide what is trained and are no field of ``configs``.
        configs: dataclasses of options. They and ``named`` are stored, and compared when a run is continued.

    Raises:
        InputError: ``exp-dir`` holds a run with other options, naming each.
    """
    if args.num_workers < -1:
        raise InputError(f"want 0 or more, got {args.num_workers}", where="--num-workers")
    if args.num_workers < 0:
        cores = len(os.sched_getaffinity(0))
        args.num_workers = min(8, max(1, cores // args.ngpu)) if args.ngpu else 0
    distributed.require_gpus(args.ngpu)
    if "LOCAL_RANK" not in os.environ and (args.ngpu > 1 or args.num_nodes > 1):
        words = sys.argv[1:] if argv is None else list(argv)
        _torchrun(args, [module, *_without(words, "--master")])
    device = distributed.start(args.ngpu)
    # Who started torchrun by hand knows how many there are, and nodes may have left.
    by_hand = "TORCHELASTIC_RUN_ID" in os.environ
    if not by_hand and distributed.world_size() < max(args.ngpu, args.num_nodes):
        raise InputError(
            f"{distributed.world_size()} processes for ngpu {args.ngpu} and num-nodes {args.num_nodes}",
            where="environment", mend="unset LOCAL_RANK and WORLD_SIZE, which are left of another job",
        )  # fmt: skip
    exp_dir, problem, is_new = Path(args.exp_dir), "", False
    try:
        if distributed.rank() == 0:
            try:
                defaults = _by_option(to_dict(type(config)()) for config in configs)
                options = _by_option([named, *map(to_dict, configs)])
                is_new = _claim(exp_dir, options, defaults, args.overwrite)
            except InputError as error:
                problem = str(error)
        problem = distributed.gather(problem)[0]  # every process leaves, none waits for the first
        if problem:
            raise InputError(problem)
        yield device
    except Exception:
        # Perhaps of this process alone. To leave the group would wait for the others, and they wait for us.
        if is_new and not _has_results(exp_dir):
            (exp_dir / OWNED[0]).unlink()
        raise
    except SystemExit as error:  # an interruption
        together = distributed.world_size() > 1
        distributed.stop()
        if together and isinstance(error.code, int):
            # What the exception holds keeps threads of the group alive, and now and then they hang the exit.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(error.code)
        raise
    except BaseException:
        distributed.stop()
        raise
    distributed.stop()


def _by_option(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {name.replace("_", "-"): value for part in parts for name, value in part.items()}


def _torchrun(args: configargparse.Namespace, command: list[str]) -> None:
    """Replace this process by torchrun, which starts the command once per GPU."""
    if args.num_nodes > 1 and not args.master:
        raise InputError(f"num-nodes is {args.num_nodes} but master is not given", mend="--master HOST:PORT")
    host, _, port = args.master.rpartition(":")
    if args.master and not (host and port.isdecimal()):
        raise InputError(f"want HOST:PORT, got {args.master!r}", where="--master")
    where = (
        ["--standalone"]
        if args.num_nodes == 1
        else [
            f"--nnodes={args.num_nodes}",
            f"--node-rank={args.node_rank}",
            f"--master-addr={host}",
            f"--master-port={port}",
        ]
    )
    processes = f"--nproc-per-node={max(1, args.ngpu)}"
    run = [sys.executable, "-m", "speechrep.train.launch", *where, processes, "-m", *command]
    sys.stdout.flush()
    os.execv(sys.executable, run)  # noqa: S606 - an argument list, no shell


def _without(words: list[str], option: str) -> list[str]:
    """Arguments without one option: torchrun takes ``--master`` after the command for one of its own."""
    kept, skip = [], False
    for word in words:
        if not skip and word != option and not word.startswith(option + "="):
            kept.append(word)
        skip = word == option and not skip
    return kept


def _has_results(exp_dir: Path) -> bool:
    """Whether there is more of a run than its options."""
    return any((exp_dir / name).exists() for name in OWNED[1:])


def _claim(exp_dir: Path, options: dict[str, Any], defaults: dict[str, Any], overwrite: bool) -> bool:
    """Make the experiment directory ours, which it was not before if True, or see that it is.

    A run from before an option existed did what is now the option's default.
    """
    path = exp_dir / "config.yaml"
    # An agent that starts a lost process again means to go on.
    if overwrite and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        for name in OWNED:
            if (exp_dir / name).is_dir():
                shutil.rmtree(exp_dir / name)
            else:
                (exp_dir / name).unlink(missing_ok=True)
    if path.exists() and _has_results(exp_dir):  # else that run ended before it began
        stored = defaults | _by_option([renamed(load_yaml(read_utf8(path), path), options)])
        changed = [
            f"{name} was {stored.get(name)!r} and is now {options.get(name)!r}"
            for name in sorted(without_free(stored | options))
            if stored.get(name) != options.get(name)
        ]
        if changed:
            raise InputError(
                f"holds a run with other options: {'; '.join(changed)}",
                where=exp_dir,
                mend="choose another exp-dir, or --overwrite to lose that run",
            )
        return False
    with atomic_open(path) as stream:
        yaml.safe_dump(options, stream, sort_keys=False, allow_unicode=True)
    return True
