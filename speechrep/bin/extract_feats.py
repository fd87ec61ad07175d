"""Extract the acoustic features of a data directory to Kaldi archives, in parallel jobs.

    python -m speechrep.bin.extract_feats --config conf/fbank80.yaml --data-dir data/train \\
        --out-dir dump/fbank80/train --nj 4

Run again, it does only what is not done: nothing at all, or the jobs that failed or were killed.
"""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechrep.bin import run
from speechrep.bin.jobs import add_job_options, check_jobs, run_launcher, run_local
from speechrep.config import add_options, from_options, make_parser, opt, parse_choice, to_dict
from speechrep.errors import InputError
from speechrep.frontend.cmvn import SCOPES
from speechrep.frontend.extraction import Extraction
from speechrep.frontend.ready import ReadyConfig, ReadySource
from speechrep.frontend.registry import FRONTENDS
from speechrep.frontend.sources import AudioSource, FeatureSource
from speechrep.io.audio import Wavs
from speechrep.io.compression import METHODS
from speechrep.io.data_dir import DataDir, read_numbers
from speechrep.io.feature_marks import invalidate, require_no_data_dir
from speechrep.io.feature_meta import FeatureMeta, read_meta, write_meta
from speechrep.io.table import read_table
from speechrep.progress import Progress

_log = logging.getLogger("extract_feats")
READY = "kaldi"
"""The name of features that were made elsewhere."""


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
    vtln_map: str = opt("", "table of utterance or speaker to its vtln-warp (fbank and mfcc)")


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser(__doc__)
    parser.add_argument("--data-dir", required=True, type=Path, help="Kaldi data directory with wav.scp")
    parser.add_argument("--out-dir", required=True, type=Path, help="where features.json and archives go")
    add_job_options(parser, "how many jobs, one archive each")
    parser.add_argument(
        "--global-cmvn-from", type=Path, help="take global CMVN statistics from this feature directory"
    )
    add_options(parser, ExtractConfig, title="reading and keeping")
    choices = {name: config for name, (config, _) in FRONTENDS.items()} | {READY: ReadyConfig}
    args = parse_choice(parser, "feature", choices, words)
    config = from_options(ExtractConfig, args)
    check_jobs(args.nj, args.job)
    _require_apart(args.out_dir, args.data_dir, args.feature_config)
    meta, source = open_source(args.data_dir, args.feature, args.feature_config, config)
    if args.global_cmvn_from:
        from speechrep.data.identity import require_global_cmvn  # here, because jobs start faster without

        require_global_cmvn(args.global_cmvn_from, meta)
    extraction = Extraction(
        source=source, out_dir=args.out_dir, nj=args.nj, cmvn=config.cmvn,
        made_by={"feature": args.feature} | to_dict(args.feature_config) | _decisive(config),
        method=config.compression_method if config.compress else 0,
        utt2spk=args.data_dir / "utt2spk", global_cmvn_from=args.global_cmvn_from,
    )  # fmt: skip
    if args.job:
        if args.job in extraction.jobs and not extraction.is_complete(args.job):
            extraction.run_job(args.job)
        return
    if extraction.is_whole():
        if read_meta(args.out_dir / "features.json").acoustic() != meta.acoustic():
            write_meta(args.out_dir / "features.json", meta)  # what changed only concerns reading
        _log.info("%s is up to date", args.out_dir)
        return
    invalidate(args.out_dir)  # before anything in it changes
    launch(extraction, words, args.cmd)
    count = extraction.merge()
    write_meta(args.out_dir / "features.json", meta)
    extraction.clean()
    total = len(extraction.source.utt_ids)
    lost = f", {total - count} lost (see lost_utterances)" if count < total else ""
    _log.info("%s: %d utterances of %s, %d values every %g ms%s",
              args.out_dir, count, meta.feature, meta.dim, meta.frame_shift_ms, lost)  # fmt: skip
    if args.feature == READY:
        _doubt_frame_shift(args.out_dir, DataDir(args.data_dir), meta.frame_shift_ms)


def _doubt_frame_shift(out_dir: Path, data: DataDir, frame_shift_ms: float) -> None:
    """Warn where features made elsewhere are much longer or shorter than what they are said to be of."""
    try:
        durations = data.utt2dur
    except InputError:  # none, or damaged: not what was asked for
        return
    frames = read_numbers(out_dir / "utt2num_frames", int)
    both = frames.keys() & durations.keys()
    told_s = sum(durations[utt_id] for utt_id in both)
    found_s = sum(frames[utt_id] for utt_id in both) * frame_shift_ms / 1000
    if both and not 0.5 < found_s / told_s < 1.1:  # leaving out silence shortens
        _log.warning("%s: %.0f s of features but %.0f s of speech in utt2dur: is --frame-shift %g right?",
                     out_dir, found_s, told_s, frame_shift_ms)  # fmt: skip


