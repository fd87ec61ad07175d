"""Kaldi data directories: check, mend, split, subset, combine, copy, and the files that follow from others.

    python -m speechrep.bin.data_dir split data/train 8

The same under Kaldi's names, with Kaldi's options: utils/validate_data_dir.sh, fix_data_dir.sh,
split_data.sh, subset_data_dir.sh, combine_data.sh, copy_data_dir.sh, get_utt2dur.sh,
get_utt2num_frames.sh, utt2spk_to_spk2utt.sh and spk2utt_to_utt2spk.sh.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import soundfile

from speechrep.bin import run
from speechrep.errors import InputError
from speechrep.io import data_ops
from speechrep.io.ark import load_scp, matrix_shape
from speechrep.io.audio import audio_info, read_audio
from speechrep.io.data_content import Content
from speechrep.io.data_dir import DataDir, invert
from speechrep.io.data_fix import fix
from speechrep.io.data_valid import FIX, validate
from speechrep.io.files import read_utf8
from speechrep.io.table import read_rows, read_table, write_table

# Kaldi's arithmetic of frames without features: 25 ms windows every 10 ms, edges snipped.
_WINDOW_LESS_SHIFT_S, _DEFAULT_SHIFT_S = 0.015, 0.01


def _validate(args: argparse.Namespace) -> None:
    validate(
        args.data_dir, feats=not args.no_feats, text=not args.no_text, wav=not args.no_wav,
        spk_sort=not args.no_spk_sort, non_print=args.non_print,
    )  # fmt: skip
    print(f"validate_data_dir.sh: Successfully validated data-directory {args.data_dir}")


def _fix(args: argparse.Namespace) -> None:
    kept, before, changed = fix(
        args.data_dir, args.utt_extra_files.split(), args.spk_extra_files.split(), not args.no_spk_sort
    )
    print(f"fix_data_dir.sh: kept {kept} utterances out of {before}")
    if changed:
        print(f"fix_data_dir.sh: old files are kept in {args.data_dir}/.backup")


def _split(args: argparse.Namespace) -> None:
    data_ops.split(args.data_dir, args.pieces, args.per_utt)


def _listed(path: str, source: str, by_speaker: bool, content: Content) -> list[str]:
    """The utterances that a list names, or those of its speakers; as in Kaldi it may name others, too."""
    keys = {key for _, key, _ in read_rows(path)}
    chosen = [utt for utt, spk in content.utts["utt2spk"].items() if (spk if by_speaker else utt) in keys]
    if not chosen:
        kind = "speakers" if by_speaker else "utterances"
        raise InputError(f"none of these {kind} is in {source}", where=path)
    return chosen


def _subset(args: argparse.Namespace) -> None:
    lists = {"--utt-list": args.utt_list, "--spk-list": args.spk_list}
    given = [name for name, path in lists.items() if path]
    modes = [name for name in data_ops.CHOICES if getattr(args, name.replace("-", "_"), False)]
    wanted = 2 if given else 3
    if len(given) + len(modes) > 1 or len(args.operands) != wanted:
        raise InputError(
            "want [--first|--last|--shortest|--per-spk|--speakers] SRC NUM DEST, "
            "or --utt-list FILE SRC DEST, or --spk-list FILE SRC DEST",
            where="subset",
        )
    source, target = args.operands[0], args.operands[-1]
    choose: Callable[[Content], Collection[str]]
    if given:
        choose = functools.partial(_listed, lists[given[0]], source, bool(args.spk_list))
    else:
        pick = data_ops.CHOICES[modes[0] if modes else "spread"]
        choose = functools.partial(pick, count=_count(args.operands[1]))
    kept = data_ops.subset(source, target, choose)
    print(f"subset_data_dir.sh: {kept} utterances of {source} to {target}")


def _combine(args: argparse.Namespace) -> None:
    kept = data_ops.combine(args.target, args.sources, args.extra_files.split())
    print(f"combine_data.sh: {kept} utterances to {args.target}")


def _copy(args: argparse.Namespace) -> None:
    rename = data_ops.Rename(args.utt_prefix, args.utt_suffix, args.spk_prefix, args.spk_suffix)
    data_ops.copy(args.source, args.target, rename)
    print(f"copy_data_dir.sh: copied {args.source} to {args.target}")


def _utt2dur(args: argparse.Namespace) -> None:
    data = DataDir(args.data_dir)
    if _is_there(data, "utt2dur"):
        return
    if data.segments:
        ends = {utt_id: segment.end_s for utt_id, segment in data.segments.items()}
        open_ended = [utt_id for utt_id, end_s in ends.items() if end_s is None]
        totals = _recording_s(data, {data.segments[utt_id].reco_id for utt_id in open_ended}, args)
        seconds = {
            utt_id: (totals[segment.reco_id] if segment.end_s is None else segment.end_s) - segment.start_s
            for utt_id, segment in data.segments.items()
        }
    elif data.has("frame_shift") and data.has("utt2num_frames"):
        try:
            shift_s = float(read_utf8(data.path / "frame_shift"))
        except ValueError as error:  # InputError is one
            raise InputError("want one number of seconds", where=data.path / "frame_shift") from error
        seconds = {utt_id: (count + 1.5) * shift_s for utt_id, count in data.utt2num_frames.items()}
    else:
        seconds = _recording_s(data, data.wav_scp, args)
    if missing := set(data.utt_ids) - seconds.keys():
        raise InputError(f"no length for utterance {min(missing)!r} of utt2spk", where=data.path, mend=FIX)
    write_table(data.path / "utt2dur", {utt_id: f"{seconds[utt_id]:.6g}" for utt_id in data.utt_ids})
    print(f"get_utt2dur.sh: computed {data.path}/utt2dur")


def _recording_s(data: DataDir, reco_ids: Collection[str], args: argparse.Namespace) -> dict[str, float]:
    """Lengths of recordings by their headers, or by reading what is not a plain file."""
    found, channel = {}, args.channel if args.channel >= 0 else None
    for reco_id in reco_ids:
        if reco_id not in data.wav_scp:
            raise InputError(f"there is no recording {reco_id!r}", where=data.path / "wav.scp")
        path = data.wav_scp[reco_id]
        try:
            found[reco_id] = audio_info(path).duration
        except soundfile.LibsndfileError as error:
            if Path(path).is_file():
                raise InputError(f"utterance {reco_id!r}: {error.error_string}", where=path) from None
            found[reco_id] = _read_s(reco_id, path, channel, args.allow_pipes == "true")
    return found


def _read_s(reco_id: str, path: str, channel: int | None, allow_pipes: bool) -> float:
    try:
        samples, rate = read_audio(path, channel=channel, allow_pipes=allow_pipes)
    except InputError as error:
        raise error.told(f"utterance {reco_id!r}: {error.what}") from None
    return len(samples) / rate


def _utt2num_frames(args: argparse.Namespace) -> None:
    data = DataDir(args.data_dir)
    if _is_there(data, "utt2num_frames"):
        return
    if data.has("feats.scp"):
        specs = load_scp(data.path / "feats.scp")
        counts = {utt_id: matrix_shape(spec)[0] for utt_id, spec in specs.items()}
    else:
        if not data.has("utt2dur"):
            _utt2dur(args)
        counts = {
            utt_id: int((seconds - _WINDOW_LESS_SHIFT_S) / args.frame_shift + 1e-6)
            for utt_id, seconds in DataDir(args.data_dir).utt2dur.items()
        }
    short = next((utt_id for utt_id, count in counts.items() if count < 1), None)
    if short is not None:
        raise InputError(f"utterance {short} is too short for a frame", where=data.path,
                         mend="take it out and run utils/fix_data_dir.sh")  # fmt: skip
    write_table(data.path / "utt2num_frames", {utt_id: str(count) for utt_id, count in counts.items()})
    print(f"get_utt2num_frames.sh: computed {data.path}/utt2num_frames")


def _is_there(data: DataDir, name: str) -> bool:
    if not data.has(name) or list(read_table(data.path / name)) != data.utt_ids:
        return False
    print(f"{data.path}/{name} is there already, with every utterance")
    return True


def _utt2spk_to_spk2utt(args: argparse.Namespace) -> None:
    for spk, utts in invert(read_table(args.file)).items():
        print(spk, *utts)


def _spk2utt_to_utt2spk(args: argparse.Namespace) -> None:
    for spk, utts in read_table(args.file).items():
        for utt_id in utts.split():
            print(utt_id, spk)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{text!r} is not a number of utterances", where="subset")
    return int(text)


def _parser(tool: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=tool, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, action: Callable[[argparse.Namespace], None], help: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, prog=tool, help=help, description=help, allow_abbrev=False)
        command.set_defaults(action=action)
        return command

    def add_audio_options(command: argparse.ArgumentParser) -> None:
        command.add_argument("--allow-pipes", default="false", choices=("true", "false"),
                             help="run commands ending in '|' that wav.scp holds")  # fmt: skip
        command.add_argument("--channel", type=int, default=-1,
                             help="channel of what is read, 0 the first; -1 demands one only")  # fmt: skip

    command = add("validate", _validate, "check a data directory; exit 1 at the first fault")
    command.add_argument("data_dir")
    for flag, help in (
        ("--no-feats", "feats.scp is not required"),
        ("--no-text", "text is not required"),
        ("--no-wav", "wav.scp is not required"),
        ("--no-spk-sort", "utt2spk need not be sorted by speaker"),
        ("--non-print", "text may hold characters that cannot be printed"),
    ):
        command.add_argument(flag, action="store_true", help=help)

    command = add(
        "fix", _fix, "sort, make unique and keep what every file agrees on; the old files go to .backup"
    )
    command.add_argument("data_dir")
    command.add_argument("--utt-extra-files", default="", help="further files keyed by utterance, to filter")
    command.add_argument("--spk-extra-files", default="", help="further files keyed by speaker, to filter")
    command.add_argument("--no-spk-sort", action="store_true", help="utt2spk need not be sorted by speaker")

    command = add("split", _split, "split into contiguous pieces DATA/splitN/1 to N")
    command.add_argument(
        "--per-utt", action="store_true", help="cut within speakers too; into DATA/splitNutt"
    )
    command.add_argument("data_dir")
    command.add_argument("pieces", type=int)

    command = add("subset", _subset, "some utterances: [mode] SRC NUM DEST, evenly spread without a mode")
    for flag, help in (
        ("--first", "the first NUM utterances"),
        ("--last", "the last NUM"),
        ("--shortest", "the shortest NUM"),
        ("--per-spk", "up to NUM of each speaker"),
        ("--speakers", "whole speakers, until there are NUM"),
    ):
        command.add_argument(flag, action="store_true", help=help)
    command.add_argument("--utt-list", help="those listed in this file; then SRC DEST")
    command.add_argument("--spk-list", help="those of the speakers listed in this file; then SRC DEST")
    command.add_argument("operands", nargs="+", metavar="SRC NUM DEST")

    command = add("combine", _combine, "one data directory of several")
    command.add_argument("--extra-files", default="", help="further files keyed by utterance")
    command.add_argument("target")
    command.add_argument("sources", nargs="+")

    command = add("copy", _copy, "copy, renaming utterances and speakers")
    for flag in ("--utt-prefix", "--utt-suffix", "--spk-prefix", "--spk-suffix"):
        command.add_argument(flag, default="", help="put before or after every id")
    command.add_argument("source")
    command.add_argument("target")

    command = add("utt2dur", _utt2dur, "write utt2dur from segments, frame counts or audio headers")
    add_audio_options(command)
    command.add_argument("data_dir")
    command = add("utt2num-frames", _utt2num_frames, "write utt2num_frames from features or durations")
    add_audio_options(command)
    command.add_argument(
        "--frame-shift", type=float, default=_DEFAULT_SHIFT_S, help="seconds, without features"
    )
    command.add_argument("data_dir")

    for name, action in (
        ("utt2spk-to-spk2utt", _utt2spk_to_spk2utt),
        ("spk2utt-to-utt2spk", _spk2utt_to_utt2spk),
    ):
        command = add(name, action, "print the inverse of a map")
        command.add_argument("file", nargs="?", default="/dev/stdin", help="standard input if not given")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    tool = os.environ.get("SPEECHREP_TOOL")  # what utils/*.sh is called; messages begin with it
    if tool:
        sys.argv[0] = tool
    args = _parser(tool).parse_args(argv)
    args.action(args)
    sys.stdout.flush()


if __name__ == "__main__":
    run(main)
