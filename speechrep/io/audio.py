"""Audio files as float32 samples, and the utterances of a data directory.

Whatever libsndfile reads is read: FLAC, WAV (8 to 32 bit, float), OGG, MP3, NIST SPHERE. Nothing is converted
silently: a wrong rate, several channels or a damaged file is an error that names the file.
"""

import io
import os
import struct
import subprocess
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile

from speechrep.errors import InputError, telling_of
from speechrep.io.data_dir import DataDir, Segment

_BLOCK = 1 << 20  # samples read at a time, so that a header's lie takes no memory
_OVERSHOOT_S = (
    0.5  # a segment may end this much after its recording and is cut, as in Kaldi's extract-segments
)
_CHUNK = struct.Struct("<4sI")  # of a RIFF file: name and size
_UNKNOWN_SIZE = (
    0x7FFFF000  # sizes from here on are what a program writes that could not go back to the header
)


def read_audio(
    path: str | os.PathLike[str],
    sample_rate: int | None = None,
    channel: int | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    *,
    resample: bool = False,
    allow_pipes: bool = False,
) -> tuple[np.ndarray, int]:
    """Read an audio file, or a part of it.

    Args:
        path: a file; ``archive:offset``, a WAV within an archive; or ``command |``, whose output is audio.
        sample_rate: the rate wanted, Hz; any if None.
        channel: which channel, 0 the first; None demands that there is only one.
        start_s: where to begin, seconds.
        end_s: where to end, seconds; at most 0.5 s after the end of the file, which then ends it.
        resample: whether to convert (with soxr) what has another rate than ``sample_rate``.
        allow_pipes: whether ``command |`` is run.

    Returns:
        float32 samples (N,) in [-1, 1], and their rate in Hz.

    Raises:
        InputError: naming the file: missing, not audio, cut short, empty, of another rate, with several
            channels and none chosen, or too short for the part wanted.
    """
    where = os.fspath(path)
    stream = _open(where, allow_pipes)
    try:
        _require_whole_wav(stream, where)
        with stream, soundfile.SoundFile(stream) as sound:
            samples = _read(sound, where, channel, start_s, end_s)
            rate = sound.samplerate
    except soundfile.SoundFileError as error:
        raise InputError(f"not readable as audio: {_reason(error)}", where=where) from error
    if sample_rate is None or rate == sample_rate:
        return samples, rate
    if not resample:
        raise InputError(
            f"the sample rate is {rate} Hz, want {sample_rate} Hz", where=where,
            mend="resample it first, or ask for it to be resampled",
        )  # fmt: skip
    import soxr  # here, because few runs need it

    return soxr.resample(samples, rate, sample_rate).astype(np.float32, copy=False), sample_rate


class Wavs:
    """The utterances of a data directory as samples, through ``wav.scp`` and, if there is one, ``segments``.

    Args:
        data_dir: the directory.
        sample_rate, channel, resample, allow_pipes: as in :func:`read_audio`.

    Raises:
        InputError: ``wav.scp`` or ``segments`` is missing or malformed, or a recording has no line.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        sample_rate: int | None = None,
        channel: int | None = None,
        *,
        resample: bool = False,
        allow_pipes: bool = False,
    ):
        data = DataDir(data_dir)
        self.path = data.path
        self._recordings, self._segments = data.wav_scp, data.segments
        self._options = {"sample_rate": sample_rate, "channel": channel}
        self._switches = {"resample": resample, "allow_pipes": allow_pipes}
        for utt_id, segment in self._segments.items():
            if segment.reco_id not in self._recordings:
                raise InputError(
                    f"utterance {utt_id!r}: recording {segment.reco_id!r} is not in wav.scp",
                    where=self.path / "segments",
                )
        self.utt_ids: list[str] = list(self._segments or self._recordings)
        """The utterances, in the files' order."""

    def source(self, utt_id: str) -> tuple[str, Segment]:
        """The file or command that holds an utterance, and where in it."""
        segment = self._segments.get(utt_id) or Segment(utt_id, 0.0, None)
        if segment.reco_id not in self._recordings:
            raise InputError(f"there is no utterance {utt_id!r}", where=self.path / "wav.scp")
        return self._recordings[segment.reco_id], segment

    def read(self, utt_id: str) -> tuple[np.ndarray, int]:
        """Samples and rate of an utterance, as :func:`read_audio`.

        Raises:
            InputError: naming the file and the utterance.
        """
        path, segment = self.source(utt_id)
        try:
            return read_audio(
                path, start_s=segment.start_s, end_s=segment.end_s, **self._options, **self._switches
            )
        except InputError as error:
            raise InputError(
                f"utterance {utt_id!r}: {error.what}", where=error.where, mend=error.mend
            ) from error

    def __iter__(self) -> Iterator[tuple[str, np.ndarray, int]]:
        for utt_id in self.utt_ids:
            yield utt_id, *self.read(utt_id)

    def __len__(self) -> int:
        return len(self.utt_ids)


