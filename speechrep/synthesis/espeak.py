"""The few calls of the espeak-ng library that synthesis needs, through ctypes.

The declarations restate the library's public interface (espeak-ng 1.52). Its state is global and survives
from one utterance to the next (phase, flutter, pitch), so a repeatable utterance needs a fresh process:
initialise once, fork, and call :func:`synthesize` once in the child.
"""

import ctypes
import dataclasses
import os

import numpy as np

from speechrep.errors import InputError

MAX_PATH = 155  # a longer data path makes the library fail without a word

_SYNCHRONOUS = 2
_PHONEME_EVENTS, _DONT_EXIT = 0x0001, 0x8000
_UTF8 = 1
_RATE, _PITCH, _PITCH_RANGE = 1, 3, 4
_EVENT_END, _EVENT_PHONEME = 0, 7


class _Name(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Name),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclasses.dataclass(frozen=True)
class Speech:
    """What the library said.

    Attributes:
        samples: int16, mono, at ``sample_rate``.
        sample_rate: Hz.
        phones: ``(first sample, espeak's phone mnemonic)``, each lasting until the next.
    """

    samples: np.ndarray
    sample_rate: int
    phones: list[tuple[int, str]]


class Espeak:
    """The library, loaded and initialised; one per process.

    Raises:
        InputError: espeakng-loader is not installed, or the library does not start.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise InputError("espeakng-loader is not installed", mend="pip install espeakng-loader") from None
        data_path = espeakng_loader.get_data_path()
        if len(os.fsencode(data_path)) > MAX_PATH:
            raise InputError(
                f"its path is longer than {MAX_PATH} bytes, which espeak-ng cannot take",
                where=data_path,
                mend="install into a shorter path, or reach it through a symbolic link",
            )
        self._library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        self._library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self._variants = set(os.listdir(os.path.join(data_path, "voices", "!v")))
        self.sample_rate = self._library.espeak_Initialize(
            _SYNCHRONOUS, 0, os.fsencode(data_path), _PHONEME_EVENTS | _DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise InputError("espeak-ng does not start", where=data_path)

    def synthesize(
        self, text: str, *, accent: str, variant: str, rate: int, pitch: int, pitch_range: int, seed: int
    ) -> Speech:
        """Say ``text``. Repeatable only as the first call after a fork of this process.

        Args:
            text: English.
            accent: language voice, for instance ``en-us`` or ``gmw/en``.
            variant: a file of the library's ``voices/!v``.
            rate: words a minute.
            pitch: 0 to 100, 50 is the variant's own.
            pitch_range: 0 to 100, 50 is the variant's own.
            seed: of the noise in breathy voices, 0 to 2**31 - 1.

        Raises:
            InputError: an unknown voice, or a failed synthesis.
        """
        library, voice = self._library, f"{accent}+{variant}"
        if variant not in self._variants:  # the library would silently take the plain voice
            raise InputError(f"espeak-ng has no voice variant {variant!r}")
        library.espeak_ng_SetRandSeed(seed)
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise InputError(f"espeak-ng has no voice {voice!r}")
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_PITCH_RANGE, pitch_range)):
            library.espeak_SetParameter(parameter, value, 0)
        blocks: list[np.ndarray] = []
        phones: list[tuple[int, str]] = []

        def collect(samples: ctypes._Pointer, count: int, events: ctypes._Pointer) -> int:
            if samples and count > 0:
                blocks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
            index = 0
            while events and events[index].type != _EVENT_END:
                event = events[index]
                if event.type == _EVENT_PHONEME:
                    # The eight bytes need not end with a NUL.
                    name = ctypes.string_at(ctypes.addressof(event.id), 8).split(b"\0")[0]
                    phones.append((event.sample, name.decode("utf-8", "replace")))
                index += 1
            return 0

        callback = _Callback(collect)  # a name keeps it alive while the library holds it
        library.espeak_SetSynthCallback(callback)
        data = text.encode() + b"\0"
        failed = library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, _UTF8, None, None)
        if failed or not blocks:
            raise InputError(f"espeak-ng could not say {text!r} (code {failed})")
        return Speech(np.concatenate(blocks), self.sample_rate, phones)
