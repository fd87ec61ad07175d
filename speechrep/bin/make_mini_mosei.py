"""Make a miniature of CMU-MOSEI by speech synthesis, in the corpus' own layout and with its hazards.

    python -m speechrep.bin.make_mini_mosei --out-dir corpus/mini_mosei --seed 1 --nj 2

``OUT/`` holds Raw/Audio/Full/WAV_16000, Raw/Transcript/Segmented/Combined, CMU_MOSEI_Labels.csd and, as its
video ids are made up, folds/{train,valid,test}.txt. Sentiment is in the words and in the voice. Every
opinion is judged by three made-up annotators, whose mean is its label. The same seed gives the same bytes.
"""

import dataclasses
import logging
import os
import random
import string
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speechrep.bin import run
from speechrep.config import add_options, from_options, make_parser, opt, to_dict
from speechrep.errors import InputError
from speechrep.io.csd import Track, write_csd
from speechrep.io.dirs import atomic_directory
from speechrep.io.files import read_json, write_json
from speechrep.io.mosei import EMOTIONS, FOLDS
from speechrep.synthesis.espeak import Espeak
from speechrep.synthesis.opinions import LEVELS, colour, draw_opinion
from speechrep.synthesis.render import SAMPLE_RATE, fork_each, render, write_audio
from speechrep.synthesis.voices import Voice, draw_voices

_log = logging.getLogger(__name__)
LABELS = "CMU_MOSEI_Labels.csd"
MARKER = "mini_mosei.json"  # what was asked for; its presence says that the folder is ours to replace
WAV_DIR, TRANSCRIPT_DIR = "Raw/Audio/Full/WAV_16000", "Raw/Transcript/Segmented/Combined"
_VERSION = 1  # raised when the same options would give other bytes
_LEVEL_WEIGHTS = (4, 11, 15, 20, 30, 15, 5)  # nearly the corpus' own shares of -3 to 3
_NUM_ANNOTATORS, _DISAGREEMENT = 3, 0.5
_NOISE = 10 ** (-75 / 20)  # the quiet room of the pauses between opinions
_PAUSE_S = (0.3, 0.9)
# What is wrong with the first videos of each fold, and with further ones that are there for it alone.
_HAZARDS = {
    "train": ("negative_start", "beyond_the_end", "unsorted"), "valid": (), "test": ("beyond_the_end",),
}  # fmt: skip
_EXTRA = {"train": ("missing_wav", "no_fold"), "valid": (), "test": ("unlabelled",)}
_ID_CHARACTERS = string.ascii_letters + string.digits


@dataclasses.dataclass(frozen=True)
class MiniMoseiConfig:
    """How large the miniature is, and its seed."""

    videos: tuple[int, ...] = opt(
        (24, 6, 12), "labelled videos of the train, valid and test fold; one voice each"
    )
    clips: int = opt(10, "opinions of each video; one lasts about 2 s")
    seed: int = opt(1, "another seed gives other voices, words and labels")

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"want 0 or more, got {self.seed}", where="--seed")


@dataclasses.dataclass
class Opinion:
    """One labelled clip to make; its times are known once it is spoken."""

    utt: str
    number: int
    words: str
    voice: Voice
    labels: list[float]  # sentiment and EMOTIONS
    start_s: float = 0.0
    end_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Video:
    """One recording; ``hazard`` is a word of ``_HAZARDS`` or ``_EXTRA``, or empty."""

    name: str
    fold: str
    opinions: list[Opinion]
    hazard: str = ""


def plan(config: MiniMoseiConfig) -> list[Video]:
    """Every recording: the wanted ones, some with hazards, and the extra ones.

    Raises:
        InputError: wrong sizes.
    """
    if len(config.videos) != len(FOLDS) or min(config.videos) < 1 or config.clips < 1:
        raise InputError("want three numbers of videos and a number of clips, all above 0")
    rng = random.Random(f"opinions {config.seed}")  # noqa: S311 (a draw that must repeat, not a secret)
    counts = [n + len(_EXTRA[fold]) for n, fold in zip(config.videos, FOLDS, strict=True)]
    videos = []
    for fold, voices in zip(FOLDS, draw_voices(counts, config.seed), strict=True):
        num_wanted = len(voices) - len(_EXTRA[fold])
        common = _HAZARDS[fold][:num_wanted]
        hazards = [*common, *[""] * (num_wanted - len(common)), *_EXTRA[fold]]
        for index, (voice, hazard) in enumerate(zip(voices, hazards, strict=True)):
            name = _video_id(rng, index, fold)
            opinions = [_opinion(name, number, voice, rng) for number in range(config.clips)]
            videos.append(Video(name, "" if hazard == "no_fold" else fold, opinions, hazard))
    return videos


def _video_id(rng: random.Random, index: int, fold: str) -> str:
    """Eleven characters as YouTube has them, now and then a number; the odd ones on purpose."""
    first, *_, last = FOLDS
    if fold == first and index in (1, 2):
        return "25522" if index == 1 else "255224"  # one begins the other, as in the corpus
    if index % 7 == 6:
        return str(rng.randrange(10000, 400000))
    name = "".join(rng.choices(_ID_CHARACTERS, k=11))
    if index == 0:  # ids that look like options
        name = "-" + name[1:]
    elif index == 3 and fold == last:
        name = f"_{name[1:5]}__{name[7:]}"
    return name


