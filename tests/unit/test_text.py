"""Tokenizers give back what they were given."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrep.bin.train_tokenizer import main
from speechrep.errors import InputError
from speechrep.text.registry import (
    TOKENIZERS,
    load_tokenizer,
    parse_tokenizer,
    require_same_units,
    save_tokenizer,
    train_tokenizer,
)
from speechrep.text.tokenizer import words_of


def test_words_are_parted_by_spaces_alone():
    assert words_of(" bonjour\u00a0!  \u4f60\u3000\u597d ") == ["bonjour\u00a0!", "\u4f60\u3000\u597d"]


TEXTS = [
    "THE CAT SAT ON THE MAT", "IT'S A DOG'S LIFE", "", "\u00c9T\u00c9 \u00e0 la \u4e2d\u6587 \U0001f600",
    "A MAN A PLAN A CANAL", "THE MAN ON THE MAT",
    "THE PLANTS IN THE CANAL SANK", "CANDLES AND MANDOLINS", "THE LITTLE CATTLE SATTLED", "ONE DOG ALONE",
    "e\u0301 and \u00e9 differ",
]  # fmt: skip
SIZES = {"char": 0, "word": 0, "unigram": 48, "bpe": 60}


@pytest.fixture(scope="module", params=sorted(TOKENIZERS))
def tokenizer(request):
    return train_tokenizer(request.param, TEXTS, SIZES[request.param], "here")


def test_training_texts_come_back(tokenizer):
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert all(2 <= number < len(tokenizer.units) for number in ids), text
        assert tokenizer.decode(ids) == text
        with_blanks = [number for unit in ids for number in (0, unit)]
        assert tokenizer.decode(with_blanks) == text
    assert tokenizer.encode("") == [] and tokenizer.decode([]) == ""
    assert tokenizer.units[:2] == ["<blank>", "<unk>"]
    assert len(set(tokenizer.units)) == len(tokenizer.units)


def test_units_are_ints_that_json_takes(tokenizer):
    assert {type(number) for number in tokenizer.encode(TEXTS[0])} == {int}


def test_unknowns_show_where_they_stood(tokenizer):
    text = "THE X\u0416Q CAT"
    decoded = tokenizer.decode(tokenizer.encode(text))
    assert 1 in tokenizer.encode(text)
    assert decoded.startswith("THE ") and decoded.endswith(" CAT") and "<unk>" in decoded


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path):
    save_tokenizer(tmp_path, tokenizer)
    loaded = load_tokenizer(tmp_path)
    assert (loaded.kind, loaded.units) == (tokenizer.kind, tokenizer.units)
    assert [loaded.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    lines = (tmp_path / "units.txt").read_text(encoding="utf-8").split("\n")
    assert lines[0] == "<blank> 0" and len(lines) == len(tokenizer.units) + 1


def test_training_twice_gives_the_same(tokenizer):
    again = train_tokenizer(tokenizer.kind, TEXTS, SIZES[tokenizer.kind], "here")
    assert again.to_json() == tokenizer.to_json()


@given(st.text(" ABCDEILMNOPST'", max_size=30))
@settings(max_examples=80, deadline=None)
def test_any_text_of_known_characters(text):
    for kind in ("char", "unigram", "bpe"):
        trained = _cached(kind)
        assert trained.decode(trained.encode(text)) == text, kind
    words = _cached("word")
    known = [word for word in text.split() if word in words.units]
    assert words.decode(words.encode(" ".join(known))) == " ".join(known)


_TRAINED = {}


def _cached(kind):
    if kind not in _TRAINED:
        _TRAINED[kind] = train_tokenizer(kind, [*TEXTS, "BCDEILMNOPST'"], SIZES[kind], "here")
    return _TRAINED[kind]


def test_frequent_words_first_and_limited():
    tokenizer = train_tokenizer("word", ["b a", "b c"], 4, "here")
    assert tokenizer.units == ["<blank>", "<unk>", "b", "a"]
    assert tokenizer.encode("c a") == [1, 3]


def test_units_do_not_depend_on_the_order_of_the_texts():
    assert train_tokenizer("char", ["CAB", "B"], 0, "here").units[2:] == ["A", "B", "C"]
    assert train_tokenizer("word", ["c b", "a c"], 0, "here").units[2:] == ["c", "a", "b"]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_character_however_rare_is_a_unit(kind):
    tokenizer = train_tokenizer(kind, [*["ABBA BAB ABA"] * 400, "Q"], 8, "here")
    assert tokenizer.decode(tokenizer.encode("QAB")) == "QAB"


def test_units_of_another_recogniser_are_refused():
    own, same, other = (train_tokenizer("char", [text], 0, "here") for text in ("ABC", "CBA", "ABD"))
    require_same_units(own, same, "lm")
    with pytest.raises(InputError, match=r"lm: the language model's 5 units \(char\) are not .* 5 \(char\)"):
        require_same_units(own, other, "lm")


def test_the_unknown_in_a_text_is_the_unknown():
    tokenizer = train_tokenizer("word", ["a <unk> a", "<unk> b <unk>"], 0, "here")
    assert tokenizer.units == ["<blank>", "<unk>", "a", "b"]
    assert tokenizer.encode("a <unk>") == [2, 1] and tokenizer.decode([2, 1]) == "a <unk>"


@pytest.mark.parametrize(
    ("kind", "texts", "size", "complaint"),
    [
        ("syllable", ["a"], 0, "no tokenizer 'syllable'"),
        ("char", ["", ""], 0, "text: no text"),
        ("bpe", ["a b"], 5000, "cannot train 5000 units"),
        ("unigram", ["a b"], 0, "vocab_size is 0"),
    ],
)
def test_bad_training_is_refused(kind, texts, size, complaint):
    with pytest.raises(InputError, match=complaint):
        train_tokenizer(kind, texts, size, "text")


@pytest.mark.parametrize(
    "values", [{}, [], {"kind": "char"}, {"kind": "bpe", "model": "AAAA"}, {"kind": "x"}]
)
def test_bad_files_are_refused(values):
    with pytest.raises(InputError, match=r"tokenizer\.json: not a tokenizer"):
        parse_tokenizer(values, "tokenizer.json")


def test_marks_that_would_be_spelt_are_told(caplog):
    texts = ["a <noise> b", "<noise> [laughter]", "a < b >"]
    for kind, told in (("word", ""), ("char", "x: <noise> (2), [laughter] (1) are spelt")):
        caplog.clear()
        train_tokenizer(kind, texts, 0, "x")
        assert told in caplog.text and bool(told) == bool(caplog.text)


@pytest.mark.parametrize("size", ["-1", "2"])
def test_units_that_leave_no_room_for_one(tmp_path, size):
    (tmp_path / "text").write_text("u a b\n")
    words = ["--text", str(tmp_path / "text"), "--out-dir", str(tmp_path), "--unit", "word"]
    with pytest.raises(InputError, match=f"--vocab-size: want 3 or more .*, got {size}"):
        main([*words, "--vocab-size", size])


def test_the_command(tmp_path):
    (tmp_path / "text").write_text("u1 ONE TWO\nu2\nu3 TWO\n")
    main(["--text", str(tmp_path / "text"), "--unit", "word", "--out-dir", str(tmp_path / "out")])
    assert load_tokenizer(tmp_path / "out").encode("TWO ONE") == [2, 3]
    words = ["--text", str(tmp_path / "text"), "--unit", "word", "--vocab-size", "3"]
    main([*words, "--out-dir", str(tmp_path / "few")])
    assert load_tokenizer(tmp_path / "few").units == ["<blank>", "<unk>", "TWO"]
