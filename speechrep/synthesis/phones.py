"""espeak-ng's phone events as ARPAbet intervals."""

from collections.abc import Sequence

from speechrep.io.alignment import SILENCE, SPOKEN_NOISE, Interval

_STRESS = "',%="  # marks before a mnemonic
_LINK = ";"  # a glide into the next phone: the phone before it lasts on

# Every mnemonic met in the nine English voices; a phone of two parts is split evenly between them.
ARPABET_OF: dict[str, tuple[str, ...]] = {
    # vowels
    "0": ("AA",), "A:": ("AA",), "A@": ("AA", "R"), "aa": ("AE",), "a": ("AE",), "a#": ("AH",),
    "V": ("AH",), "@": ("AH",), "@2": ("AH",), "@5": ("UH",), "@-": ("AH",), "@L": ("AH", "L"),
    "E": ("EH",), "e@": ("EH", "R"), "3": ("ER",), "3:": ("ER",), "IR": ("ER",), "VR": ("ER",),
    "eI": ("EY",), "I": ("IH",), "I2": ("IH",), "I#": ("IH",), "i": ("IY",), "i:": ("IY",),
    "i@": ("IY", "AH"), "i@3": ("IH", "R"), "aI": ("AY",), "aI2": ("AY",), "aI3": ("AY", "ER"),
    "aI@": ("AY", "ER"), "aU": ("AW",), "aU@": ("AW", "ER"), "O:": ("AO",), "O2": ("AO",), "O": ("AO",),
    "O@": ("AO", "R"), "o@": ("AO", "R"), "OI": ("OY",), "oU": ("OW",), "U": ("UH",), "U@": ("UH", "R"),
    "u:": ("UW",), "u": ("UW",),
    # consonants
    "b": ("B",), "d": ("D",), "D": ("DH",), "dZ": ("JH",), "f": ("F",), "g": ("G",), "h": ("HH",),
    "j": ("Y",), "k": ("K",), "l": ("L",), "l^": ("L",), "m": ("M",), "n": ("N",), "n-": ("AH", "N"),
    "N": ("NG",), "p": ("P",), "r": ("R",), "r-": ("R",), "s": ("S",), "S": ("SH",), "t": ("T",),
    "t#": ("T",), "t2": ("T",), "?": ("T",), "tS": ("CH",), "T": ("TH",), "t[": ("TH",), "v": ("V",),
    "w": ("W",), "w#": ("W",), "z": ("Z",), "Z": ("ZH",),
    # pauses
    "_": (SILENCE,), "_:": (SILENCE,), "_!": (SILENCE,), "_|": (SILENCE,),
}  # fmt: skip


def mnemonic(name: str) -> str:
    """The name of a phone event without its stress mark, a key of :data:`ARPABET_OF`."""
    return name.lstrip(_STRESS)


def to_intervals(
    events: Sequence[tuple[int, str]], num_samples: int, sample_rate: int, lead_s: float, tail_s: float
) -> list[Interval]:
    """ARPAbet intervals that cover an utterance from 0 to its end without a gap.

    Args:
        events: first sample and mnemonic of each phone, as ``Speech.phones`` has them.
        num_samples: length of the speech.
        sample_rate: of the samples, Hz.
        lead_s: silence put before the speech, seconds.
        tail_s: silence put after it.

    Returns:
        Neighbouring silences joined; a mnemonic that is not known is SPN.
    """
    labels: list[tuple[float, str]] = [(0.0, SILENCE)]
    starts = [min(start, num_samples) for start, _ in events]
    for (_, name), start, end in zip(events, starts, [*starts[1:], num_samples], strict=True):
        if mnemonic(name) == _LINK or end <= start:
            continue
        phones = ARPABET_OF.get(mnemonic(name), (SPOKEN_NOISE,))
        for part, phone in enumerate(phones):
            sample = start + (end - start) * part / len(phones)
            labels.append((lead_s + sample / sample_rate, phone))
    end_s = lead_s + num_samples / sample_rate
    labels.append((end_s, SILENCE))
    joined = [labels[0]]
    for start_s, phone in labels[1:]:
        if not (phone == SILENCE == joined[-1][1]):
            joined.append((start_s, phone))
    starts_s = [round(start_s, 4) for start_s, _ in joined]
    ends_s = [*starts_s[1:], round(end_s + tail_s, 4)]
    return [
        Interval(start_s, stop_s, phone)
        for (_, phone), start_s, stop_s in zip(joined, starts_s, ends_s, strict=True)
        if stop_s > start_s
    ]
