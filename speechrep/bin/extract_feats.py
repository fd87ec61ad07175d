"""Extract the acoustic features of a data directory to Kaldi archives, in parallel jobs.

    python -m speechrep.bin.extract_feats --config conf/fbank80.yaml --data-dir data/train \
        --out-dir dump/fbank80/train --nj 4

Run again, it does only what is not done: nothing at all, or the jobs that failed or were killed.
"""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from speechrep.bin import run
from speechrep.bin.jobs import Progress, reporter, run_launcher, run_local
from speechrep.config import add_options, from_options, make_parser, opt, parse_choice, to_dict
from speechrep.errors import InputError
from speechrep.frontend.cmvn import SCOPES
from speechrep.frontend.extraction import Extraction
from speechrep.frontend.registry import FRONTENDS
from speechrep.frontend.sources import AudioSource
from speechrep.io.audio import Wavs
from speechrep.io.compression import METHODS
from speechrep.io.feature_meta import FeatureMeta, read_meta, write_meta

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ExtractConfig:
    """How features are read and kept."""

    cmvn: str = opt("utterance", "normalise, when reading, over each of these", SCOPES)
    norm_vars: bool = opt(True, "normalise the variance too, not only the mean")
    compress: bool = opt(True, "keep about one byte per value and not four")
    compression_method: int = opt(2, "Kaldi's --compression-method; 2 is for speech features", METHODS[1:])
    channel: int = opt(-1, "channel to take, 0 the first; -1 demands that there is one only")
    min_duration: float = opt(0.0, "refuse utterances that are shorter, s")
    allow_pipes: bool = opt(False, "run commands ending in '|' that wav.scp holds")


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser("Extract the acoustic features of a data directory.")
    parser.add_argument("--data-dir", required=True, type=Path, help="Kaldi data directory with wav.scp")
    parser.add_argument("--out-dir", required=True, type=Path, help="where features.json and archives go")
    parser.add_argument("--nj", type=int, default=1, help="how many jobs, one archive each")
    parser.add_argument("--cmd", default="", help="launcher of cmd.sh; without it, jobs are local processes")
    parser.add_argument(
        "--global-cmvn-from", type=Path, help="take global CMVN statistics from this feature directory"
    )
    parser.add_argument("--job", type=int, default=0, help="do only this job; for launchers")
    add_options(parser, ExtractConfig, title="reading and keeping")
    args = parse_choice(parser, "feature", {name: config for name, (config, _) in FRONTENDS.items()}, words)
    config = from_options(ExtractConfig, args)
    if args.nj < 1:
        raise InputError(f"want 1 or more, got {args.nj}", where="--nj")
    if args.global_cmvn_from and config.cmvn != "global":
        raise InputError(f"needs --cmvn global, got {config.cmvn}", where="--global-cmvn-from")

    frontend = FRONTENDS[args.feature][1](args.feature_config)
    meta = FeatureMeta(
        feature=args.feature, config=to_dict(args.feature_config), dim=frontend.dim,
        frame_shift_ms=frontend.frame_shift_ms, sample_rate=frontend.sample_rate,
        cmvn=config.cmvn, norm_vars=config.norm_vars,
        dtype=f"kaldi-compressed-{config.compression_method}" if config.compress else "float32",
    )  # fmt: skip
    extraction = plan(args.data_dir, args.out_dir, args.nj, args.global_cmvn_from, config, meta)
    if args.job:
        if args.job in extraction.jobs and not extraction.is_done(args.job):
            extraction.run_job(args.job, reporter())
        return
    if extraction.is_whole():
        _log.info("%s is up to date", args.out_dir)
        return
    extraction.invalidate()
    launch(extraction, words, args.cmd)
    count = extraction.merge()
    write_meta(args.out_dir / "features.json", meta)
    extraction.clean()
    total = len(extraction.source.utt_ids)
    lost = f", {total - count} lost (see lost_utterances)" if count < total else ""
    _log.info("%s: %d utterances of %s, %d values every %g ms%s",
              args.out_dir, count, meta.feature, meta.dim, meta.frame_shift_ms, lost)  # fmt: skip


def plan(
    data_dir: Path,
    out_dir: Path,
    nj: int,
    global_cmvn_from: Path | None,
    config: ExtractConfig,
    meta: FeatureMeta,
) -> Extraction:
    """What is to be done, from the options; every job plans the same."""
    if global_cmvn_from:
        theirs = read_meta(global_cmvn_from / "features.json")
        if theirs.cmvn != "global" or theirs.config != meta.config or theirs.feature != meta.feature:
            raise InputError("not global statistics of the same features", where=global_cmvn_from)
    channel = config.channel if config.channel >= 0 else None
    wavs = Wavs(data_dir, channel=channel, allow_pipes=config.allow_pipes)
    if not wavs.utt_ids:
        raise InputError("no utterances", where=data_dir / "wav.scp")
    frontend = FRONTENDS[meta.feature][1](FRONTENDS[meta.feature][0](**meta.config))
    made_by = {"feature": meta.feature, "config": meta.config, "channel": config.channel,
               "min_duration": config.min_duration, "allow_pipes": config.allow_pipes}  # fmt: skip
    return Extraction(
        source=AudioSource(wavs, frontend, config.min_duration), out_dir=out_dir, nj=nj, made_by=made_by,
        method=config.compression_method if config.compress else 0, cmvn=config.cmvn,
        utt2spk=Path(data_dir) / "utt2spk", global_cmvn_from=global_cmvn_from,
    )  # fmt: skip


def launch(extraction: Extraction, words: Sequence[str], launcher: str) -> None:
    """Run the jobs that are not done, here or by a launcher."""
    todo = [job for job in extraction.jobs if not extraction.is_done(job)]
    if not todo:
        return
    module, logs = "speechrep.bin.extract_feats", extraction.out_dir / "log"
    if launcher:
        # All of them, because a launcher takes a range; those that are done end at once.
        run_launcher(launcher, module, words, len(extraction.jobs), logs / "extract.JOB.log")
        unfinished = [job for job in todo if not extraction.is_done(job)]
        if unfinished:
            raise InputError(
                f"job {unfinished[0]} did not finish", where=logs / f"extract.{unfinished[0]}.log"
            )
        return
    total = len(extraction.source.utt_ids)
    progress = Progress(total, "utterances", total - sum(len(extraction.utt_ids(job)) for job in todo))
    run_local(module, words, todo, lambda job: logs / f"extract.{job}.log", progress)
    progress.update(total)
    progress.show(end=True)


if __name__ == "__main__":
    run(main)
