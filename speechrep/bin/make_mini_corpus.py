"""Make a small corpus in LibriSpeech layout by speech synthesis, with true phone alignments.

    python -m speechrep.bin.make_mini_corpus --out-dir corpus/mini --seed 1 --nj 2

``OUT/LibriSpeech/`` holds SPEAKERS.TXT and the sets mini-train, mini-dev and mini-test, whose speakers and
sentences are disjoint; ``OUT/alignments/<set>/<speaker>/<chapter>/<utterance>.TextGrid`` the phone times.
The same seed gives the same bytes, whatever ``--nj`` is.
"""

import dataclasses
import logging
import os
import random
from collections.abc import Sequence
from pathlib import Path

import soundfile

from speechrep.bin import run
from speechrep.config import add_options, from_options, make_parser, opt, to_dict
from speechrep.errors import InputError
from speechrep.io.alignment import write_textgrid
from speechrep.io.dirs import atomic_directory
from speechrep.io.files import read_json, write_json
from speechrep.io.table import write_table
from speechrep.synthesis.espeak import Espeak
from speechrep.synthesis.render import fork_each, render, write_audio
from speechrep.synthesis.sentences import draw_sentence, transcript
from speechrep.synthesis.voices import Voice, draw_voices

_log = logging.getLogger(__name__)

SETS = ("mini-train", "mini-dev", "mini-test")
MARKER = "mini_corpus.json"  # what was asked for; its presence says that the folder is ours to replace
_FIRST_READER, _CHAPTER = 2001, 100000
_VERSION = 1  # raised when the same options would give other bytes


@dataclasses.dataclass(frozen=True)
class MiniCorpusConfig:
    """How large the corpus is, and its seed."""

    speakers: tuple[int, ...] = opt((18, 3, 3), "speakers of the train, dev and test set")
    sentences: int = opt(22, "sentences of each speaker; one lasts about 4 s")
    min_words: int = opt(7, "words of the shortest sentence")
    max_words: int = opt(15, "words of the longest sentence")
    seed: int = opt(1, "another seed gives other voices and sentences")


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One utterance to make.

    Attributes:
        set_name: its set.
        reader: speaker number.
        number: its number in the chapter.
        sentence: what is said, lower case.
        voice: who says it.
    """

    set_name: str
    reader: int
    number: int
    sentence: str
    voice: Voice

    @property
    def folder(self) -> str:
        """Where it lies below the corpus root, as LibriSpeech has it."""
        return f"{self.set_name}/{self.reader}/{_CHAPTER + self.reader}"

    @property
    def utt_id(self) -> str:
        """``<reader>-<chapter>-<number>``."""
        return f"{self.reader}-{_CHAPTER + self.reader}-{self.number:04d}"


def plan(config: MiniCorpusConfig) -> list[Utterance]:
    """Every utterance of the corpus; no sentence comes twice.

    Raises:
        InputError: wrong sizes, or more sentences than the grammar gives.
    """
    if len(config.speakers) != len(SETS) or min(config.speakers) < 1 or config.sentences < 1:
        raise InputError("want three numbers of speakers and a number of sentences, all above 0")
    if not 4 <= config.min_words <= config.max_words <= 30:
        raise InputError("want 4 <= min-words <= max-words <= 30")
    rng = random.Random(f"sentences {config.seed}")  # noqa: S311 (a draw that must repeat, not a secret)
    used: set[str] = set()
    utterances = []
    reader = _FIRST_READER
    for set_name, voices in zip(SETS, draw_voices(config.speakers, config.seed), strict=True):
        for voice in voices:
            for number in range(config.sentences):
                for _ in range(1000):
                    sentence = draw_sentence(rng, config.min_words, config.max_words)
                    if sentence not in used:
                        break
                else:
                    raise InputError("the grammar has no more sentences of this length", mend="ask for fewer")
                used.add(sentence)
                utterances.append(Utterance(set_name, reader, number, sentence, voice))
            reader += 1
    return utterances


def make_corpus(out_dir: str | os.PathLike[str], config: MiniCorpusConfig, nj: int = 1) -> None:
    """Make the corpus, or do nothing where it lies already.

    Args:
        out_dir: where it goes; appears only once whole.
        config: its size and seed.
        nj: utterances made at a time.

    Raises:
        InputError: ``out_dir`` holds something else.
    """
    out_dir = Path(out_dir)
    marker = {"version": _VERSION, **to_dict(config)}
    whole = all((out_dir / part / name).is_dir() for part in ("LibriSpeech", "alignments") for name in SETS)
    if whole and (out_dir / MARKER).is_file() and read_json(out_dir / MARKER) == marker:
        _log.info("%s is there already", out_dir)
        return
    if out_dir.exists() and not (out_dir / MARKER).is_file() and any(out_dir.iterdir()):
        raise InputError(
            "is not empty and not a corpus made here", where=out_dir, mend="choose another --out-dir"
        )
    utterances = plan(config)
    espeak = Espeak()
    with atomic_directory(out_dir) as folder:
        for part in {utterance.folder for utterance in utterances}:
            (folder / "LibriSpeech" / part).mkdir(parents=True)
            (folder / "alignments" / part).mkdir(parents=True)

        def make(utterance: Utterance) -> None:
            samples, phones = render(
                espeak, utterance.sentence, utterance.voice, f"{utterance.utt_id} {config.seed}"
            )
            name = f"{utterance.folder}/{utterance.utt_id}"
            path = folder / "LibriSpeech" / f"{name}.flac"
            write_audio(path, samples)
            write_textgrid(folder / "alignments" / f"{name}.TextGrid", {"phones": phones})

        fork_each(utterances, make, nj)
        minutes = _write_texts(folder / "LibriSpeech", utterances)
        write_json(folder / MARKER, marker)
    for set_name in SETS:
        _log.info("%s: %.1f minutes", set_name, minutes[set_name])


def _write_texts(root: Path, utterances: Sequence[Utterance]) -> dict[str, float]:
    """Transcripts and SPEAKERS.TXT; returns the minutes of each set."""
    chapters: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        chapters.setdefault(utterance.folder, []).append(utterance)
    lines = [";ID  |SEX| SUBSET           |MINUTES| NAME"]
    minutes = dict.fromkeys(SETS, 0.0)
    for folder, members in chapters.items():
        first = members[0]
        chapter = f"{first.reader}-{_CHAPTER + first.reader}"
        write_table(
            root / folder / f"{chapter}.trans.txt",
            {member.utt_id: transcript(member.sentence) for member in members},
        )
        seconds = sum(soundfile.info(root / folder / f"{member.utt_id}.flac").duration for member in members)
        minutes[first.set_name] += seconds / 60
        name = f"espeak-ng {first.voice.accent} {first.voice.variant}"
        lines.append(
            f"{first.reader:<5}| {first.voice.sex} | {first.set_name:<17}| {seconds / 60:5.2f} | {name}"
        )
    (root / "SPEAKERS.TXT").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return minutes


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--out-dir", required=True, help="where the corpus goes")
    parser.add_argument("--nj", type=int, default=1, help="utterances made at a time")
    add_options(parser, MiniCorpusConfig, title="corpus")
    args = parser.parse_args(argv)
    if args.nj < 1:
        parser.error("--nj must be at least 1")
    make_corpus(args.out_dir, from_options(MiniCorpusConfig, args), args.nj)


if __name__ == "__main__":
    run(main)