def _open(path: str, allow_pipes: bool) -> BinaryIO:
    if path.endswith("|"):
        if not allow_pipes:
            raise InputError("is a command", where=path, mend="give --allow-pipes true if you trust it")
        return io.BytesIO(_output(path[:-1].strip()))
    archive, colon, offset = path.rpartition(":")
    try:
        if colon and offset.isascii() and offset.isdigit() and not os.path.exists(path):
            return _in_archive(archive, int(offset))
        with telling_of(path):
            return open(path, "rb")
    except InputError:
        raise
    except ValueError as error:  # a NUL in the name
        raise InputError(str(error), where=repr(path)) from error


def _output(command: str) -> bytes:
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        raise InputError(f"the command failed with status {done.returncode}: {lines[-1]}", where=command)
    return done.stdout


def _in_archive(path: str, offset: int) -> BinaryIO:
    """A WAV that lies at ``offset`` of an archive, as ``wav-copy`` leaves it."""
    with open(path, "rb") as stream:
        stream.seek(offset)
        head = stream.read(_CHUNK.size)
        if len(head) < _CHUNK.size or not head.startswith(b"RIFF"):
            raise InputError("no WAV at this offset", where=f"{path}:{offset}")
        size = min(_CHUNK.unpack(head)[1], os.path.getsize(path) - offset)
        return io.BytesIO(head + stream.read(size))


def _require_whole_wav(stream: BinaryIO, where: str) -> None:
    """Refuse a WAV file that ends before its samples do: libsndfile reads it without a word."""
    head = stream.read(12)
    whole = stream.seek(0, io.SEEK_END)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        place = 12
        while place + _CHUNK.size <= whole:
            stream.seek(place)
            name, size = _CHUNK.unpack(stream.read(_CHUNK.size))
            place += _CHUNK.size + size + size % 2
            if name == b"data":
                if size < _UNKNOWN_SIZE and place - size % 2 > whole:
                    raise InputError(
                        f"is cut short: {place - whole} bytes of samples are missing", where=where
                    )
                break
    stream.seek(0)


def _read(
    sound: soundfile.SoundFile, where: str, channel: int | None, start_s: float, end_s: float | None
) -> np.ndarray:
    if channel is None and sound.channels > 1:
        raise InputError(
            f"has {sound.channels} channels, want one", where=where, mend="choose one with --channel"
        )
    if channel is not None and not 0 <= channel < sound.channels:
        raise InputError(f"has no channel {channel}; it has {sound.channels}, counted from 0", where=where)
    start = round(start_s * sound.samplerate)
    stop = sound.frames if end_s is None else round(end_s * sound.samplerate)
    if not sound.frames:
        raise InputError("holds no samples", where=where)
    if stop > sound.frames + _OVERSHOOT_S * sound.samplerate or start >= sound.frames:
        raise InputError(
            f"the part from {start_s} s to {end_s} s goes beyond the end, "
            f"{sound.frames / sound.samplerate:.3f} s",
            where=where,
        )
    want = min(stop, sound.frames) - start
    if want < 1:  # a header may even claim a length or a rate that makes this negative
        raise InputError(f"no samples between {start_s} s and {end_s} s", where=where)
    if start:
        sound.seek(start)
    blocks = []
    while (left := want - sum(map(len, blocks))) > 0:
        block = sound.read(min(left, _BLOCK), dtype="float32", always_2d=True)
        if not len(block):
            raise InputError(f"is cut short: {want} samples wanted, {want - left} there", where=where)
        blocks.append(block[:, channel or 0])
    samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    if not np.isfinite(np.dot(samples, samples)):  # one pass; float files can hold NaN
        raise InputError("holds NaN or infinity", where=where)
    return np.ascontiguousarray(samples)


def _reason(error: soundfile.SoundFileError) -> str:
    return getattr(error, "error_string", None) or str(error)
