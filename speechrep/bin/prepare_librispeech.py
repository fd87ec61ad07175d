"""Make Kaldi data directories of sets in LibriSpeech layout.

    python -m speechrep.bin.prepare_librispeech --corpus corpus/LibriSpeech --sets "dev-clean" --out-dir data

``data/dev_clean/`` gets wav.scp, utt2spk, spk2utt, utt2dur, spk2gender, ``text`` where the set has
transcripts and ``phones.ctm`` where ``--alignments`` are given; it appears only once it is whole and valid.
As in Kaldi's LibriSpeech recipe the speaker is ``<reader>-<chapter>``.
"""

import concurrent.futures
import dataclasses
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import soundfile

from speechrep.bin import run
from speechrep.config import add_options, from_options, make_parser, opt
from speechrep.errors import InputError
from speechrep.io.alignment import UNALIGNED, Interval, read_phone_textgrid, write_ctm
from speechrep.io.data_content import require_target
from speechrep.io.data_dir import invert
from speechrep.io.data_valid import validate
from speechrep.io.dirs import atomic_directory
from speechrep.io.files import read_utf8
from speechrep.io.table import read_rows, write_table
from speechrep.progress import Progress

_log = logging.getLogger(__name__)

SAMPLE_RATE_HZ = 16000
MIN_DURATION_S = 0.1
_ALIGNMENT_SLACK_S = 0.1  # an alignment may end this much after the audio: aligners round up to their frames
# libsndfile's largest integer stands for a FLAC length of 0, that is empty or a stream's.
_UNKNOWN_LENGTH = 1 << 62
_HEADER_THREADS = 4  # opening files is waiting, on a network disk above all


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """What may be missing in a corpus."""

    audio_only_ok: bool = opt(True, "accept sets without any transcript, for pre-training")
    max_unaligned: float = opt(
        0.01, "share of a set's utterances, 0 to 1, that may lack an alignment where --alignments is given"
    )


def corpus_root(corpus: str | os.PathLike[str]) -> Path:
    """The folder that holds SPEAKERS.TXT: ``corpus`` itself or ``corpus/LibriSpeech``.

    Raises:
        InputError: neither holds it.
    """
    for root in (Path(corpus), Path(corpus) / "LibriSpeech"):
        if (root / "SPEAKERS.TXT").is_file():
            return root
    raise InputError(
        "no SPEAKERS.TXT here nor in LibriSpeech/ below",
        where=corpus,
        mend="--corpus is the folder that holds SPEAKERS.TXT and the sets, or its parent",
    )


def read_genders(path: str | os.PathLike[str]) -> dict[str, str]:
    """Reader to ``m`` or ``f`` from SPEAKERS.TXT (``id | SEX | SUBSET | MINUTES | NAME``, ``;`` comments).

    Raises:
        InputError: a line of another form, or a reader of both genders.
    """
    genders: dict[str, str] = {}
    for number, line in enumerate(read_utf8(path).splitlines(), start=1):
        if not line.strip() or line.startswith(";"):
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) < 2 or fields[1].lower() not in ("m", "f"):
            raise InputError(f"want 'id | M or F | ...', got {line!r}", where=f"{path}:{number}")
        gender = fields[1].lower()
        if genders.setdefault(fields[0], gender) != gender:  # a reader of two sets has two lines
            raise InputError(f"reader {fields[0]} is M and F", where=f"{path}:{number}")
    return genders


