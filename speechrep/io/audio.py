"""Audio files as float32 samples, and the utterances of a data directory.

Whatever libsndfile reads is read: FLAC, WAV (8 to 32 bit, float), OGG, MP3, NIST SPHERE. Nothing is converted
silently: a wrong rate, several channels or a damaged file is an error that names the file.
"""

import io
import os
import subprocess
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile

from speechrep.errors import InputError, telling_of
from speechrep.io.audio_whole import CHUNK, require_whole
from speechrep.io.data_dir import DataDir, Segment

_TAGGED = b"AUDIO"  # of an archive of kaldiio's, before a file of any format
_BLOCK = 1 << 20  # samples read at a time, so that a header's lie takes no memory
# A segment may end this much after its recording and is cut, as in Kaldi's extract-segments.
_OVERSHOOT_S = 0.5
_UNKNOWN_FRAMES = (1 << 63) - 1  # libsndfile's word for a FLAC whose program could not go back to the header


class CommandError(InputError):
    """A command failed, or put out other audio than was wanted; run again, it may do better."""


class _Sound(soundfile.SoundFile):
    def seekable(self) -> bool:
        """Not without a known length: soundfile seeks after each read, which fails at such an end."""
        return self.frames != _UNKNOWN_FRAMES


def read_audio(
    path: str | os.PathLike[str],
    sample_rate: int | None = None,
    channel: int | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    *,
    allow_pipes: bool = False,
) -> tuple[np.ndarray, int]:
    """Read an audio file, or a part of it.

    Args:
        path: a file; ``archive:offset``, audio within an archive; or ``command |``, whose output is audio.
        sample_rate: the rate wanted, Hz; any if None.
        channel: which channel, 0 the first; None demands that there is only one.
        start_s: where to begin, seconds.
        end_s: where to end, seconds; at most 0.5 s after the end of the file, which then ends it.
        allow_pipes: whether ``command |`` is run.

    Returns:
        float32 samples (N,) in [-1, 1], and their rate in Hz.

    Raises:
        InputError: naming the file: missing, not audio, cut short, empty, of another rate, with several
            channels and none chosen, or too short for the part wanted.
    """
    where = os.fspath(path)
    with telling_of(where):
        stream = _open(where, allow_pipes, _output)
        return _decode(stream, where, sample_rate, channel, start_s, end_s)


def _decode(
    stream: BinaryIO,
    where: str,
    sample_rate: int | None,
    channel: int | None,
    start_s: float,
    end_s: float | None,
) -> tuple[np.ndarray, int]:
    try:
        with stream:
            require_whole(stream, where)
            with _Sound(stream) as sound:
                samples = _read(sound, where, channel, start_s, end_s)
                rate = sound.samplerate
    except soundfile.SoundFileError as error:
        raise InputError(f"not readable as audio: {_reason(error)}", where=where) from error
    if sample_rate not in (None, rate):
        raise InputError(
            f"the sample rate is {rate} Hz, want {sample_rate} Hz", where=where, mend="resample it first"
        )
    return samples, rate


class AudioInfo(NamedTuple):
    """What :func:`audio_info` tells of a file."""

    frames: int
    samplerate: int
    channels: int

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.samplerate


def audio_info(path: str | os.PathLike[str]) -> AudioInfo:
    """Length, rate and channels of a file by its header; where that has no length, by decoding it.

    Raises:
        soundfile.LibsndfileError: no such file, or not audio.
    """
    with _Sound(os.fspath(path)) as sound:
        frames = sound.frames if sound.seekable() else _count(sound, _UNKNOWN_FRAMES)
        return AudioInfo(frames, sound.samplerate, sound.channels)


