import itertools
import random
import re

import numpy as np
import pytest

from speechrep.errors import InputError
from speechrep.io.alignment import PHONES
from speechrep.synthesis.opinions import LEVELS, colour
from speechrep.synthesis.phones import ARPABET_OF, to_intervals
from speechrep.synthesis.render import SAMPLE_RATE, fork_each, render
from speechrep.synthesis.sentences import GRAMMAR, draw_sentence, transcript
from speechrep.synthesis.voices import ACCENTS, VARIANTS, Voice, draw_voices


def test_phone_table_covers_all_phones_and_no_other():
    assert {phone for phones in ARPABET_OF.values() for phone in phones} == set(PHONES) - {"SPN"}


def test_intervals_cover_the_utterance():
    # 100 Hz, 0.5 s of silence before and 0.25 s after; a link lengthens, r-coloured vowels split evenly,
    # pauses join, the event at the end has no length.
    events = [(0, "'h"), (10, ",e@"), (30, ";"), (40, "_:"), (44, "_"), (50, "x!"), (60, "_")]
    intervals = to_intervals(events, 60, 100, 0.5, 0.25)
    assert intervals == [
        (0, 0.5, "SIL"), (0.5, 0.6, "HH"), (0.6, 0.7, "EH"), (0.7, 0.9, "R"), (0.9, 1.0, "SIL"),
        (1.0, 1.1, "SPN"), (1.1, 1.35, "SIL"),
    ]  # fmt: skip


def test_sentences_are_plain_and_varied():
    rng = random.Random(1)
    sentences = [draw_sentence(rng, 6, 13) for _ in range(300)]
    assert len(set(sentences)) > 290
    assert all(re.fullmatch(r"[A-Z']+( [A-Z']+)*", transcript(sentence)) for sentence in sentences)
    assert all(6 <= len(sentence.split()) <= 13 for sentence in sentences)
    symbols = {name for rows in GRAMMAR.values() for row in rows for name in re.findall(r"\{(\w+)\}", row)}
    assert symbols == set(GRAMMAR) - {"sentence"}


def test_sentences_have_as_few_and_as_many_words_as_told():
    rng = random.Random(0)
    assert {len(draw_sentence(rng, 6, 8).split()) for _ in range(60)} == {6, 7, 8}


def test_a_better_opinion_is_higher_livelier_and_faster():
    (voice,), _, _ = draw_voices((1, 1, 1), 1)
    for name in ("rate", "pitch", "pitch_range"):
        values = [getattr(colour(voice, level), name) for level in LEVELS]
        assert values == sorted(set(values)) and values[3] == getattr(voice, name)


def test_voices_of_sets_are_disjoint():
    sets = draw_voices((18, 3, 3), seed=5)
    assert [len(voices) for voices in sets] == [18, 3, 3]
    variants = [voice.variant for voices in sets for voice in voices]
    assert len(set(variants)) == 24
    assert draw_voices((18, 3, 3), seed=6) != sets == draw_voices((18, 3, 3), seed=5)
    many = draw_voices((160, 4, 4), seed=5)  # more than there are variants: with another accent each
    assert len({(voice.accent, voice.variant) for voice in many[0]}) == 160
    assert not {v.variant for v in many[0]} & {v.variant for part in many[1:] for v in part}
    with pytest.raises(InputError, match="not enough voices"):
        draw_voices((1000, 4, 4), seed=5)


def test_every_voice_loads_and_every_mnemonic_is_known(tmp_path):
    pytest.importorskip("espeakng_loader")
    from speechrep.synthesis.espeak import Espeak

    espeak = Espeak()
    items = [(ACCENTS[n % len(ACCENTS)], variant) for n, variant in enumerate(sum(VARIANTS.values(), ()))]
    rng = random.Random(2)
    sentences = [draw_sentence(rng, 6, 13) for _ in items]

    def check(number):
        voice = Voice("F", *items[number], 160, 50, 50)
        samples, phones = render(espeak, sentences[number], voice, f"key {number}")
        assert samples.dtype == np.int16 and np.abs(samples).max() < 32767
        assert phones[-1].end_s == pytest.approx(len(samples) / SAMPLE_RATE, abs=2e-4)
        assert "SPN" not in {phone.label for phone in phones}
        assert all(a.end_s == b.start_s for a, b in itertools.pairwise(phones))

    fork_each(range(len(items)), check, nj=2)


def test_unknown_voices_are_refused():
    pytest.importorskip("espeakng_loader")
    from speechrep.synthesis.espeak import Espeak

    espeak = Espeak()
    manner = {"rate": 160, "pitch": 50, "pitch_range": 50, "seed": 1}
    with pytest.raises(InputError, match="no voice variant 'nosuch'"):
        espeak.synthesize("a", accent="en-us", variant="nosuch", **manner)
    with pytest.raises(InputError, match=r"no voice 'xx-yy\+f1'"):
        espeak.synthesize("a", accent="xx-yy", variant="f1", **manner)


def test_a_failing_child_is_an_error(capfd):
    def work(item):
        if item == 3:
            raise ValueError("three is bad")

    with pytest.raises(InputError, match="3: the process that made it failed, see above"):
        fork_each(range(5), work, nj=2)
    assert "three is bad" in capfd.readouterr().err