def prepare_set(
    root: Path,
    set_name: str,
    out_dir: str | os.PathLike[str],
    config: PrepareConfig,
    alignments: str | os.PathLike[str] | None = None,
) -> Path:
    """Make the data directory of one set.

    Args:
        root: the folder that holds SPEAKERS.TXT.
        set_name: a folder in it.
        out_dir: the data directory is made in here, named as the set with ``_`` for ``-``.
        config: what may be missing.
        alignments: holds ``<set>/<reader>/<chapter>/<utterance>.TextGrid``.

    Returns:
        The data directory.

    Raises:
        InputError: anything wrong with the set, naming file and utterance.
    """
    folder = root / set_name
    if not folder.is_dir():
        there = sorted(path.name for path in root.iterdir() if path.is_dir())
        raise InputError(f"no set {set_name!r}; there are {there}", where=root)
    genders = read_genders(root / "SPEAKERS.TXT")
    audio, texts = _collect(folder, genders)
    if texts:
        _require_pairs(folder, audio, texts)
    elif not config.audio_only_ok:
        raise InputError("no transcripts (*.trans.txt)", where=folder, mend="--audio-only-ok true accepts it")
    utt2spk = {utt_id: utt_id.rsplit("-", 1)[0] for utt_id in sorted(audio)}
    with concurrent.futures.ThreadPoolExecutor(_HEADER_THREADS) as pool:
        seconds = Progress(len(audio), "utterances").over(pool.map(_duration_s, audio, audio.values()))
        durations = dict(zip(audio, seconds, strict=True))

    target = Path(out_dir) / set_name.replace("-", "_")
    require_target(target, [folder, root])
    with atomic_directory(target, keep=True) as data_dir:
        write_table(data_dir / "wav.scp", {utt_id: str(path.resolve()) for utt_id, path in audio.items()})
        write_table(data_dir / "utt2spk", utt2spk)
        spk2utt = invert(utt2spk)
        write_table(data_dir / "spk2utt", {spk: " ".join(utts) for spk, utts in spk2utt.items()})
        write_table(data_dir / "spk2gender", {spk: genders[spk.split("-")[0]] for spk in spk2utt})
        write_table(data_dir / "utt2dur", {utt_id: f"{seconds:.6g}" for utt_id, seconds in durations.items()})
        if texts:
            write_table(data_dir / "text", texts)
        if alignments is not None:
            _write_alignments(data_dir, Path(alignments) / set_name, durations, config.max_unaligned)
        else:
            _keep_alignments(target, data_dir)
        validate(data_dir, text=bool(texts))
    hours = sum(durations.values()) / 3600
    kind = "with transcripts" if texts else "audio only"
    _log.info("%s: %d utterances, %d speakers, %.2f h, %s", target, len(audio), len(spk2utt), hours, kind)
    return target


