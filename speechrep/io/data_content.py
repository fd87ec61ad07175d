"""A data directory held whole in memory: what the tools that make one out of another work on."""

import contextlib
import dataclasses
import logging
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from speechrep.errors import InputError
from speechrep.io.alignment import UNALIGNED
from speechrep.io.data_dir import RECO_FILES, SPK_FILES, UTT_FILES, DataDir, invert
from speechrep.io.data_valid import validate
from speechrep.io.dirs import atomic_directory
from speechrep.io.files import atomic_open, read_utf8
from speechrep.io.table import read_rows, read_table, write_table

_log = logging.getLogger(__name__)

ROW_FILES = ("phones.ctm", UNALIGNED)  # any number of lines for an utterance
# About the directory, not its utterances.
WHOLE_FILES = ("frame_shift", "feats_type", "feats_dim", "filetype")

_PIECES = re.compile(r"split\d+(utt)?")  # folders that splitting made

Table = dict[str, str]


@dataclasses.dataclass
class Content:
    """What a data directory says, by what its files are keyed by; ``spk2utt`` follows from ``utt2spk``.

    Attributes:
        utts: file to utterance to value; holds ``utt2spk``.
        spks: file to speaker to value.
        recos: file to recording to value; a recording is an utterance where there are no ``segments``.
        rows: file to utterance to lines without the utterance.
        whole: file to text.
    """

    utts: dict[str, Table]
    spks: dict[str, Table]
    recos: dict[str, Table]
    rows: dict[str, dict[str, list[str]]]
    whole: dict[str, str]

    @property
    def utt_ids(self) -> list[str]:
        """The utterances, in order."""
        return list(self.utts["utt2spk"])

    @property
    def spk2utt(self) -> dict[str, list[str]]:
        """Speaker to utterances."""
        return invert(self.utts["utt2spk"])


def load(path: str | os.PathLike[str], utt_extra: Sequence[str] = ()) -> Content:
    """Read a data directory whole.

    Args:
        path: the directory.
        utt_extra: further files keyed by utterance.

    Raises:
        InputError: a file that is no table.
    """
    data = DataDir(path)
    if not data.has("utt2spk"):
        raise InputError("no such file", where=data.path / "utt2spk")

    def tables(names: Collection[str]) -> dict[str, Table]:
        there = [name for name in dict.fromkeys(names) if data.has(name)]
        return {name: read_table(data.path / name, allow_empty=name == "text") for name in there}

    rows: dict[str, dict[str, list[str]]] = {}
    for name in ROW_FILES:
        if data.has(name):
            rows[name] = {}
            for _, utt_id, line in read_rows(data.path / name):
                rows[name].setdefault(utt_id, []).append(line)
    return Content(
        utts=tables(["utt2spk", *UTT_FILES, "segments", *utt_extra]),
        spks=tables(SPK_FILES),
        recos=tables(RECO_FILES),
        rows=rows,
        whole={name: read_utf8(data.path / name) for name in WHOLE_FILES if data.has(name)},
    )


def tell_left_out(path: str | os.PathLike[str], extra: Collection[str] = ()) -> None:
    """Warn of what lies in a data directory and does not go with its utterances into another.

    Args:
        path: the directory.
        extra: files that do, beside those of every data directory.
    """
    known = {"utt2spk", "spk2utt", "segments", *UTT_FILES, *SPK_FILES, *RECO_FILES, *ROW_FILES, *WHOLE_FILES}
    names = {name for name in os.listdir(path) if not (name.startswith(".") or _PIECES.fullmatch(name))}
    if others := sorted(names - known - set(extra)):
        _log.warning("%s: left out, as what they are keyed by is not known: %s", path, ", ".join(others))


def store(content: Content, path: Path) -> None:
    """Write every file of a data directory into a folder, sorted."""
    for name, table in (content.utts | content.spks | content.recos).items():
        write_table(path / name, table)
    write_table(path / "spk2utt", {spk: " ".join(sorted(utts)) for spk, utts in content.spk2utt.items()})
    for name, rows in content.rows.items():
        write_rows(path / name, rows)
    for name, text in content.whole.items():
        with atomic_open(path / name) as stream:
            stream.write(text)


def write_rows(path: Path, rows: Mapping[str, Sequence[str]]) -> None:
    """Write a file with any number of lines for an utterance, sorted by utterance, its lines as they came."""
    with atomic_open(path) as stream:
        for utt_id in sorted(rows):
            stream.writelines(f"{utt_id} {line}\n" for line in rows[utt_id])


def restrict(content: Content, utt_ids: Collection[str]) -> Content:
    """The same directory with only some of its utterances, and their speakers and recordings."""
    utts = {name: only(table, utt_ids) for name, table in content.utts.items()}
    spks = set(utts["utt2spk"].values())
    segments = utts.get("segments")
    recos = set(utts["utt2spk"]) if segments is None else {value.split()[0] for value in segments.values()}
    return Content(
        utts=utts,
        spks={name: only(table, spks) for name, table in content.spks.items()},
        recos={name: only(table, recos) for name, table in content.recos.items()},
        rows={
            name: {utt_id: lines for utt_id, lines in rows.items() if utt_id in utts["utt2spk"]}
            for name, rows in content.rows.items()
        },
        whole=content.whole,
    )


def only(table: Mapping[str, str], keys: Collection[str]) -> Table:
    """The entries of a table whose keys are in ``keys``, in the table's order."""
    kept = keys if isinstance(keys, (set, frozenset, dict)) else set(keys)
    return {key: value for key, value in table.items() if key in kept}


@contextlib.contextmanager
def new_data_dir(target: str | os.PathLike[str], sources: Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    """A folder to fill that takes the place of ``target`` once it is whole and valid.

    Raises:
        InputError: that of :func:`require_target`, or what was made is no data directory.
    """
    path = Path(target)
    require_target(path, sources)
    with atomic_directory(path, keep=True) as folder:
        yield folder
        try:
            validate(folder, text=False, wav=False)
        except InputError as error:
            raise error.told(where=error.where.replace(str(folder), str(path))) from None


def require_target(path: Path, sources: Sequence[str | os.PathLike[str]]) -> None:
    """Refuse to write a data directory over what is none.

    Raises:
        InputError: ``path`` holds something other than a data directory, or one of the sources.
    """
    kept = path.resolve().with_name(path.resolve().name + ".old")  # takes what is replaced, its own is lost
    for lost in (path, kept) if path.exists() else (path,):
        for source in map(Path, sources):
            if lost.resolve() in (source.resolve(), *source.resolve().parents):
                raise InputError(
                    f"writing it would destroy {source}", where=path, mend="choose another target"
                )
        is_one = any((lost / name).is_file() for name in ("utt2spk", "wav.scp"))
        if lost.exists() and not is_one and (not lost.is_dir() or any(lost.iterdir())):
            raise InputError("exists and is not a data directory", where=lost, mend="choose another target")
