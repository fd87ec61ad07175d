"""Add phone alignments to a data directory that has transcripts.

    python -m speechrep.bin.align_phones --data-dir data/dev_clean --aligner pocketsphinx --nj 2

Writes ``phones.ctm`` (39 ARPAbet phones and SIL, one frame = 10 ms) and, where some utterances could not be
aligned, ``utts_without_alignment`` with the reasons. A word that the aligner's dictionary lacks is pronounced
by espeak-ng's rules.
"""

import concurrent.futures
import dataclasses
import logging
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechrep.bin import run
from speechrep.config import add_options, from_options, make_parser, opt
from speechrep.errors import InputError
from speechrep.io.alignment import SILENCE, SPOKEN_NOISE, UNALIGNED, Interval, fold_phone, write_ctm
from speechrep.io.audio import Wavs
from speechrep.io.data_dir import DataDir
from speechrep.io.table import write_table
from speechrep.progress import Progress
from speechrep.synthesis.espeak import Espeak
from speechrep.synthesis.phones import ARPABET_OF, mnemonic

_log = logging.getLogger(__name__)

ALIGNERS = ("pocketsphinx",)
_SAMPLE_RATE_HZ, _FRAME_S = 16000, 0.01


@dataclasses.dataclass(frozen=True)
class AlignConfig:
    """How to align, and what counts as success."""

    aligner: str = opt("pocketsphinx", "which aligner", choices=ALIGNERS)
    min_aligned: float = opt(0.9, "share of the utterances, 0 to 1, that must be aligned")
    pronounce: bool = opt(True, "whether espeak-ng pronounces words that the dictionary lacks")


class NotAligned(Exception):
    """Why an utterance could not be aligned."""


class PocketSphinx:
    """Forced alignment with pocketsphinx and the English model that its package carries.

    Args:
        lexicon: words that its dictionary lacks, lower case, to ARPAbet phones with blanks between.

    Raises:
        InputError: pocketsphinx is not installed.
    """

    def __init__(self, lexicon: Mapping[str, str]):
        try:
            import pocketsphinx
        except ImportError:
            raise InputError("pocketsphinx is not installed", mend="pip install pocketsphinx") from None
        # The best-path search over the word lattice loses the phones of many utterances; with batch
        # normalisation and equal, wide beams the result depends on nothing but the utterance.
        self._decoder = pocketsphinx.Decoder(
            lm=None, bestpath=False, cmn="batch", beam=1e-80, wbeam=1e-80, pbeam=1e-80,
            samprate=_SAMPLE_RATE_HZ, loglevel="FATAL",
        )  # fmt: skip
        for word, phones in lexicon.items():
            self._decoder.add_word(word, phones, False)

    def lacks(self, word: str) -> bool:
        """Whether the dictionary has no pronunciation of a lower-case word."""
        return self._decoder.lookup_word(word) is None

    def align(self, samples: np.ndarray, text: str) -> list[Interval]:
        """Phones of an utterance, from 0 to its end.

        Args:
            samples: float32 (N,), 16 kHz.
            text: its transcript.

        Raises:
            NotAligned: a word without pronunciation, or the words do not fit the audio.
        """
        words = text.lower().split()
        unknown = sorted({word for word in words if self.lacks(word)})
        if unknown:
            raise NotAligned(f"no pronunciation of {' '.join(unknown)}")
        data = np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes()
        try:
            self._decoder.set_align_text(" ".join(words))
            self._search(data)  # the words
            if self._decoder.hyp() is None:
                raise NotAligned("the words do not fit the audio")
            self._decoder.set_alignment()
            self._search(data)  # the phones within them
            alignment = self._decoder.get_alignment()
        except RuntimeError as error:
            raise NotAligned(f"pocketsphinx: {error}") from None
        rows = [(phone.start, phone.duration, phone.name) for word in alignment or () for phone in word]
        if not rows:
            raise NotAligned("pocketsphinx found no phones")
        return _intervals(rows, len(samples) / _SAMPLE_RATE_HZ)

    def _search(self, data: bytes) -> None:
        self._decoder.reinit_feat()  # or the utterance before would leave its trace
        self._decoder.start_utt()
        self._decoder.process_raw(data, full_utt=True)
        self._decoder.end_utt()


def _intervals(rows: Iterable[tuple[int, int, str]], duration_s: float) -> list[Interval]:
    """Frames to seconds: frame i at i * 10 ms, as Kaldi counts; fillers such as ``+NSN+`` are noise."""
    intervals = [
        Interval(
            round(start * _FRAME_S, 2),
            round((start + count) * _FRAME_S, 2),
            SPOKEN_NOISE if name.startswith("+") else fold_phone(name),
        )
        for start, count, name in rows
        if count > 0
    ]
    last = intervals[-1]
    if last.start_s < duration_s:
        intervals[-1] = last._replace(end_s=duration_s)
    return intervals