class Wavs:
    """The utterances of a data directory as samples, through ``wav.scp`` and, if there is one, ``segments``.

    Args:
        data_dir: the directory.
        sample_rate, channel, allow_pipes: as in :func:`read_audio`.

    Raises:
        InputError: ``wav.scp`` or ``segments`` is missing or malformed, or a recording has no line.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        sample_rate: int | None = None,
        channel: int | None = None,
        *,
        allow_pipes: bool = False,
    ):
        data = DataDir(data_dir)
        self.path = data.path
        self._recordings, self._segments = data.wav_scp, data.segments
        self._sample_rate, self._channel, self._allow_pipes = sample_rate, channel, allow_pipes
        self._last = ("", b"")  # command and output, for the segments of one recording come together
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
            InputError: naming the file and the utterance; CommandError if a command was run for it.
        """
        path, segment = self.source(utt_id)
        try:
            with telling_of(path):
                stream = _open(path, self._allow_pipes, self._output)
                return _decode(stream, path, self._sample_rate, self._channel, segment.start_s, segment.end_s)
        except InputError as error:
            kind = CommandError if path.endswith("|") and self._allow_pipes else InputError
            raise kind(f"utterance {utt_id!r}: {error.what}", where=error.where, mend=error.mend) from error

    def _output(self, command: str) -> bytes:
        if not self._segments:
            return _output(command)
        if self._last[0] != command:
            self._last = ("", b"")  # never two recordings in memory
            self._last = (command, _output(command))
        return self._last[1]


def archive_of(path: str) -> tuple[str, int] | None:
    """The archive and the offset of ``archive:offset``; None for the name of a file, or a command."""
    archive, colon, offset = path.rpartition(":")
    if colon and offset.isascii() and offset.isdigit() and not os.path.exists(path):
        return archive, int(offset)
    return None


def _open(path: str, allow_pipes: bool, output: Callable[[str], bytes]) -> BinaryIO:
    if path.endswith("|"):
        if not allow_pipes:
            raise InputError("is a command", where=path, mend="give --allow-pipes true if you trust it")
        return io.BytesIO(output(path[:-1].strip()))
    try:
        place = archive_of(path)
        with telling_of(place[0] if place else path):
            return _in_archive(*place) if place else open(path, "rb")
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
    """The audio at ``offset`` of an archive.

    A WAV, as Kaldi's ``wav-copy`` leaves it; or, as kaldiio does, ``AUDIO``, how many bytes its size takes in
    one byte, its size, and a file of any format.
    """
    where = f"{path}:{offset}"
    with open(path, "rb") as stream:
        stream.seek(offset)
        head = stream.read(CHUNK.size)
        left = os.path.getsize(path) - offset
        if head.startswith(_TAGGED) and len(head) > len(_TAGGED):
            stream.seek(offset + len(_TAGGED) + 1)
            size = int.from_bytes(stream.read(head[len(_TAGGED)]), "little")
            if size > left:
                raise InputError(f"is cut short: {size} bytes of audio wanted, the archive ends", where=where)
            return io.BytesIO(stream.read(size))
        if len(head) < CHUNK.size or not head.startswith(b"RIFF"):
            raise InputError("no audio at this offset", where=where)
        return io.BytesIO(head + stream.read(min(CHUNK.unpack(head)[1], left)))


def _read(
    sound: soundfile.SoundFile, where: str, channel: int | None, start_s: float, end_s: float | None
) -> np.ndarray:
    if channel is None and sound.channels > 1:
        raise InputError(
            f"has {sound.channels} channels, want one",
            where=where,
            mend="choose one: channel=0, --channel 0",
        )
    if channel is not None and not 0 <= channel < sound.channels:
        raise InputError(f"has no channel {channel}; it has {sound.channels}, counted from 0", where=where)
    start = round(start_s * sound.samplerate)
    stop = sound.frames if end_s is None else round(end_s * sound.samplerate)
    frames = sound.frames if sound.seekable() else _count(sound, max(start + 1, stop))
    if not frames:
        raise InputError("holds no samples", where=where)
    if end_s is None:
        stop = frames
    if stop > frames + _OVERSHOOT_S * sound.samplerate or start >= frames:
        raise InputError(
            f"the part from {start_s} s to {end_s} s goes beyond the end, {frames / sound.samplerate:.3f} s",
            where=where,
        )
    want = min(stop, frames) - start
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


def _count(sound: soundfile.SoundFile, most: int) -> int:
    """How many frames there are, found by decoding them until there are ``most``."""
    count = 0
    while count < most and (block := len(sound.read(_BLOCK, dtype="float32", always_2d=True))):
        count += block
    sound.seek(0)
    return count


def _reason(error: soundfile.SoundFileError) -> str:
    return getattr(error, "error_string", None) or str(error)
