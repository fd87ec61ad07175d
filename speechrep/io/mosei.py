"""CMU-MOSEI as its authors distribute it, and S3PRL's label table: labelled clips of long recordings.

CMU-MOSI is read by the same code where its folders are alike; egs/mosei/README.md says what is assumed.
"""

import csv
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from speechrep.errors import InputError, telling_of
from speechrep.io.csd import read_csd
from speechrep.io.files import read_utf8

EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")  # columns 1 to 6 of the label sequence
FOLDS = ("train", "valid", "test")
_WAV_DIRS = ("Raw/Audio/Full/WAV_16000", "Raw/Audio/WAV_16000/Full", "Audio/Full/WAV_16000", "WAV_16000")
_TRANSCRIPT_DIRS = ("Raw/Transcript/Segmented/Combined", "Transcript/Segmented/Combined")
_LABEL_PATTERNS = ("*[Ll]abels.csd", "Raw/Labels/*[Ll]abels.csd", "labels/*[Ll]abels.csd", "*[Ll]abels.csv")
_CSV_COLUMNS = ("file", "index", "start", "end", "label7", "split")
_CSV_FOLDS = {"0": "train", "1": "valid", "2": "test", "3": ""}
_TOLERANCE_S = 0.05  # a label and its transcript carry the same times but for rounding


class Clip(NamedTuple):
    """A labelled stretch of a recording, as the labels give it: times may lie outside the recording."""

    video: str
    number: int  # of the segment within the video
    start_s: float
    end_s: float
    sentiment: float  # -3 to 3, mean over annotators; in S3PRL's table rounded away from 0
    emotions: tuple[float, ...] = ()  # EMOTIONS, 0 to 3 each; () where the labels have none
    text: str = ""  # "" where no transcript was found
    fold: str = ""  # as in S3PRL's table; "" if the labels do not say

    @property
    def utt_id(self) -> str:
        """``<video>-<number>``: sorts by video too, which ``<video>_<number>`` does not (25522, 255224)."""
        return f"{self.video}-{self.number:04d}"


class Line(NamedTuple):
    """A line of a segmented transcript."""

    number: int
    start_s: float
    end_s: float
    text: str


class Layout(NamedTuple):
    """Where the parts of the corpus are."""

    wav_dir: Path
    labels: Path
    transcript_dir: Path | None


def find_layout(mosei_dir: str | os.PathLike[str], labels: str | os.PathLike[str] = "") -> Layout:
    """Find recordings, labels and transcripts below ``mosei_dir``.

    Args:
        mosei_dir: the folder that holds ``Raw/``, or ``Raw`` itself.
        labels: the label file, ``.csd`` or ``.csv``, where it lies elsewhere.

    Raises:
        InputError: no recordings or no single label file, naming what was looked for.
    """
    base = Path(mosei_dir)
    if not base.is_dir():
        raise InputError("no such folder", where=base, mend="give the folder that holds Raw/")
    if base.name == "Raw":
        base = base.parent
    wav_dir = next((base / name for name in _WAV_DIRS if (base / name).is_dir()), None)
    if wav_dir is None:
        raise InputError(f"no folder of recordings; looked for {', '.join(_WAV_DIRS)}", where=base)
    if labels:
        found = [Path(labels)]
    else:
        found = next((hits for p in _LABEL_PATTERNS if (hits := sorted(base.glob(p)))), [])
        if len(found) != 1:
            raise InputError(
                f"want one label file ({', '.join(_LABEL_PATTERNS)}), found {[p.name for p in found]}",
                where=base, mend="give it with --labels",
            )  # fmt: skip
    transcripts = next((base / name for name in _TRANSCRIPT_DIRS if (base / name).is_dir()), None)
    return Layout(wav_dir, found[0], transcripts)


def read_clips(layout: Layout) -> list[Clip]:
    """Every labelled clip with its transcript, sorted by video and number."""
    lines = read_transcripts(layout.transcript_dir) if layout.transcript_dir else {}
    is_table = layout.labels.suffix.lower() == ".csv"
    clips = _read_label_csv(layout.labels) if is_table else _read_label_csd(layout.labels)
    return sorted(_tied(clips, lines), key=lambda clip: (clip.video, clip.number))


def read_transcripts(folder: str | os.PathLike[str]) -> dict[str, list[Line]]:
    """Read ``<video>.txt`` files of ``<video>___<segment>___<start>___<end>___<text>`` lines.

    Raises:
        InputError: a line of another form, naming file and line.
    """
    videos: dict[str, list[Line]] = {}
    for path in sorted(Path(folder).glob("*.txt")):
        with telling_of(path):
            rows = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
        for row_number, row in enumerate(rows, start=1):
            if not row.strip():
                continue
            fields = row.rstrip("\r").split("___", 4)
            try:
                line = Line(int(fields[1]), float(fields[2]), float(fields[3]), _clean(fields[4]))
                if not (math.isfinite(line.start_s) and math.isfinite(line.end_s)):
                    raise ValueError
            except (IndexError, ValueError):
                raise InputError(
                    "want '<video>___<segment>___<start>___<end>___<text>'", where=f"{path}:{row_number}"
                ) from None
            videos.setdefault(fields[0], []).append(line)
    return videos