def _require_apart(out_dir: Path, data_dir: Path, options: Any) -> None:
    """Refuse to write where tables of the same names lie, which would be replaced."""
    require_no_data_dir(out_dir)
    folders = {"the data directory itself": data_dir}
    if isinstance(options, ReadyConfig):
        folders["where --scp is"] = options.place(data_dir).parent
    for what, folder in folders.items():
        if out_dir.resolve() == folder.resolve():
            raise InputError(f"is {what}", where=out_dir, mend="choose another --out-dir")


def open_source(
    data_dir: Path, feature: str, options: Any, config: ExtractConfig
) -> tuple[FeatureMeta, FeatureSource]:
    """What the features will be, and where they come from; every job finds the same.

    Args:
        data_dir: the data directory.
        feature: a front end, or :data:`READY` for features made elsewhere.
        options: the dataclass of its options.
        config: how to read.

    Raises:
        InputError: no utterances, or options that do not fit together.
    """
    about = {
        "feature": feature, "cmvn": config.cmvn, "norm_vars": config.norm_vars,
        "dtype": f"kaldi-compressed-{config.compression_method}" if config.compress else "float32",
    }  # fmt: skip
    speakers = data_dir / "utt2spk"
    if feature == READY:
        utt_ids = list(read_table(speakers)) if speakers.is_file() else None
        ready = ReadySource(options, data_dir, utt_ids)
        rate = int(options.sample_frequency)
        return FeatureMeta(config=options.identity(), dim=ready.dim, frame_shift_ms=options.frame_shift,
                           sample_rate=rate, **about), ready  # fmt: skip
    frontend = FRONTENDS[feature][1](options)
    channel = config.channel if config.channel >= 0 else None
    wavs = Wavs(data_dir, channel=channel, allow_pipes=config.allow_pipes)
    if not wavs.utt_ids:
        raise InputError("no utterances", where=data_dir / "wav.scp")
    warps = _read_warps(Path(config.vtln_map), options, speakers, wavs.utt_ids) if config.vtln_map else None
    return FeatureMeta(
        config=to_dict(options), dim=frontend.dim, frame_shift_ms=frontend.frame_shift_ms,
        sample_rate=frontend.sample_rate, **about,
    ), AudioSource(wavs, frontend, config.min_duration, warps)  # fmt: skip


def _decisive(config: ExtractConfig) -> dict[str, Any]:
    """Those options of reading that decide the bytes of an archive."""
    values = to_dict(config)
    return {name: values[name] for name in ("channel", "min_duration", "allow_pipes")}


def _read_warps(path: Path, options: Any, speakers: Path, utt_ids: Sequence[str]) -> dict[str, float]:
    if not hasattr(options, "vtln_warp"):
        raise InputError("only fbank and mfcc warp frequencies", where=f"--vtln-map {path}")
    table, utt2spk = read_table(path), read_table(speakers) if speakers.is_file() else {}
    warps = {}
    for utt_id in utt_ids:
        key = utt_id if utt_id in table else utt2spk.get(utt_id, "")
        if key not in table:
            raise InputError(f"no warp factor for utterance {utt_id!r} or its speaker", where=path)
        try:
            warps[utt_id] = float(table[key])
        except ValueError:
            raise InputError(f"{key!r} is {table[key]!r}, want a number", where=path) from None
    return warps


def launch(extraction: Extraction, words: Sequence[str], launcher: str) -> None:
    """Run the jobs that are not done, here or by a launcher."""
    todo = [job for job in extraction.jobs if not extraction.is_complete(job)]
    if not todo:
        return
    module = "speechrep.bin.extract_feats"

    def log(job: object) -> Path:
        return extraction.out_dir / "log" / f"extract.{job}.log"

    if launcher:
        # All of them, because a launcher takes a range; those that are done end at once.
        run_launcher(launcher, module, words, len(extraction.jobs), log)
        unfinished = [job for job in todo if not extraction.is_done(job)]
        if unfinished:
            raise InputError(f"job {unfinished[0]} did not finish", where=log(unfinished[0]))
        return
    total = len(extraction.source.utt_ids)
    progress = Progress(total, "utterances", total - sum(len(extraction.utt_ids(job)) for job in todo))
    run_local(module, words, todo, log, progress)


if __name__ == "__main__":
    run(main)
