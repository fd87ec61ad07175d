"""From samples to the frames a model was trained on: its own front end and normalisation."""

import math
import os
from collections.abc import Callable, Iterator

import numpy as np
import soundfile

from speechrep.errors import InputError
from speechrep.frontend.base import FrontEnd
from speechrep.frontend.cmvn import normalise, statistics
from speechrep.frontend.registry import make_frontend
from speechrep.io.audio import audio_info, read_audio
from speechrep.io.feature_meta import FeatureMeta

ReadSamples = Callable[[int, int], np.ndarray]
"""From the first sample wanted and the one after the last to float32 (N,)."""
PIECE = 6000  # frames, a minute at 10 ms, of which the statistics of a long recording are gathered


def features(
    samples: np.ndarray, sample_rate: int, meta: FeatureMeta, cmvn_stats: np.ndarray | None, where: object
) -> np.ndarray:
    """Normalised features, float32 (T, F).

    Args:
        samples: (N,) in [-1, 1].
        sample_rate: Hz; must be the features'.
        meta: what the model takes.
        cmvn_stats: float64 (2, F + 1) of global normalisation. Per-utterance and per-speaker normalisation
            use the statistics of these samples: one recording is taken for one utterance of one speaker.
        where: the file, for messages.

    Raises:
        InputError: empty, not finite or not one channel; another rate; or features without a front end here.
    """
    frontend = make_frontend(meta.feature, meta.config, where)
    feats = _frames(frontend, _checked(samples, where), sample_rate, where)
    stats = _stats(meta, cmvn_stats, where)
    if meta.cmvn in ("utterance", "speaker"):
        stats = statistics(feats)
    return feats if stats is None else normalise(feats, stats, meta.norm_vars)


class LongFeatures:
    """The features of a long recording, made as they are asked for: no more is in memory than that.

    They equal those of :func:`features` but for the rounding of sums over other stretches. Options that need
    the whole recording (a level to scale to, dither, resampling, a mean to subtract at once) hold all of it.

    Args:
        read: gives the samples.
        num_samples: how many there are.
        sample_rate, meta, cmvn_stats, where: as for :func:`features`.

    Raises:
        InputError: as :func:`features`; with per-utterance normalisation the whole recording is read at once
            for its statistics, else a damaged part is told when it is reached.
    """

    def __init__(
        self,
        read: ReadSamples,
        num_samples: int,
        sample_rate: int,
        meta: FeatureMeta,
        cmvn_stats: np.ndarray | None,
        where: object,
    ):
        self._read, self._num_samples, self._rate, self._where = read, num_samples, sample_rate, where
        self._frontend, self._meta = make_frontend(meta.feature, meta.config, where), meta
        self._whole: np.ndarray | None = None
        self._shift = _shift(self._frontend, sample_rate)
        if not self._shift or not num_samples:
            self._whole = features(read(0, num_samples), sample_rate, meta, cmvn_stats, where)
            self.num_frames = len(self._whole)
            return
        self.num_frames = self._frontend.num_frames(num_samples)
        self._stats = _stats(meta, cmvn_stats, where)
        if not self.num_frames:
            self._raw(0, 1)  # tells what is wrong
        if meta.cmvn in ("utterance", "speaker"):
            self._stats = sum(statistics(piece) for piece in self._pieces())

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames ``start`` to ``stop``, float32 (T, F), normalised."""
        if self._whole is not None:
            return self._whole[start:stop]
        feats = self._raw(start, min(stop, self.num_frames))
        return feats if self._stats is None else normalise(feats, self._stats, self._meta.norm_vars)

    def _pieces(self) -> Iterator[np.ndarray]:
        for start in range(0, self.num_frames, PIECE):
            yield self._raw(start, min(start + PIECE, self.num_frames))

    def _raw(self, start: int, stop: int) -> np.ndarray:
        """Frames before normalisation: those of a stretch with neighbours, which are then cut off."""
        config, shift = self._frontend.config, self._shift
        reach = math.ceil(config.frame_length / config.frame_shift) + 1
        # Deltas look so far on each side; near the ends of a stretch they are not those of the middle.
        reach += 2 * getattr(config, "delta_order", 0) * getattr(config, "delta_window", 4)
        first = max(0, start - reach)
        end = min(
            self._num_samples, (stop + reach + math.ceil(config.frame_length / config.frame_shift)) * shift
        )
        samples = _checked(self._read(first * shift, end), self._where)
        feats = _frames(self._frontend, samples, self._rate, self._where)
        return feats[start - first : stop - first]


def open_samples(samples: np.ndarray) -> ReadSamples:
    """Of an array (N,), or of one on disk (``numpy.memmap``)."""
    return lambda start, stop: np.asarray(samples[start:stop])


def open_file(path: str | os.PathLike[str], channel: int | None = None) -> tuple[ReadSamples, int, int]:
    """Of an audio file, of one channel or that of several; also the number of its samples and their rate.

    Raises:
        InputError: not such a file.
    """
    read_audio(path, channel=channel, end_s=0.01)  # tells what is wrong with it, without reading on
    try:
        info = audio_info(path)
    except soundfile.SoundFileError as error:  # one within an archive, which read_audio takes
        raise InputError(
            "cannot be read piece by piece", where=path, mend="read it whole and give its samples"
        ) from error
    rate = info.samplerate

    def read(start: int, stop: int) -> np.ndarray:
        return read_audio(path, channel=channel, start_s=start / rate, end_s=stop / rate)[0]

    return read, info.frames, rate


def _frames(frontend: FrontEnd, samples: np.ndarray, rate: int, where: object) -> np.ndarray:
    try:
        return frontend(samples, rate)
    except InputError as error:
        raise error.told(where=where) from error


def _checked(samples: np.ndarray, where: object) -> np.ndarray:
    samples = np.asarray(samples)
    if samples.ndim != 1:
        raise InputError(f"samples of shape {samples.shape}, want one channel (N,)", where=where)
    if not len(samples):
        raise InputError("no samples", where=where)
    if samples.dtype.kind != "f":
        raise InputError(f"samples of type {samples.dtype}, want float in [-1, 1]", where=where)
    if not np.isfinite(samples).all():
        raise InputError(f"sample {int(np.argmin(np.isfinite(samples)))} is not finite", where=where)
    return samples.astype(np.float32, copy=False)


def _stats(meta: FeatureMeta, cmvn_stats: np.ndarray | None, where: object) -> np.ndarray | None:
    """The global statistics, if the features have such."""
    if meta.cmvn != "global":
        return None
    if cmvn_stats is None:
        raise InputError("the model does not hold the global CMVN statistics of its features", where=where)
    return cmvn_stats


def _shift(frontend: FrontEnd, rate: int) -> int:
    """Samples from frame to frame; 0 where a stretch of samples does not give the frames of the whole."""
    config = frontend.config
    whole = rate != frontend.sample_rate or not hasattr(config, "frame_length")
    whole |= getattr(config, "unit_norm", "none") != "none"
    whole |= bool(getattr(config, "target_level", 0) or getattr(config, "dither", 0))
    whole |= bool(getattr(config, "subtract_mean", False))
    shift = rate * config.frame_shift / 1000
    return 0 if whole or shift != int(shift) else int(shift)