def _clean(text: str) -> str:
    """Words with single spaces, without the characters that cannot be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def read_folds(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Video to fold, from ``train.txt``, ``valid.txt`` and ``test.txt`` of one id a line.

    Raises:
        InputError: a file is missing or empty, or a video is in two folds.
    """
    fold_of: dict[str, str] = {}
    for fold in FOLDS:
        path = Path(folder) / f"{fold}.txt"
        if not path.is_file():
            raise InputError("no such file", where=path, mend="one video id a line")
        videos = read_utf8(path).split()
        if not videos:
            raise InputError("no video ids", where=path)
        for video in videos:
            if video in fold_of:
                raise InputError(f"video {video!r} is in {fold_of[video]} too", where=path)
            fold_of[video] = fold
    return fold_of


def _read_label_csd(path: Path) -> list[Clip]:
    """Clips of a label sequence, numbered by their rows."""
    sequence = read_csd(path)
    clips = []
    for video, track in sequence.tracks.items():
        width = track.features.shape[1]
        if width not in (1, 1 + len(EMOTIONS)):
            raise InputError(
                f"video {video!r} has {width} columns, want 1 or {1 + len(EMOTIONS)}", where=path
            )
        if not (abs(track.features[:, 0]) <= 3).all():
            raise InputError(f"video {video!r} has a sentiment outside -3 to 3", where=path)
        for row, (start_s, end_s) in enumerate(track.intervals.tolist()):
            sentiment, *emotions = map(float, track.features[row])
            clips.append(Clip(video, row, start_s, end_s, sentiment, tuple(emotions)))
    return clips


def _tied(clips: Iterable[Clip], lines: Mapping[str, list[Line]]) -> list[Clip]:
    """Clips with the words and numbers of their transcripts.

    Times tie them: labels know only the places of their rows, which are in another order.
    """
    by_video: dict[str, list[Clip]] = {}
    for clip in clips:
        by_video.setdefault(clip.video, []).append(clip)
    tied = []
    for video, its in by_video.items():
        taken: set[int] = set()
        next_number = max((line.number for line in lines.get(video, [])), default=-1) + 1
        for clip in sorted(its, key=lambda clip: (clip.start_s, clip.end_s)):
            line = _line_at(clip.start_s, clip.end_s, lines.get(video, []), taken)
            if line is None:  # numbered after the last one, in the order of time
                line = Line(next_number, clip.start_s, clip.end_s, "")
                next_number += 1
            taken.add(line.number)
            tied.append(clip._replace(number=line.number, text=line.text))
    return tied


def _line_at(start_s: float, end_s: float, lines: Iterable[Line], taken: set[int]) -> Line | None:
    """The nearest transcript line not yet taken, if both its times agree."""
    distances = [
        (abs(line.start_s - start_s) + abs(line.end_s - end_s), line)
        for line in lines
        if line.number not in taken
        and max(abs(line.start_s - start_s), abs(line.end_s - end_s)) <= _TOLERANCE_S
    ]
    return min(distances)[1] if distances else None


def _read_label_csv(path: Path) -> list[Clip]:
    """Clips of S3PRL's table, with whole-number sentiment and folds; numbered by rows of the ``.csd``."""
    clips = []
    try:
        with telling_of(path), open(path, encoding="latin-1", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in _CSV_COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise InputError(f"no column {missing[0]!r}", where=path, mend="want S3PRL's label table")
            for row in reader:
                where = f"{path}:{reader.line_num}"
                try:
                    clip = Clip(
                        row["file"], int(row["index"]), float(row["start"]), float(row["end"]),
                        float(row["label7"]), fold=_CSV_FOLDS[row["split"]],
                    )  # fmt: skip
                except (KeyError, TypeError, ValueError) as error:
                    raise InputError(f"bad row: {error}", where=where) from None
                if not (math.isfinite(clip.start_s) and math.isfinite(clip.end_s)):
                    raise InputError(f"start {clip.start_s} s, end {clip.end_s} s, want numbers", where=where)
                if not abs(clip.sentiment) <= 3:
                    raise InputError(f"label7 is {clip.sentiment}, want -3 to 3", where=where)
                clips.append(clip)
    except csv.Error as error:
        raise InputError(f"not a table: {error}", where=path) from error
    return clips
