"""From a sentence and a voice to a waveform with phone times, one forked child per utterance."""

import io
import os
import sys
import traceback
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from speechrep.errors import InputError
from speechrep.io.alignment import Interval
from speechrep.synthesis.espeak import Espeak
from speechrep.synthesis.phones import to_intervals
from speechrep.synthesis.voices import Voice

SAMPLE_RATE = 16000
_LEVEL = 0.7  # many voices peak at full scale, and resampling overshoots
_NOISE = 10 ** (-75 / 20)  # a quiet room; exact zeros would put the log energies on their floor
_PAUSE_S = (0.10, 0.30)  # silence before and after the speech

T = TypeVar("T")


def render(espeak: Espeak, sentence: str, voice: Voice, key: str) -> tuple[np.ndarray, list[Interval]]:
    """Say a sentence. Repeatable only in a process fresh from :func:`fork_each`.

    Args:
        espeak: the library.
        sentence: lower case, commas where the speaker pauses.
        voice: who says it.
        key: text that seeds all that is random, for instance the utterance id and the corpus's seed.

    Returns:
        int16 samples at :data:`SAMPLE_RATE`, and phones that cover them.
    """
    seed = zlib.crc32(key.encode())
    rng = np.random.Generator(np.random.PCG64(seed))
    speech = espeak.synthesize(
        sentence + ".", accent=voice.accent, variant=voice.variant, rate=voice.rate, pitch=voice.pitch,
        pitch_range=voice.pitch_range, seed=seed & 0x7FFFFFFF,
    )  # fmt: skip
    lead_s, tail_s = rng.uniform(*_PAUSE_S, size=2).round(2)
    wave = soxr.resample(speech.samples.astype(np.float32) / 32768, speech.sample_rate, SAMPLE_RATE)
    lead, tail = round(lead_s * SAMPLE_RATE), round(tail_s * SAMPLE_RATE)
    wave = np.concatenate([np.zeros(lead, np.float32), _LEVEL * wave, np.zeros(tail, np.float32)])
    wave += _NOISE * rng.standard_normal(len(wave), dtype=np.float32)
    samples = np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)
    phones = to_intervals(speech.phones, len(speech.samples), speech.sample_rate, lead_s, tail_s)
    return samples, phones


def write_audio(path: Path, samples: NDArray[np.int16]) -> None:
    """Write 16-bit audio in the format of its name's ending; OSError tells of a full disk, libsndfile not."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format=path.suffix[1:].upper(), subtype="PCM_16")
    path.write_bytes(buffer.getbuffer())


def fork_each(items: Iterable[T], work: Callable[[T], None], nj: int) -> None:
    """Do ``work(item)`` for every item, each in a child process of its own, ``nj`` at a time.

    Raises:
        InputError: a child failed or was killed; what it raised is on stderr.
    """
    running: list[tuple[int, T]] = []
    try:
        for item in items:
            if len(running) >= nj:
                child, oldest = running.pop(0)
                _require_success(os.waitpid(child, 0)[1], oldest)
            sys.stderr.flush()
            child = os.fork()
            if child == 0:
                _work_and_exit(item, work)
            running.append((child, item))
    finally:
        statuses = [(os.waitpid(child, 0)[1], item) for child, item in running]
    for status, item in statuses:
        _require_success(status, item)


def _work_and_exit(item: T, work: Callable[[T], None]) -> None:
    """The child's life: no cleanup of what it inherited, whatever happens."""
    status = 1
    try:
        work(item)
        status = 0
    except (InputError, OSError) as error:  # such as a full disk
        print(f"error: {error}", file=sys.stderr, flush=True)
    except BaseException:  # reported; nothing of the parent's may run on in the child
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _require_success(status: int, item: object) -> None:
    if status:
        code = os.waitstatus_to_exitcode(status)
        how = f"was killed by signal {-code}" if code < 0 else "failed, see above"
        raise InputError(f"the process that made it {how}", where=item, mend="run the same again")
