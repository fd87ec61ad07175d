"""Phone accuracy against the share of labelled training utterances, over several seeds.

    python -m speechrep.bin.label_share --config conf/phone.yaml --upstreams "fbank apc" --reps dump/demo \\
        --train mini_train --valid mini_dev --test mini_test --data data --out-dir exp/demo/label_share

Probes the stores REPS/<upstream>/<set>.h5. Writes label_share.json (every trial), .md (mean and spread over
seeds) and .png. Run again, it does only the trials that are not in label_share.json.
"""

import dataclasses
import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

import configargparse
import torch

from speechrep import provenance
from speechrep.bin import run
from speechrep.config import add_options, from_options, make_parser, to_dict
from speechrep.data.features import open_features
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


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = _parse(argv)
    config = from_options(PhoneConfig, args)
    if config.hidden_layers:
        raise InputError("only linear probes are solved here", where="--hidden-layers")
    if config.pretrained:
        raise InputError("only stored representations are probed here", where="--pretrained")
    out_dir = Path(args.out_dir)
    options = to_dict(config) | {
        "layer": args.layer,
        "train": args.train,
        "valid": args.valid,
        "test": args.test,
    }
    trials = _known(out_dir / "label_share.json", options)
    for upstream in args.upstreams.split():
        known = {(t.proportion, t.seed) for t in trials if t.upstream == upstream}
        wanted = itertools.product(map(float, args.proportions.split()), map(int, args.seeds.split()))
        todo = [trial for trial in wanted if trial not in known]
        if todo:
            sets = [_labelled(args, upstream, name) for name in (args.train, args.valid, args.test)]
            frames, classes = read_frames(sets[0], config)
            others = [read_frames(data, config, classes)[0] for data in sets[1:]]
        for share, seed in todo:
            trial = _trial(upstream, share, seed, config, classes, frames, *others)
            logger.info("%s %g %% seed %d: %.2f %%", upstream, 100 * share, seed, trial.accuracy)
            trials.append(trial)
            _write(out_dir, options, trials)
    _write(out_dir, options, trials)
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
        parser.add_argument(f"--{name}", required=True, metavar="SET", help=f"the set to {name} on")
    parser.add_argument("--layer", default="", help="of several: last, first, average or a number")
    parser.add_argument("--proportions", default="0.01 0.03 0.1 0.3 1", help="shares, blanks between")
    parser.add_argument("--seeds", default="1 2 3", help="each draws its own utterances")
    parser.add_argument("--out-dir", required=True, metavar="DIR", help="where the three files go")
    parser.add_argument("--max-steps", help=configargparse.SUPPRESS)  # conf/phone.yaml has it
    add_options(parser, PhoneConfig, "probe")
    return parser.parse_args(argv)


def _labelled(args: configargparse.Namespace, upstream: str, name: str) -> Labelled:
    feats = choose_layer(open_features(Path(args.reps) / upstream / f"{name}.h5"), args.layer)
    return Labelled(feats, Path(args.data) / name)


def _trial(
    upstream: str,
    share: float,
    seed: int,
    config: PhoneConfig,
    classes: Sequence[str],
    train: LabelledFrames,
    valid: LabelledFrames,
    test: LabelledFrames,
) -> Trial:
    drawn = draw(train, share, seed)
    config = dataclasses.replace(config, train_proportion=share)
    task = ProbeTask(classes, config, drawn, valid, Loading(seed), config.batch_frames, {})
    task.prepare(torch.device("cpu"))
    probe = task.model.eval()
    choose(probe, _figures(probe, valid))
    return Trial(
        upstream, share, len(drawn.utt_ids), seed, 100 * _figures(probe, test)[f"correct_{int(probe.chosen)}"]
    )


@torch.inference_mode()
def _figures(probe: Probe, frames: LabelledFrames) -> dict[str, float]:
    """Shares of correct frames, per penalty."""
    sums: dict[str, float] = {}
    for utt_id, labels in zip(frames.utt_ids, frames.labels, strict=True):
        _, stats = probe_loss(probe, torch.from_numpy(frames.feats.read(utt_id)), torch.from_numpy(labels))
        sums = {name: sums.get(name, 0.0) + float(value) for name, value in stats.items()}
    return {name: value / sums["weight"] for name, value in sums.items()}


def _known(path: Path, options: dict[str, object]) -> list[Trial]:
    if not path.exists():
        return []
    stored = read_json(path)
    if stored.get("format") != FORMAT or stored.get("options") != options:
        raise InputError("holds trials with other options", where=path, mend="choose another --out-dir")
    return [Trial(*row) for row in stored["trials"]]


def _write(out_dir: Path, options: dict[str, object], trials: list[Trial]) -> None:
    made = {"commit": provenance.commit(), "created": provenance.now()}
    rows = [list(trial) for trial in trials]
    write_json(
        out_dir / "label_share.json",
        {"format": FORMAT, "columns": list(Trial._fields), "options": options, "trials": rows} | made,
    )


if __name__ == "__main__":
    run(main)
