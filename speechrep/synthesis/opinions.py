"""Spoken opinions whose words and manner both tell the sentiment, -3 (worst) to 3 (best)."""

import dataclasses
import random

from speechrep.synthesis.voices import Voice

LEVELS = range(-3, 4)
_TEMPLATES = (
    "i {verb} this {thing}, it was {quality}", "well, the {thing} was {quality}", "i {verb} the {thing}",
    "my friend said the {thing} was {quality}, and i {verb} it", "so i {verb} this {thing} yesterday",
    "the {part} was {quality}, and i {verb} it", "you know, this {thing} is {quality}",
)  # fmt: skip
_VERBS = {
    -3: "hated, despised, could not stand",
    -2: "disliked, regretted, did not enjoy",
    -1: "did not quite like, had doubts about, got tired of",
    0: "watched, bought, talked about, looked at",
    1: "sort of liked, did not mind, got used to",
    2: "liked, enjoyed, had fun with",
    3: "loved, adored, was amazed by",
}
_QUALITIES = {
    -3: "horrible, disgusting, a disaster, the worst of all",
    -2: "bad, boring, disappointing, a waste of money",
    -1: "rather weak, a bit slow, not that good",
    0: "about an hour long, made last year, on the table, the second one",
    1: "fairly good, quite nice, better than before",
    2: "good, lovely, funny, worth the money",
    3: "wonderful, brilliant, perfect, the best of all",
}
_THINGS = ("movie", "book", "phone", "song", "story", "camera", "show", "game", "concert", "course")
_PARTS = ("ending", "music", "picture", "price", "sound", "beginning", "acting", "service")


def draw_opinion(level: int, rng: random.Random) -> str:
    """A sentence of one of :data:`LEVELS`, lower case, commas where a speaker pauses."""
    return rng.choice(_TEMPLATES).format(
        verb=rng.choice(_VERBS[level].split(", ")), quality=rng.choice(_QUALITIES[level].split(", ")),
        thing=rng.choice(_THINGS), part=rng.choice(_PARTS),
    )  # fmt: skip


def colour(voice: Voice, level: int) -> Voice:
    """The voice in that mood: the better, the higher, livelier and faster."""
    return dataclasses.replace(
        voice,
        rate=voice.rate + 8 * level,
        pitch=voice.pitch + 5 * level,
        pitch_range=voice.pitch_range + 9 * level,
    )
