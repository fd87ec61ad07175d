"""Extraction of a set's features by jobs that can each be redone alone, and the merging of what they made.

A job takes a run of utterances and writes one archive, the statistics of its utterances and, last, a marker
that holds a digest of all that went in. A job whose marker has the digest of what it would do now is
finished. Every file appears under its name only when whole: a job killed anywhere has finished or is redone.
"""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from speechrep.errors import InputError
from speechrep.frontend.feature_dir import Piece, PieceWriter, merge, report_lost
from speechrep.frontend.sources import FeatureSource
from speechrep.io.audio import CommandError
from speechrep.io.checked_file import sums_path
from speechrep.io.feature_marks import DONE, JOBS
from speechrep.io.files import read_marker, sha256, write_marker
from speechrep.progress import Progress

_VERSION = 2  # raised when the same options would give other bytes


@dataclasses.dataclass(frozen=True)
class Extraction:
    """What is to be extracted, and where to."""

    source: FeatureSource
    out_dir: Path
    nj: int
    made_by: dict[str, Any]  # all that, beside the input, decides the bytes of an archive
    method: int  # Kaldi's compression method, 0 for none
    cmvn: str  # one of cmvn.SCOPES
    utt2spk: Path  # may be absent, unless the scope is speaker
    global_cmvn_from: Path | None = None  # a feature directory whose statistics are used
    _digests: dict[int, str] = dataclasses.field(default_factory=dict)  # known, as it costs a stat per file

    @property
    def jobs(self) -> range:
        """The jobs' numbers, from 1; never more than there are utterances."""
        return range(1, min(self.nj, len(self.source.utt_ids)) + 1)

    def utt_ids(self, job: int) -> list[str]:
        """The utterances of a job: consecutive, the first jobs having one more if they do not divide."""
        size, rest = divmod(len(self.source.utt_ids), len(self.jobs))
        first = (job - 1) * size + min(job - 1, rest)
        return self.source.utt_ids[first : first + size + (job <= rest)]

    def digest(self, job: int) -> str:
        """A digest of all that decides what a job writes."""
        if job in self._digests:
            return self._digests[job]
        inputs = [self.source.identity(utt_id) for utt_id in self.utt_ids(job)]
        text = json.dumps([_VERSION, self.made_by, self.method, inputs], sort_keys=True)
        self._digests[job] = hashlib.sha256(text.encode()).hexdigest()
        return self._digests[job]

    def whole_digest(self) -> str:
        """A digest of all that decides what is in the directory when all is done."""
        parts = [self.digest(job) for job in self.jobs] + [self.cmvn, _content(self.utt2spk)]
        if self.global_cmvn_from:
            parts.append(_content(self.global_cmvn_from / "cmvn.ark"))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def archive(self, job: int) -> Path:
        """The features of a job."""
        return self.out_dir / f"feats.{job}.ark"

    def _marker(self, job: int) -> Path:
        return self.out_dir / JOBS / f"{job}.json"

    def _stats(self, job: int) -> Path:
        return self.out_dir / JOBS / f"cmvn.{job}.ark"

    def is_whole(self) -> bool:
        """Whether the directory already holds exactly this, and no command that failed may do better now."""
        done = self._done()
        files = [self.out_dir / name for name in ("features.json", "feats.scp")]
        files += [self.archive(job) for job in self.jobs]
        if not done or not all(path.is_file() for path in files):
            return False
        return done["digest"] == self.whole_digest() and not done["retry"]

    def _done(self) -> dict[str, Any] | None:
        """What :meth:`merge` told at its end."""
        return read_marker(self.out_dir / DONE)

    def is_done(self, job: int) -> bool:
        """Whether a job has made exactly what it would make now."""
        return self._made(job) is not None

    def _made(self, job: int) -> dict[str, Any] | None:
        """What a job told at its end, if it has made exactly what it would make now."""
        made = read_marker(self._marker(job))
        if not (made and self.archive(job).is_file() and self._stats(job).is_file()):
            return None
        size = self.archive(job).stat().st_size
        return made if made["digest"] == self.digest(job) and made["bytes"] == size else None

    def is_complete(self, job: int) -> bool:
        """Whether a job is done and lost nothing; a lost recording may be whole again by now."""
        made = self._made(job)
        return made is not None and not made["lost"]

    def run_job(self, job: int) -> None:
        """Do a job, by its number from 1, whatever is there of it.

        Raises:
            InputError: the disk is full, or cannot be written.
        """
        digest = self.digest(job)
        self._marker(job).unlink(missing_ok=True)
        lost: list[tuple[str, str]] = []
        retry = False
        try:
            with PieceWriter(self.archive(job), self._stats(job), self.method) as writer:
                utt_ids = self.utt_ids(job)
                for utt_id in Progress(len(utt_ids), "utterances").over(utt_ids):
                    try:
                        writer.write(utt_id, self.source.read(utt_id))
                    except InputError as error:
                        lost.append((utt_id, str(error)))
                        retry = retry or isinstance(error, CommandError)  # its mending shows in no digest
            size = self.archive(job).stat().st_size
            marker = {
                "digest": digest, "bytes": size, "utts": writer.utts, "lost": lost, "retry": retry,
            }  # fmt: skip
            write_marker(self._marker(job), marker)
        except OSError as error:
            raise InputError(
                f"cannot write: {error.strerror}", where=error.filename or self.out_dir
            ) from error

    def merge(self) -> int:
        """Put together what the jobs made: everything but ``features.json``, which the caller writes last.

        Returns:
            The number of utterances.

        Raises:
            InputError: a job is not done, too many utterances are lost, or one has no speaker.
        """
        markers = {}
        for job in self.jobs:
            made = self._made(job)
            if made is None:
                raise InputError("its job is not done", where=self.archive(job), mend="run the same again")
            markers[job] = made
        lost = [row for marker in markers.values() for row in marker["lost"]]
        report_lost(self.out_dir / "lost_utterances", lost, len(self.source.utt_ids))
        pieces = [Piece(self.archive(job), self._stats(job), markers[job]["utts"]) for job in self.jobs]
        count = merge(self.out_dir, pieces, self.cmvn, self.utt2spk, self.global_cmvn_from)
        retry = any(marker["retry"] for marker in markers.values())
        write_marker(self.out_dir / DONE, {"digest": self.whole_digest(), "retry": retry})
        return count

    def clean(self) -> None:
        """Remove what only the making needed; that of the jobs stays if some of them will be done again."""
        for stale in self.out_dir.glob("feats.*.ark"):
            number = stale.name.split(".")[1]
            if number.isdigit() and int(number) not in self.jobs:
                stale.unlink()
                sums_path(stale).unlink(missing_ok=True)
        done = self._done()
        if done and not done["retry"]:
            shutil.rmtree(self.out_dir / JOBS, ignore_errors=True)


def _content(path: Path) -> str:
    return sha256(path) if path.is_file() else ""