def _collect(folder: Path, genders: Mapping[str, str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Audio files and transcripts by utterance, checked against the layout."""
    audio: dict[str, Path] = {}
    texts: dict[str, str] = {}
    for reader, chapter in _chapters(folder, genders):
        prefix = f"{reader.name}-{chapter.name}"
        for path in sorted(chapter.iterdir()):
            if path.suffix == ".flac":
                if path.stem.rsplit("-", 1)[0] != prefix:
                    raise InputError(
                        f"utterance {path.stem!r} is not one of {prefix}; want {prefix}-NNNN.flac", where=path
                    )
                audio[path.stem] = path
            elif path.name.endswith(".trans.txt"):
                for number, utt_id, text in read_rows(path):
                    where = f"{path}:{number}"
                    if utt_id in texts:
                        raise InputError(f"utterance {utt_id!r} is given twice", where=where)
                    if utt_id.rsplit("-", 1)[0] != prefix:
                        raise InputError(f"utterance {utt_id!r} is not one of {prefix}", where=where)
                    if not text:
                        raise InputError(f"utterance {utt_id!r} has an empty transcript", where=where)
                    texts[utt_id] = text
    if not audio:
        raise InputError("no FLAC files in <reader>/<chapter>/", where=folder)
    return audio, texts


def _chapters(folder: Path, genders: Mapping[str, str]) -> Iterator[tuple[Path, Path]]:
    """Reader and chapter folders; both are numbers in this layout."""
    for reader in sorted(folder.iterdir()):
        if not reader.is_dir():
            continue
        if not reader.name.isdecimal():
            raise InputError("a reader's folder must be a number", where=reader)
        if reader.name not in genders:
            raise InputError(f"reader {reader.name} is not in SPEAKERS.TXT", where=reader)
        for chapter in sorted(reader.iterdir()):
            if chapter.is_dir():
                if not chapter.name.isdecimal():
                    raise InputError("a chapter's folder must be a number", where=chapter)
                yield reader, chapter


def _require_pairs(folder: Path, audio: Mapping[str, Path], texts: Mapping[str, str]) -> None:
    for utt_id, path in audio.items():
        if utt_id not in texts:
            trans = path.with_name(f"{utt_id.rsplit('-', 1)[0]}.trans.txt")
            raise InputError(f"utterance {utt_id!r} has no transcript in {trans}", where=path)
    for utt_id in texts:
        if utt_id not in audio:
            prefix = utt_id.rsplit("-", 1)[0]
            chapter = folder.joinpath(*prefix.split("-"))
            raise InputError(
                f"utterance {utt_id!r} has no audio: {chapter / utt_id}.flac is missing",
                where=chapter / f"{prefix}.trans.txt",
            )


def _duration_s(utt_id: str, path: Path) -> float:
    """Length by the header alone; faults deeper in the file are found when it is decoded."""
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        if not path.exists():
            what = "the file is missing (a link that leads nowhere)"
        elif path.stat().st_size == 0:
            what = "is empty: no bytes"
        else:
            what = f"cannot read the audio: {error.error_string}"
        raise InputError(f"utterance {utt_id!r}: {what}", where=path) from None
    if info.channels != 1:
        raise InputError(f"utterance {utt_id!r} has {info.channels} channels, want mono", where=path)
    if info.samplerate != SAMPLE_RATE_HZ:
        raise InputError(
            f"utterance {utt_id!r} is at {info.samplerate} Hz, want {SAMPLE_RATE_HZ}", where=path
        )
    if not 0 < info.frames < _UNKNOWN_LENGTH:
        raise InputError(
            f"utterance {utt_id!r} is empty: its header tells of 0 samples",
            where=path, mend="where it is not, `flac -d` and `flac` write its length into the header",
        )  # fmt: skip
    if info.duration < MIN_DURATION_S:
        raise InputError(
            f"utterance {utt_id!r} is too short: {info.duration:.4f} s, want {MIN_DURATION_S} or more",
            where=path,
        )
    return info.duration


def _write_alignments(
    data_dir: Path, folder: Path, durations: Mapping[str, float], max_unaligned: float
) -> None:
    if not folder.is_dir():
        raise InputError("no such folder of alignments", where=folder)
    found: dict[str, list[Interval]] = {}
    missing = []
    for utt_id, duration_s in Progress(len(durations), "alignments").over(durations.items()):
        path = folder.joinpath(*utt_id.split("-")[:2], f"{utt_id}.TextGrid")
        if not path.is_file():
            missing.append((utt_id, path))
            continue
        found[utt_id] = read_phone_textgrid(path)
        end_s = found[utt_id][-1].end_s
        if end_s > duration_s + _ALIGNMENT_SLACK_S:
            raise InputError(
                f"utterance {utt_id!r}: alignment ends at {end_s} s, its audio at {duration_s:.3f} s",
                where=path,
            )
    if missing:
        first, path = missing[0]
        share = len(missing) / len(durations)
        told = f"{len(missing)} of {len(durations)} utterances have no alignment, first {first!r}"
        if share > max_unaligned:
            raise InputError(
                f"{told}; at most {max_unaligned:.1%} may lack one", where=path,
                mend="does --alignments hold them all? by hand, a larger --max-unaligned takes the set",
            )  # fmt: skip
        _log.warning("%s: %s; listed in %s", folder, told, UNALIGNED)
        write_table(data_dir / UNALIGNED, {utt_id: "no TextGrid" for utt_id, _ in missing})
    write_ctm(data_dir / "phones.ctm", found)


def _keep_alignments(old: Path, new: Path) -> None:
    """What was aligned before holds while recordings and words are the same; to make it anew takes hours."""
    files = [(folder / name for folder in (old, new)) for name in ("wav.scp", "text")]
    if all(
        one.is_file() == other.is_file() and (not one.is_file() or one.read_bytes() == other.read_bytes())
        for one, other in files
    ):
        for name in ("phones.ctm", UNALIGNED):
            if (old / name).is_file():
                shutil.copy2(old / name, new / name)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--corpus", required=True, help="holds SPEAKERS.TXT and the sets, or LibriSpeech/")
    parser.add_argument("--sets", required=True, help="names of folders in the corpus, blanks between")
    parser.add_argument("--out-dir", required=True, help="where the data directories go")
    parser.add_argument("--alignments", help="holds <set>/<reader>/<chapter>/<utterance>.TextGrid")
    add_options(parser, PrepareConfig, title="what may be missing")
    args = parser.parse_args(argv)
    if not args.sets.split():
        parser.error("--sets names no set")
    root = corpus_root(args.corpus)
    for set_name in dict.fromkeys(args.sets.split()):
        prepare_set(root, set_name, args.out_dir, from_options(PrepareConfig, args), args.alignments)


if __name__ == "__main__":
    run(main)
