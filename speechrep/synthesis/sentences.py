"""A small grammar of English sentences: varied, speakable, all 39 phones, A to Z and the apostrophe only."""

import random

# Each symbol in braces in a template is replaced by a draw from its list, until none is left.
_TEMPLATES: dict[str, list[str]] = {
    "sentence": [
        "{who} {did} {what}",
        "{who} {did} {what} {where}",
        "{who} {went} {where}",
        "{who} {went} {where} {when}",
        "{when} {who} {did} {what}",
        "{when} {who} {went} {where}",
        "{who} {did} {what}, {joint} {pronoun} {went} {where}",
        "{who} {went} {where}, {joint} {pronoun} {did} {what}",
        "{pronoun} {aux} {do} {what} {where}",
        "{pronoun} {aux} {do} {what}, {joint} {pronoun} {aux} {go} {where}",
        "{it} {quality} to {do} {what}",
        "{it} {quality} to {go} {where} {when}",
        "{there} {number} {things} {where}",
        "{there} {number} {adjective} {things} {where}",
        "who {did} {what} {where}",
        "why {would} {pronoun} {do} {what}",
        "please {do} {what} {when}",
        "{who} {said} {pronoun} {aux} {do} {what}",
        "{name} {said} {who} {went} {where}",
        "{number} {people} {did} {what} {when}",
        "{name} and {name} {did} {what} {where}",
        "the {noun} was {adjective}, {joint} the {noun} was {adjective}",
        "{whose} {noun} is {adjective} and {whose} {noun} is {adjective}",
    ],
    "who": [
        "the {person}", "the {person}", "the {adjective} {person}", "a {adjective} {person}", "{name}",
        "{name}", "{whose} {person}", "{whose} {adjective} {person}",
    ],
    "what": [
        "the {noun}", "the {adjective} {noun}", "a {plain} {noun}", "{whose} {noun}",
        "{whose} {adjective} {noun}", "{number} {things}", "{number} {adjective} {things}",
        "the {noun} and the {noun}",
    ],
    "where": [
        "near the {place}", "behind the {place}", "in the {adjective} {place}", "beyond the {place}",
        "under the {place}", "at the {place}", "through the {place}", "toward the {place}",
        "between the {place} and the {place}", "outside {whose} {place}", "beside the {noun}",
    ],
    "whose": [
        "my", "your", "our", "their", "his", "her", "{name}'s", "the {person}'s",
    ],
}  # fmt: skip
_LISTS = {
    "when": (
        "this morning, last thursday, every evening, before noon, on sunday, in january, in august, "
        "long ago, after the show, once again, at three o'clock, yesterday, tomorrow, each autumn, just "
        "now, soon, at twelve o'clock, all day"
    ),
    "person": (
        "teacher, captain, farmer, doctor, nurse, judge, boy, girl, child, mother, father, brother, "
        "cousin, uncle, baker, singer, writer, painter, king, queen, sailor, thief, soldier, stranger, "
        "neighbour, driver, waiter, shepherd, engineer, butcher, lawyer"
    ),
    "people": (
        "children, women, teachers, farmers, judges, boys, girls, soldiers, strangers, friends, "
        "neighbours, sailors, thieves"
    ),
    "name": (
        "john, mary, george, joyce, edith, charles, ruth, arthur, roy, beth, hugh, zoe, paul, lucy, "
        "howard, jean, victor, theo, floyd, grace"
    ),
    "noun": (
        "book, boat, coin, treasure, measure, television, window, table, church, bridge, garage, "
        "cheese, orange, voice, toy, oil, cloth, thread, feather, leather, weather, mouth, house, cow, "
        "sheep, fish, goose, dog, cat, zebra, azure vase, yellow rug, cookie, pudding, sugar, hook, "
        "wool, juice, engine, jewel, watch, match, kitchen knife, shovel, shirt, shoe, path, bath, "
        "tooth, wheel, whistle, wing, ring, string, finger, paper, pepper, apple, number, bird, purse, "
        "nail, nose, vision, collision, lamp, guitar, music, letter, ladder, yard, youth, cloud, crown, "
        "towel, flower"
    ),
    "things": (
        "books, boats, coins, treasures, windows, tables, churches, bridges, oranges, voices, toys, "
        "feathers, houses, cows, fish, dogs, cats, cookies, hooks, jewels, watches, matches, shovels, "
        "shirts, shoes, paths, teeth, wheels, wings, rings, birds, letters, flowers, apples, clouds, "
        "nails, visions, beds, eggs, bells"
    ),
    "place": (
        "river, forest, village, market, school, mountain, harbour, garden, station, cottage, castle, "
        "ocean, beach, valley, field, kitchen, hall, tower, town, theatre, shop, quarry, south wall, "
        "north gate, zoo, park, pool, woods, cave, road, fire"
    ),
    "adjective": (
        "old, young, good, bad, huge, small, strange, quiet, noisy, cheap, rich, poor, pure, usual, "
        "unusual, smooth, rough, thin, thick, shy, joyful, brown, yellow, purple, green, azure, white, "
        "black, wooden, golden, beige, broken, frozen, hidden, heavy, lovely, foolish, clever, gentle, "
        "royal, loyal, foggy, muddy, worthy, third, fourth, loud"
    ),
    "plain": "good, huge, strange, cheap, thick, royal, broken, heavy, loud, yellow, beige",
    "quality": (
        "good, hard, easy, a pleasure, unusual, wrong, enough, a joy, foolish, right, cheap, dangerous, "
        "about time"
    ),
    "number": (
        "two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, thirty, forty, "
        "fifty, a hundred, a thousand, both, several, many"
    ),
    "did": (
        "took, found, lost, saw, chose, bought, brought, caught, watched, measured, enjoyed, destroyed, "
        "painted, pulled, pushed, shook, cooked, washed, joined, changed, used, loved, wanted, heard, "
        "held, hid, kept, sold, drew, threw, gave away, thought about, looked for, asked for, would not "
        "touch, never forgot, hardly noticed"
    ),
    "do": (
        "take, find, lose, see, choose, buy, bring, catch, watch, measure, enjoy, destroy, paint, pull, "
        "push, shake, cook, wash, join, change, use, love, hear, hold, hide, keep, sell, draw, throw, "
        "give away, think about, look for, ask for, touch, forget"
    ),
    "went": (
        "went, walked, ran, stood, slept, sang, waited, worked, played, shouted, laughed, stayed, "
        "danced, vanished, hurried, marched, got lost, sat down, hung around, rode"
    ),
    "go": "go, walk, run, stand, sleep, sing, wait, work, play, shout, laugh, stay, ride",
    "pronoun": "i, you, we, they",
    "aux": "can't, don't, didn't, won't, must, should, could, will, couldn't, might, wouldn't",
    "would": "would, should, don't, can't, did, must",
    "said": "said, thought, knew, showed, feared, swore, believed, assured us",
    "it": "it's, it was, it isn't, it wasn't, perhaps it's",
    "there": "there are, there were, we've seen, they'll find, i've counted, you'll need",
    "joint": "and, but, so, because, while, though",
}
GRAMMAR = {**_TEMPLATES, **{symbol: text.split(", ") for symbol, text in _LISTS.items()}}


def draw_sentence(rng: random.Random, min_words: int, max_words: int) -> str:
    """One sentence in lower case, with commas where a speaker pauses.

    Args:
        rng: where the draws come from.
        min_words: the fewest words.
        max_words: the most words.
    """
    while True:
        words = _expand("{sentence}", rng).split()
        if min_words <= len(words) <= max_words:
            return " ".join(words)


def transcript(sentence: str) -> str:
    """The sentence as LibriSpeech writes it: upper case, A to Z, apostrophe and blank only."""
    return sentence.replace(",", "").upper()


def _expand(template: str, rng: random.Random) -> str:
    pieces = []
    for part in template.split("{"):
        symbol, closed, rest = part.rpartition("}")
        pieces.append(_expand(rng.choice(GRAMMAR[symbol]), rng) + rest if closed else part)
    return "".join(pieces)
