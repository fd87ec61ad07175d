"""CMU-MOSEI to Kaldi data directories: segments, sentiment, emotions, text; every hazard listed.

    python -m speechrep.bin.prepare_mosei --mosei-dir CMU_MOSEI --folds conf/standard_folds --out-dir data

Protocols, whose numbers are not comparable:
    standard    the folds of the corpus' own toolkit (or of S3PRL's table): sets train, valid, test.
    mockingjay  that paper's split: clips of 1 to 20 s with |sentiment| >= 0.1; the videos that keep one,
                sorted and permuted with numpy's legacy generator, seed 29; the first 90 % train, the rest
                test. The paper selects its model on the test part; here the last tenth of the training
                videos (in permuted order) is set aside as valid. Sets mockingjay_{train,valid,test}.
"""

import collections
import dataclasses
import itertools
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from speechrep.bin import run
from speechrep.config import add_options, from_options, make_parser, opt
from speechrep.errors import InputError
from speechrep.io.data_content import require_target
from speechrep.io.data_dir import invert
from speechrep.io.data_valid import validate
from speechrep.io.dirs import atomic_directory
from speechrep.io.files import atomic_open
from speechrep.io.mosei import FOLDS, Clip, find_layout, read_clips, read_folds
from speechrep.io.table import write_table

_log = logging.getLogger(__name__)
SAMPLE_RATE_HZ = 16000
MIN_CLIP_S = 0.1  # shorter ones give a few frames only; the corpus' shortest is 0.12 s
NO_TEXT = "<unk>"  # a data directory's transcripts may not be empty
_MAX_S, _MIN_S, _MIN_SENTIMENT, _SPLIT_SEED, _TRAIN_SHARE = 20.0, 1.0, 0.1, 29, 0.9


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """What is prepared, from where."""

    mosei_dir: str = opt("", "folder of the corpus: the one that holds Raw/")
    labels: str = opt("", "label file (.csd of the authors, .csv of S3PRL); empty: found below mosei-dir")
    folds: str = opt(
        "",
        "folder with train.txt, valid.txt, test.txt of video ids; empty: mosei-dir/folds, or the table's own",
    )
    default_folds: str = opt("", "such a folder for where neither of these is")
    protocol: str = opt("standard", "which split", choices=("standard", "mockingjay"))
    out_dir: str = opt("data", "where the sets' data directories are made")
    prefix: str = opt("", "what the names of the sets begin with")


class Hazard(NamedTuple):
    """Something in the corpus that was not as it should be."""

    kind: str
    who: str  # video or utterance
    detail: str
    action: str


def main(argv: Sequence[str] | None = None) -> None:
    """Command-line entry."""
    parser = make_parser(__doc__)
    add_options(parser, PrepareConfig, title="which corpus")
    config = from_options(PrepareConfig, parser.parse_args(argv))
    if not config.mosei_dir:
        parser.error("--mosei-dir is required")
    prepare(config)


def prepare(config: PrepareConfig) -> None:
    """Write the data directories of one protocol, and ``<out-dir>/<prefix>hazards.tsv``."""
    layout = find_layout(config.mosei_dir, config.labels)
    clips = read_clips(layout)
    hazards = _oddities(clips)
    if config.protocol == "standard":
        fold_of, prefix = _standard_folds(config, clips), config.prefix
        labelled = {clip.video for clip in clips}
        hazards += [
            Hazard("unlabelled_video", video, f"in fold {fold}, no labels", "left out")
            for video, fold in sorted(fold_of.items())
            if video not in labelled
        ]
        counts = collections.Counter(clip.video for clip in clips if clip.video not in fold_of)
        hazards += [
            Hazard("video_in_no_fold", video, f"{count} segments", "left out")
            for video, count in sorted(counts.items())
        ]
    else:
        clips = paper_clips(clips)
        fold_of, prefix = paper_folds(clips), f"{config.prefix}mockingjay_"
    videos = sorted({clip.video for clip in clips if clip.video in fold_of})
    durations, others = _durations(layout.wav_dir, videos)
    hazards += others
    for fold in FOLDS:
        kept = []
        for clip in clips:
            if fold_of.get(clip.video) == fold:
                fitted, found = fit(clip, durations[clip.video])
                hazards += found
                kept += [fitted] if fitted else []
        if not kept:
            raise InputError(f"no clip left in the {fold} set", where=config.mosei_dir)
        _write_set(Path(config.out_dir) / f"{prefix}{fold}", kept, layout.wav_dir)
    _report(Path(config.out_dir) / f"{prefix}hazards.tsv", hazards)


