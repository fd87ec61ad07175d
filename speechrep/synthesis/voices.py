"""Synthetic speakers: an accent, a voice variant and a manner of speaking."""

import dataclasses
import random
from collections.abc import Sequence

from speechrep.errors import InputError

ACCENTS = (
    "en-us", "gmw/en", "en-us-nyc", "gmw/en-GB-scotland", "gmw/en-GB-x-rp", "gmw/en-GB-x-gbclan",
    "gmw/en-GB-x-gbcwmd", "gmw/en-029",
)  # fmt: skip

# The variants that sound like people: no robot, whisper or synthesiser voice, no clipping, no near copies.
VARIANTS = {
    "F": (
        "f1", "f2", "f3", "f4", "f5", "Alicia", "Andrea", "Annie", "anika", "aunty", "belinda", "grandma",
        "linda", "shelby", "steph",
    ),
    "M": (
        "m1", "m2", "m3", "m4", "m5", "m7", "m8", "Alex", "Andy", "Denis", "Diogo", "Gene",
        "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "boris",
        "ed", "edward", "ian", "john", "marcelo", "max", "michel", "pablo", "paul",
        "rob", "sandro", "victor",
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Voice:
    """One synthetic speaker; all but ``sex`` is what espeak-ng is told.

    Attributes:
        sex: ``F`` or ``M``.
        accent: language voice.
        variant: voice variant.
        rate: words a minute.
        pitch: 0 to 100, 50 the variant's own.
        pitch_range: 0 to 100, 50 the variant's own.
    """

    sex: str
    accent: str
    variant: str
    rate: int
    pitch: int
    pitch_range: int


def draw_voices(counts: Sequence[int], seed: int) -> list[list[Voice]]:
    """Voices for several sets of speakers, women and men in turn.

    The sets share no variant, and within a set one is used again, with another accent and manner, only
    when all are used up.

    Args:
        counts: speakers of each set.
        seed: another seed gives other voices.

    Raises:
        InputError: more speakers than there are combinations.
    """
    rng = random.Random(f"voices {seed}")  # noqa: S311 (a draw that must repeat, not a secret)
    pools = {sex: rng.sample(variants, len(variants)) for sex, variants in VARIANTS.items()}
    accents = rng.sample(ACCENTS, len(ACCENTS))
    # The smallest sets take their variants first, so that the largest has what is left to go round.
    drawn: dict[int, list[Voice]] = {}
    offset = 0
    for index in sorted(range(len(counts)), key=lambda index: (counts[index], index)):
        last = len(drawn) == len(counts) - 1
        voices: list[Voice] = []
        for sex, share in (("F", (counts[index] + 1) // 2), ("M", counts[index] // 2)):
            pool, pools[sex] = (pools[sex], []) if last else (pools[sex][:share], pools[sex][share:])
            if share > len(pool) * len(accents):
                raise InputError(
                    f"not enough voices for sets of {list(counts)} speakers", mend="ask for fewer"
                )
            for number in range(share):
                turn, place = divmod(number, len(pool))
                voices.append(
                    Voice(
                        sex=sex,
                        accent=accents[(offset + place + turn) % len(accents)],
                        variant=pool[place],
                        rate=rng.randrange(145, 180),
                        pitch=rng.randrange(40, 61),
                        pitch_range=rng.randrange(40, 61),
                    )
                )
            offset += share
        women, men = voices[: (counts[index] + 1) // 2], voices[(counts[index] + 1) // 2 :]
        drawn[index] = [voice for pair in zip(women, [*men, None], strict=False) for voice in pair if voice]
    return [drawn[index] for index in range(len(counts))]
