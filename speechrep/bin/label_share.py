"""Phone accuracy against the share of labelled training utterances, over several seeds.

    python -m speechrep.bin.label_share --config conf/phone.yaml --upstreams "fbank apc" --reps dump/demo \\
        --train mini_train --valid mini_dev --test mini_test --data data --out-dir exp/demo/label_share

Probes the stores REPS/<upstream>/<set>.h5; of NAME_layer1, or of a NAME without a store, a layer of NAME or
NAME_layers. With --folds there is one set, and NAME.train, NAME.valid and NAME.test in that folder list some
of its utterances: every fold is trained and tuned by itself, and all are scored as one.
Writes label_share.json (every trial), .md (mean and spread over seeds) and .png. Run again, it does only the
trials that are not in label_share.json, or are there of other vectors.
"""

import dataclasses
import itertools
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import configargparse
import numpy as np
import torch

from speechrep import provenance
from speechrep.bin import run
from speechrep.config import add_options, from_options, make_parser, to_dict
from speechrep.data.features import FeatureReader, open_features
from speechrep.data.identity import are_equal
from speechrep.data.layers import choose_layer
from speechrep.downstream.base import Labelled, Loading
from speechrep.downstream.labelled_frames import LabelledFrames
from speechrep.downstream.phone import PhoneConfig, draw, read_frames
from speechrep.downstream.probe import Probe, choose, probe_loss
from speechrep.downstream.probe_task import ProbeTask
from speechrep.errors import InputError
from speechrep.io.files import atomic_open, read_json, write_json
from speechrep.report import label_share, style
from speechrep.report.label_share import Trial

logger = logging.getLogger(__name__)

FORMAT = "speechrep-label-share/1"


class Fold(NamedTuple):
    """What a probe is trained on, tuned on and tested on."""

    train: LabelledFrames
    valid: LabelledFrames
    test: LabelledFrames


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = _parse(argv)
    config = from_options(PhoneConfig, args)
    if config.hidden_layers:
        raise InputError("only linear probes are solved here", where="--hidden-layers")
    if config.pretrained:
        raise InputError("only stored representations are probed here", where="--pretrained")
    out_dir = Path(args.out_dir)
    sets = [(args.train, ""), (args.valid, ""), (args.test, "")]
    folds = _folds(args.folds, args.test) if args.folds else [sets]
    options = to_dict(config) | {"layer": args.layer, "folds": args.folds}
    options |= {"train": args.train, "valid": args.valid, "test": args.test}
    trials, identities = _known(out_dir / "label_share.json", options)
    for upstream in args.upstreams.split():
        identity = _open(args, upstream, args.test).meta.identity()
        kept = [trial for trial in trials if trial.upstream != upstream]
        if len(kept) < len(trials) and not are_equal(identities.get(upstream, {}), identity):
            logger.warning("%s: other vectors than those of the trials known, which are redone", upstream)
            trials = kept
        identities[upstream] = identity
        known = {(t.proportion, t.seed) for t in trials if t.upstream == upstream}
        todo = [trial for trial in _wanted(args) if trial not in known]
        if todo:
            classes, frames = _read(args, upstream, folds, config)
        for share, seed in todo:
            trial = _trial(upstream, share, seed, config, classes, frames)
            logger.info("%s %g %% seed %d: %.2f %%", upstream, 100 * share, seed, trial.accuracy)
            trials.append(trial)
            _write(out_dir, options, identities, trials)
    _write(out_dir, options, identities, trials)
    points = label_share.summarise(trials)
    with atomic_open(out_dir / "label_share.md") as stream:
        stream.write(label_share.markdown(points))
    style.save(label_share.draw(points, f"Phones of {args.test}"), out_dir / "label_share.png")
    print(label_share.markdown(points), end="")


def _parse(argv: Sequence[str] | None) -> configargparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--upstreams", required=True, help="representations, blanks between")
    parser.add_argument("--reps", required=True, metavar="DIR", help="holds <upstream>/<set>.h5")
    parser.add_argument("--data", required=True, metavar="DIR", help="holds the sets' data directories")
    for name in ("train", "valid", "test"):
        parser.add_argument(f"--{name}", default="", metavar="SET", help=f"the set to {name} on")
    parser.add_argument("--folds", default="", metavar="DIR", help="lists that divide the set of --test")
    parser.add_argument("--layer", default="", help="of several: last, first, average or a number")
    parser.add_argument("--proportions", default="0.01 0.03 0.1 0.3 1", help="shares, blanks between")
    parser.add_argument("--seeds", default="1 2 3", help="each draws its own utterances")
    parser.add_argument("--out-dir", required=True, metavar="DIR", help="where the three files go")
    parser.add_argument("--max-steps", help=configargparse.SUPPRESS)  # conf/phone.yaml has it
    add_options(parser, PhoneConfig, "probe")
    args = parser.parse_args(argv)
    needed = ["test"] if args.folds else ["train", "valid", "test"]
    for name in needed:
        if not getattr(args, name):
            raise InputError("names no set", where=f"--{name}")
    return args