def paper_clips(clips: Sequence[Clip]) -> list[Clip]:
    """The clips the Mockingjay paper's protocol keeps, judged by their labels' own times."""
    return [
        clip for clip in clips
        if _MIN_S <= clip.end_s - clip.start_s <= _MAX_S and abs(clip.sentiment) >= _MIN_SENTIMENT
    ]  # fmt: skip


def paper_folds(clips: Sequence[Clip]) -> dict[str, str]:
    """Video to fold in the Mockingjay paper's protocol; see the module's description for ``valid``."""
    videos = np.array(sorted({clip.video for clip in clips}))
    # The legacy generator, because another one would be another split.
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(videos))
    num_train = int(_TRAIN_SHARE * len(videos))
    num_valid = max(1, num_train // 10)
    fold_of = {str(video): "test" for video in videos}
    fold_of |= {str(video): "train" for video in videos[order[: num_train - num_valid]]}
    fold_of |= {str(video): "valid" for video in videos[order[num_train - num_valid : num_train]]}
    return fold_of


def fit(clip: Clip, duration_s: float | None) -> tuple[Clip | None, list[Hazard]]:
    """A clip within its recording, or None if nothing usable of it is; and what was wrong with it.

    Args:
        clip: as labelled.
        duration_s: of the recording; None if it is missing.
    """
    if duration_s is None:
        return None, [Hazard("missing_wav", clip.utt_id, f"no {clip.video}.wav", "left out")]
    hazards = []
    start_s, end_s = clip.start_s, clip.end_s
    if start_s < 0:
        hazards.append(Hazard("negative_start", clip.utt_id, f"{start_s:.4f} s", "starts at 0"))
        start_s = 0.0
    if end_s > duration_s:
        detail = f"{end_s:.4f} s of {duration_s:.4f} s"
        end_s = math.floor(duration_s * 1e4) / 1e4  # written with four decimals: must not round up
        gone = end_s - start_s < MIN_CLIP_S
        hazards.append(
            Hazard("beyond_the_end", clip.utt_id, detail, "left out" if gone else "cut at the end")
        )
        if gone:
            return None, hazards
    if end_s - start_s < MIN_CLIP_S:
        return None, [*hazards, Hazard("too_short", clip.utt_id, f"{end_s - start_s:.4f} s", "left out")]
    if not clip.text:
        hazards.append(Hazard("no_transcript", clip.utt_id, "no line with these times", f"text is {NO_TEXT}"))
    return clip._replace(start_s=start_s, end_s=end_s), hazards


def _oddities(clips: Sequence[Clip]) -> list[Hazard]:
    """Ids that trip other tools; kept, and told."""
    videos = sorted({clip.video for clip in clips})
    hazards = [
        Hazard("leading_hyphen", video, "an option to careless tools", "kept")
        for video in videos
        if video[0] == "-"
    ]
    for video, following in itertools.pairwise(videos):
        if following.startswith(video):
            hazards.append(
                Hazard("prefix_pair", video, f"begins {following}", "kept; utterances join with '-'")
            )
    by_video = itertools.groupby(clips, key=lambda clip: clip.video)
    starts = {video: [clip.start_s for clip in group] for video, group in by_video}
    hazards += [
        Hazard("not_in_order_of_time", video, f"{len(times)} segments", "kept")
        for video, times in starts.items()
        if times != sorted(times)
    ]
    return hazards


def _standard_folds(config: PrepareConfig, clips: Sequence[Clip]) -> dict[str, str]:
    """Folds from the given folder, the corpus folder's own, or the label table."""
    own = Path(config.mosei_dir) / "folds"
    if config.folds or own.is_dir():
        return read_folds(config.folds or own)
    fold_of = {clip.video: clip.fold for clip in clips if clip.fold}
    if not fold_of and config.default_folds:
        return read_folds(config.default_folds)
    if not fold_of:
        raise InputError("these labels name no folds", where=config.mosei_dir, mend="give --folds DIR")
    return fold_of


def _durations(wav_dir: Path, videos: Sequence[str]) -> tuple[dict[str, float | None], list[Hazard]]:
    """Seconds of every recording, from its header, None for a missing one; and those of another kind."""
    durations: dict[str, float | None] = {}
    hazards = []
    for video in videos:
        path = wav_dir / f"{video}.wav"
        durations[video] = None
        if not path.exists():
            continue
        try:
            info = soundfile.info(str(path))
        except soundfile.LibsndfileError as error:
            raise InputError(
                f"not a readable WAV: {error}", where=path, mend="mend it, or remove it to have it left out"
            ) from error
        if (info.channels, info.samplerate) != (1, SAMPLE_RATE_HZ):
            what = f"{info.channels} channels at {info.samplerate} Hz"
            hazards.append(Hazard("other_audio", video, what, "kept: its features need options for it"))
        durations[video] = info.duration
    if not any(durations.values()):
        raise InputError("none of the labelled videos has a recording", where=wav_dir)
    return durations, hazards


def _write_set(path: Path, clips: Sequence[Clip], wav_dir: Path) -> None:
    """One data directory; the speaker is the video, as the corpus knows no speakers."""
    by_utt = {clip.utt_id: clip for clip in clips}
    utt2spk = {utt_id: by_utt[utt_id].video for utt_id in sorted(by_utt)}
    require_target(path, [wav_dir])
    with atomic_directory(path, keep=True) as folder:
        write_table(
            folder / "wav.scp", {v: str((wav_dir / f"{v}.wav").resolve()) for v in set(utt2spk.values())}
        )
        write_table(folder / "utt2spk", utt2spk)
        write_table(folder / "spk2utt", {video: " ".join(utts) for video, utts in invert(utt2spk).items()})
        write_table(
            folder / "segments",
            {utt: f"{c.video} {c.start_s:.4f} {c.end_s:.4f}" for utt, c in by_utt.items()},
        )
        write_table(folder / "utt2dur", {utt: f"{c.end_s - c.start_s:.4f}" for utt, c in by_utt.items()})
        write_table(folder / "text", {utt: c.text or NO_TEXT for utt, c in by_utt.items()})
        write_table(folder / "utt2sentiment", {utt: f"{c.sentiment:.6g}" for utt, c in by_utt.items()})
        if all(clip.emotions for clip in clips):
            rows = {utt: " ".join(f"{value:.6g}" for value in c.emotions) for utt, c in by_utt.items()}
            write_table(folder / "utt2emotion", rows)
        validate(folder)
    signs = collections.Counter(int(np.sign(clip.sentiment)) for clip in clips)
    hours = sum(clip.end_s - clip.start_s for clip in clips) / 3600
    _log.info(
        "%s: %d segments of %d videos, %.2f h; negative/zero/positive %d/%d/%d",
        path, len(clips), len(set(utt2spk.values())), hours, signs[-1], signs[0], signs[1],
    )  # fmt: skip


def _report(path: Path, hazards: Sequence[Hazard]) -> None:
    with atomic_open(path) as stream:
        stream.write("kind\tvideo or utterance\tdetail\taction\n")
        stream.writelines("\t".join(hazard) + "\n" for hazard in hazards)
    for (kind, action), count in sorted(collections.Counter((h.kind, h.action) for h in hazards).items()):
        _log.warning("%s: %d times, %s", kind, count, action)
    _log.info("every hazard is listed in %s", path)


if __name__ == "__main__":
    run(main)