def pronounce(words: Iterable[str]) -> dict[str, str]:
    """Pronunciations by espeak-ng's American rules, for words that it can say."""
    espeak, lexicon = Espeak(), {}
    for word in words:
        try:
            speech = espeak.synthesize(
                word, accent="en-us", variant="m3", rate=160, pitch=50, pitch_range=50, seed=1
            )
        except InputError:
            continue
        phones = [phone for _, name in speech.phones for phone in ARPABET_OF.get(mnemonic(name), ())]
        phones = [phone for phone in phones if phone != SILENCE]
        if phones:
            lexicon[word] = " ".join(phones)
    return lexicon


def align_data_dir(data_dir: str | os.PathLike[str], config: AlignConfig, nj: int = 1) -> None:
    """Add ``phones.ctm`` to a data directory.

    Args:
        data_dir: with ``text`` and 16 kHz audio.
        config: how.
        nj: processes.

    Raises:
        InputError: no transcripts, unreadable audio, or too few utterances that could be aligned.
    """
    data = DataDir(data_dir)
    if not data.has("text"):
        raise InputError("no transcripts to align", where=data.path / "text")
    dictionary = PocketSphinx({})
    words = {word for text in data.text.values() for word in text.lower().split()}
    unknown = sorted(word for word in words if dictionary.lacks(word))
    lexicon = pronounce(unknown) if config.pronounce and unknown else {}
    if unknown:
        _log.info("%d words are not in the dictionary, %d pronounced by rule", len(unknown), len(lexicon))
    found: dict[str, list[Interval]] = {}
    reasons: dict[str, str] = {}
    results = _align_all(data.path, data.utt_ids, lexicon, nj)
    for utt_id, intervals, reason in Progress(len(data.utt_ids), "utterances").over(results):
        if intervals:
            found[utt_id] = intervals
        else:
            reasons[utt_id] = reason
    (data.path / UNALIGNED).unlink(missing_ok=True)
    if reasons:
        write_table(data.path / UNALIGNED, reasons)
        first, reason = next(iter(reasons.items()))
        told = f"{len(reasons)} of {len(data.utt_ids)} utterances not aligned, first {first!r}: {reason}"
        if len(found) < config.min_aligned * len(data.utt_ids):
            raise InputError(
                f"{told}; want {config.min_aligned:.0%} aligned",
                where=data.path / UNALIGNED,
                mend="by hand, a smaller --min-aligned takes the set",
            )
        _log.warning("%s: %s", data.path / UNALIGNED, told)
    write_ctm(data.path / "phones.ctm", found)
    _log.info("%s: %d utterances aligned", data.path / "phones.ctm", len(found))


_Result = tuple[str, list[Interval], str]


_worker: dict[str, Any] = {}  # what a process needs for every utterance, made once


def _align_all(
    data_dir: Path, utt_ids: Sequence[str], lexicon: Mapping[str, str], nj: int
) -> Iterator[_Result]:
    if nj == 1:
        _start_worker(data_dir, lexicon)
        yield from map(_align_one, utt_ids)
        return
    spawn = multiprocessing.get_context("spawn")
    Wavs(data_dir, sample_rate=_SAMPLE_RATE_HZ)  # what is wrong with its tables is better told here
    with concurrent.futures.ProcessPoolExecutor(nj, spawn, _start_worker, (data_dir, lexicon)) as pool:
        yield from pool.map(_align_one, utt_ids, chunksize=8)


def _start_worker(data_dir: Path, lexicon: Mapping[str, str]) -> None:
    _worker["aligner"] = PocketSphinx(lexicon)
    _worker["wavs"] = Wavs(data_dir, sample_rate=_SAMPLE_RATE_HZ)
    _worker["text"] = DataDir(data_dir).text


def _align_one(utt_id: str) -> _Result:
    samples, _ = _worker["wavs"].read(utt_id)
    text = _worker["text"].get(utt_id, "")
    if not text:
        return utt_id, [], "no transcript"
    try:
        return utt_id, _worker["aligner"].align(samples, text), ""
    except NotAligned as error:
        return utt_id, [], str(error)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--data-dir", required=True, help="the data directory; phones.ctm is written into it")
    parser.add_argument("--nj", type=int, default=1, help="processes")
    add_options(parser, AlignConfig, title="alignment")
    args = parser.parse_args(argv)
    if args.nj < 1:
        parser.error("--nj must be at least 1")
    align_data_dir(args.data_dir, from_options(AlignConfig, args), args.nj)


if __name__ == "__main__":
    run(main)