def _opinion(video: str, number: int, voice: Voice, rng: random.Random) -> Opinion:
    level = rng.choices(LEVELS, _LEVEL_WEIGHTS)[0]
    marks = [min(3, max(-3, round(rng.gauss(level, _DISAGREEMENT)))) for _ in range(_NUM_ANNOTATORS)]
    sentiment = sum(marks) / len(marks)
    emotions = dict.fromkeys(EMOTIONS, 0.0)
    emotions["happy"] = max(sentiment, 0.0)
    emotions[rng.choice(("sad", "anger", "disgust"))] = max(-sentiment, 0.0)
    labels = [sentiment, *emotions.values()]
    return Opinion(f"{video} {number}", number, draw_opinion(level, rng), colour(voice, level), labels)


def make_mosei(out_dir: str | os.PathLike[str], config: MiniMoseiConfig, nj: int = 1) -> None:
    """Make the miniature, or do nothing where it lies already.

    Args:
        out_dir: where it goes; appears only once whole.
        config: its size and seed.
        nj: opinions spoken at a time.

    Raises:
        InputError: ``out_dir`` holds something else.
    """
    out_dir = Path(out_dir)
    marker = {"version": _VERSION, **to_dict(config)}
    whole = all((out_dir / name).exists() for name in (LABELS, WAV_DIR, TRANSCRIPT_DIR, "folds"))
    if whole and (out_dir / MARKER).is_file() and read_json(out_dir / MARKER) == marker:
        _log.info("%s is there already", out_dir)
        return
    if out_dir.exists() and not (out_dir / MARKER).is_file() and any(out_dir.iterdir()):
        raise InputError("is not empty and not made here", where=out_dir, mend="choose another --out-dir")
    videos = plan(config)
    espeak = Espeak()
    with tempfile.TemporaryDirectory() as spoken, atomic_directory(out_dir) as folder:

        def speak(opinion: Opinion) -> None:
            samples, _ = render(espeak, opinion.words, opinion.voice, f"{opinion.utt} {config.seed}")
            np.save(_spoken(spoken, opinion), samples)

        fork_each([opinion for video in videos for opinion in video.opinions], speak, nj)
        for name in (WAV_DIR, TRANSCRIPT_DIR, "folds"):
            (folder / name).mkdir(parents=True)
        for video in videos:
            _write_video(folder, video, spoken, config.seed)
        _write_labels(folder / LABELS, videos)
        for fold in FOLDS:
            names = [video.name for video in videos if video.fold == fold]
            (folder / f"folds/{fold}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        write_json(folder / MARKER, marker)
    clips = [opinion for video in videos for opinion in video.opinions]
    minutes = sum(clip.end_s - clip.start_s for clip in clips) / 60
    _log.info("%s: %d videos, %d clips, %.1f minutes", out_dir, len(videos), len(clips), minutes)


def _spoken(folder: str, opinion: Opinion) -> Path:
    return Path(folder) / f"{opinion.utt.replace(' ', '+')}.npy"


def _write_video(folder: Path, video: Video, spoken: str, seed: int) -> None:
    """Recording and transcript; fills in the clips' times."""
    rng = np.random.default_rng([seed, *video.name.encode()])
    order = list(video.opinions)
    if video.hazard == "unsorted":
        order = order[::-1]
    blocks, clock = [], 0
    for opinion in order:
        pause, samples = _pause(rng), np.load(_spoken(spoken, opinion))
        blocks += [pause, samples]
        start = clock + len(pause)
        clock = start + len(samples)
        opinion.start_s, opinion.end_s = round(start / SAMPLE_RATE, 3), round(clock / SAMPLE_RATE, 3)
    if video.hazard == "negative_start":
        order[0].start_s = -0.487
    if video.hazard == "beyond_the_end":
        order[-1].end_s = round(order[-1].end_s + 1.5, 3)
    if video.hazard != "missing_wav":
        blocks.append(_pause(rng))
        path = folder / WAV_DIR / f"{video.name}.wav"
        write_audio(path, np.concatenate(blocks))
    lines = [
        f"{video.name}___{o.number}___{o.start_s}___{o.end_s}___{o.words.capitalize()}."
        for o in video.opinions
    ]
    (folder / TRANSCRIPT_DIR / f"{video.name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _pause(rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(int(rng.uniform(*_PAUSE_S) * SAMPLE_RATE))
    return np.rint(32768 * _NOISE * noise).astype(np.int16)


def _write_labels(path: Path, videos: Sequence[Video]) -> None:
    tracks = {
        video.name: Track(
            np.array([opinion.labels for opinion in video.opinions], np.float32),
            np.array([[opinion.start_s, opinion.end_s] for opinion in video.opinions]),
        )
        for video in videos
        if video.hazard != "unlabelled"
    }
    write_csd(
        path, "All Labels", tracks,
        {
            "computational sequence description": "Labels of a synthetic miniature of CMU-MOSEI",
            "dimension names": ["sentiment", *EMOTIONS], "computational sequence version": "1.0",
            "alignment compatible": False, "dataset name": "miniature of CMU-MOSEI",
            "dataset version": str(_VERSION), "creator": "speechrep", "contact": "",
            "featureset bib citation": "", "dataset bib citation": "",
        },
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Command-line entry."""
    parser = make_parser(__doc__)
    parser.add_argument("--out-dir", required=True, help="where it goes")
    parser.add_argument("--nj", type=int, default=1, help="opinions spoken at a time")
    add_options(parser, MiniMoseiConfig, title="corpus")
    args = parser.parse_args(argv)
    if args.nj < 1:
        parser.error("--nj must be at least 1")
    make_mosei(args.out_dir, from_options(MiniMoseiConfig, args), args.nj)


if __name__ == "__main__":
    run(main)