def _wanted(args: configargparse.Namespace) -> list[tuple[float, int]]:
    """Shares and seeds; of all utterances nothing is drawn, so that one seed says what all would."""
    shares, seeds = map(float, args.proportions.split()), list(map(int, args.seeds.split()))
    return [
        (share, seed) for share, seed in itertools.product(shares, seeds) if share != 1 or seed == seeds[0]
    ]


def _folds(folder: str, name: str) -> list[list[tuple[str, str]]]:
    """For each fold, the set and the list of its part to train, tune and test on."""
    tests = sorted(Path(folder).glob("*.test"))
    if not tests:
        raise InputError("holds no NAME.test", where=folder)
    return [[(name, str(test.with_suffix(f".{part}"))) for part in Fold._fields] for test in tests]


def _read(
    args: configargparse.Namespace,
    upstream: str,
    folds: Sequence[Sequence[tuple[str, str]]],
    config: PhoneConfig,
) -> tuple[tuple[str, ...], list[Fold]]:
    """The classes and every fold's frames."""
    classes: tuple[str, ...] = ()
    frames = []
    for fold in folds:
        parts = []
        for name, listed in fold:
            data = Labelled(_open(args, upstream, name), Path(args.data) / name, listed)
            part, classes = read_frames(data, config, classes)
            parts.append(part)
        frames.append(Fold(*parts))
    return classes, frames


def _open(args: configargparse.Namespace, upstream: str, name: str) -> FeatureReader:
    path, layer = Path(args.reps) / upstream / f"{name}.h5", args.layer
    if not path.exists():
        model, number = re.fullmatch(r"(.+?)(?:_layer(\d+))?", upstream).groups()
        for several in (f"{model}_layers", model):
            if (path.parent.with_name(several) / path.name).exists():
                path, layer = path.parent.with_name(several) / path.name, number or "last"
                break
    return choose_layer(open_features(path), layer)


def _trial(
    upstream: str,
    share: float,
    seed: int,
    config: PhoneConfig,
    classes: Sequence[str],
    folds: Sequence[Fold],
) -> Trial:
    config = dataclasses.replace(config, train_proportion=share)
    correct = scored = 0.0
    num_utts = []
    for fold in folds:
        drawn = draw(fold.train, share, seed)
        task = ProbeTask(classes, config, drawn, fold.valid, Loading(seed), config.batch_frames, {})
        task.prepare(torch.device("cpu"))
        probe = task.model.eval()
        sums = _sums(probe, fold.valid)
        choose(probe, {name: value / sums["weight"] for name, value in sums.items()})
        sums = _sums(probe, fold.test)
        correct, scored = correct + sums[f"correct_{int(probe.chosen)}"], scored + sums["weight"]
        num_utts.append(len(drawn.utt_ids))
    return Trial(upstream, share, round(np.mean(num_utts)), seed, 100 * correct / scored)


@torch.inference_mode()
def _sums(probe: Probe, frames: LabelledFrames) -> dict[str, float]:
    """Frames (``weight``), and of these the correct ones per penalty."""
    sums: dict[str, float] = {}
    for utt_id, labels in zip(frames.utt_ids, frames.labels, strict=True):
        _, stats = probe_loss(probe, torch.from_numpy(frames.feats.read(utt_id)), torch.from_numpy(labels))
        sums = {name: sums.get(name, 0.0) + float(value) for name, value in stats.items()}
    return sums


def _known(path: Path, options: dict[str, object]) -> tuple[list[Trial], dict[str, dict]]:
    """The trials made so far, and the identity of each upstream's vectors in them."""
    if not path.exists():
        return [], {}
    stored = read_json(path)
    if not isinstance(stored, dict) or stored.get("format") != FORMAT or stored.get("options") != options:
        raise InputError("holds trials with other options", where=path, mend="choose another --out-dir")
    rows, vectors = stored.get("trials"), stored.get("vectors", {})
    known = isinstance(rows, list) and all(map(_is_trial, rows)) and isinstance(vectors, dict)
    if not known or not all(isinstance(identity, dict) for identity in vectors.values()):
        raise InputError("its trials are damaged", where=path, mend="remove it, they are then done anew")
    return [Trial(*row) for row in rows], vectors


def _is_trial(row: object) -> bool:
    kinds = (str, (int, float), int, int, (int, float))
    return (
        isinstance(row, list) and len(row) == len(kinds) and all(map(isinstance, row, kinds))
        and 0 < row[1] <= 1 and 0 <= row[4] <= 100
    )  # fmt: skip


def _write(
    out_dir: Path, options: dict[str, object], identities: dict[str, dict], trials: list[Trial]
) -> None:
    made = {"commit": provenance.commit(), "created": provenance.now()}
    rows = [list(trial) for trial in trials]
    write_json(
        out_dir / "label_share.json",
        {
            "format": FORMAT,
            "columns": list(Trial._fields),
            "options": options,
            "vectors": identities,
            "trials": rows,
        }
        | made,
    )


if __name__ == "__main__":
    run(main)
