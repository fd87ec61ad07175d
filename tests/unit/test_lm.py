"""Language models: probabilities that sum to one, learning, ARPA through kenlm."""

import math
import re

import pytest
import torch

from speechrep.bin.train_lm import main
from speechrep.decode.lm import LmConfig, LstmLm, LstmScorer, load_lm
from speechrep.decode.ngram import NgramScorer, estimate, is_ngram, ngram_sentences, write_arpa
from speechrep.errors import InputError
from speechrep.io.files import read_json, write_json
from speechrep.io.model_files import write_model
from speechrep.text.registry import save_tokenizer, train_tokenizer

TEXTS = ["THE CAT SAT", "THE CAT RAN", "A DOG SAT", "THE DOG RAN", "THE CAT SAT ON A DOG"] * 3
TOKENIZER = train_tokenizer("char", TEXTS, 0, "here")
C = len(TOKENIZER.units)


def sentence_score(scorer, text):
    """Sum of log probabilities of a sentence's units and its end, step by step."""
    utts = torch.tensor([0])
    state, classes, total = scorer.initial(utts), torch.tensor([C - 1]), 0.0
    for number in [*(unit - 1 for unit in TOKENIZER.encode(text)), C - 1]:
        log_probs, state = scorer.step(state, classes, utts)
        assert float(log_probs.double().exp().sum()) == pytest.approx(1, abs=1e-4)
        total += float(log_probs[0, number])
        classes = torch.tensor([number])
    return total


def test_stepping_equals_the_whole_sentence_and_rows_follow_their_hypotheses():
    torch.manual_seed(0)
    model = LstmLm(LmConfig(embedding=8, hidden_size=12), TOKENIZER).eval()
    scorer = LstmScorer(model)
    classes = torch.randint(C, (3, 5))
    whole = model(classes)
    utts = torch.zeros(3, dtype=torch.int64)
    state = scorer.initial(utts)
    for position in range(5):
        log_probs, state = scorer.step(state, classes[:, position], utts)
        torch.testing.assert_close(log_probs, whole[:, position])
    rows = torch.tensor([2, 0, 2])
    picked, _ = scorer.step(scorer.select(state, rows), classes[rows, 0], utts)
    direct, _ = scorer.step(state, classes[:, 0], utts)
    torch.testing.assert_close(picked, direct[rows])


def test_the_command_trains_an_lstm_that_prefers_what_it_read(tmp_path):
    save_tokenizer(tmp_path / "units", TOKENIZER)
    (tmp_path / "text").write_text("".join(f"u{i:02} {text}\n" for i, text in enumerate(TEXTS)))
    text = str(tmp_path / "text")
    options = "--hidden-size 32 --embedding 16 --num-layers 1 --dropout 0 --lr 0.02"
    options += " --max-steps 60 --valid-interval 60"
    main(
        ["--units-from", str(tmp_path / "units"), "--train", text, "--valid", text, "--exp-dir",
         str(tmp_path / "lm"), "--max-units", "120", *options.split()]
    )  # fmt: skip
    scorer = LstmScorer(load_lm(tmp_path / "lm", TOKENIZER))
    assert sentence_score(scorer, "THE CAT SAT") > sentence_score(scorer, "THE TAC SAT") + 3
    other = train_tokenizer("char", ["XYZ"], 0, "here")
    with pytest.raises(InputError, match="are not the recogniser's 5"):
        load_lm(tmp_path / "lm", other)
    info = read_json(tmp_path / "lm/model.json")
    write_json(tmp_path / "lm/model.json", info | {"config": info["config"] | {"hidden_size": 16}})
    with pytest.raises(InputError, match="lm: weights do not fit the description"):
        load_lm(tmp_path / "lm", TOKENIZER)


def test_ngram_probabilities_sum_to_one_and_follow_the_counts(tmp_path):
    kenlm = pytest.importorskip("kenlm", reason="kenlm is not installed")
    for order in (2, 4):
        tables = estimate(ngram_sentences(TEXTS, TOKENIZER), order, TOKENIZER.units[1:])
        write_arpa(tmp_path / "lm.arpa", tables)
        scorer = NgramScorer(tmp_path / "lm.arpa", TOKENIZER)
        texts = ["THE CAT SAT", "THE TAC SAT", "QQ"]
        scores = [sentence_score(scorer, text) for text in texts]
        assert math.isfinite(scores[2])
        assert scores[0] > scores[1] + 2
        whole = kenlm.Model(str(tmp_path / "lm.arpa"))
        sentences = [" ".join(units) for units in ngram_sentences(texts, TOKENIZER)]
        log10_scores = [whole.score(sentence) for sentence in sentences]
        assert scores == pytest.approx([score * math.log(10) for score in log10_scores], abs=1e-3)


def test_kneser_ney_by_hand():
    """Bigrams of 'a b' and 'a c', one discount 0.5 (no bigram but '<s> a' is seen twice)."""
    tables = estimate([["a", "b"], ["a", "c"]], 2, ["a", "b", "c"])
    # Bigrams: <s> a x2, a b, a c, b </s>, c </s>: n1 = 4, n2 = 1, discount 4/6. After a: 2 of 2 counts.
    # Unigrams count left neighbours: a 1, b 1, c 1, </s> 2: n1 = 3, n2 = 1, discount 3/5, of 5 in all.
    uniform = 4 * 0.6 / 5 / 4
    unigram = {"a": 0.4 / 5 + uniform, "b": 0.4 / 5 + uniform, "</s>": 1.4 / 5 + uniform}
    for unit, prob in unigram.items():
        assert math.exp(tables[0][unit,]) == pytest.approx(prob)
    assert math.exp(tables[1]["a", "b"]) == pytest.approx((1 / 3) / 2 + (2 / 3) * unigram["b"])
    assert math.exp(tables[0]["", "a"]) == pytest.approx(2 / 3)


def test_bad_language_models_are_refused(tmp_path):
    pytest.importorskip("kenlm", reason="kenlm is not installed")
    (tmp_path / "bad.arpa").write_text("hello\n")
    with pytest.raises(InputError, match=r"bad\.arpa: kenlm cannot read it"):
        NgramScorer(tmp_path / "bad.arpa", TOKENIZER)
    with pytest.raises(InputError, match=r"absent\.arpa: no such language model"):
        is_ngram(tmp_path / "absent.arpa")
    write_arpa(tmp_path / "words.arpa", estimate([["CAT", "DOG"]], 2, ["CAT", "DOG"]))
    with pytest.raises(InputError, match="units are not in it"):
        NgramScorer(tmp_path / "words.arpa", TOKENIZER)


def ngram(folder, tokenizer, *options):
    """Train one over the units of a tokenizer; its experiment."""
    save_tokenizer(folder / "units", tokenizer)
    (folder / "text").write_text("".join(f"{text}\n" for text in TEXTS))
    main(["--kind", "ngram", "--units-from", str(folder / "units"), "--plain", "--train",
          str(folder / "text"), "--exp-dir", str(folder / "lm"), *options])  # fmt: skip
    return folder / "lm"


def test_an_ngram_is_of_the_order_told_over_the_units_without_the_blank(tmp_path):
    text = (ngram(tmp_path, TOKENIZER, "--order", "3") / "lm.arpa").read_text()
    orders = re.findall(r"^ngram (\d)=", text, re.MULTILINE)
    assert orders == ["1", "2", "3"]
    unigrams = text.partition("\\1-grams:\n")[2].partition("\n\n")[0]
    assert {line.split("\t")[1] for line in unigrams.splitlines()} == {"<s>", "</s>", *TOKENIZER.units[1:]}


def test_an_ngram_of_other_units_is_refused(tmp_path, caplog):
    """All its units are pieces of the other tokenizer's texts, so that few of them are missing."""
    pytest.importorskip("kenlm", reason="kenlm is not installed")
    lm = ngram(tmp_path, train_tokenizer("bpe", TEXTS, 30, "here"))
    assert is_ngram(lm) and is_ngram(lm / "lm.arpa")
    for path in (lm, lm / "lm.arpa"):
        with pytest.raises(InputError, match=r"lm\.arpa: the language model's 30 units \(bpe\) are not"):
            NgramScorer(path, TOKENIZER)
    (lm / "tokenizer.json").unlink()  # as if made elsewhere
    NgramScorer(lm, TOKENIZER)
    assert "lm.arpa: no <space> among its words" in caplog.text
    caplog.clear()
    NgramScorer(ngram(tmp_path, TOKENIZER), TOKENIZER)
    assert not caplog.text


def test_the_two_kinds_do_not_share_a_folder(tmp_path):
    lm = ngram(tmp_path, TOKENIZER)
    words = ["--units-from", str(tmp_path / "units"), "--plain", "--train", str(tmp_path / "text")]
    with pytest.raises(InputError, match=r"lm\.arpa: there is a model of another kind"):
        main([*words, "--valid", str(tmp_path / "text"), "--exp-dir", str(lm)])
    write_model(lm, {}, {"kind": "lm"})
    assert not is_ngram(lm)  # as it was taken before n-grams told of their units
    with pytest.raises(InputError, match=r"model\.json: there is a model of another kind"):
        main([*words, "--kind", "ngram", "--exp-dir", str(lm)])


@pytest.mark.parametrize("order", ["1", "7"])
def test_orders_that_kenlm_does_not_read(tmp_path, order):
    with pytest.raises(InputError, match=r"--order: want 2 to 6"):
        ngram(tmp_path, TOKENIZER, "--order", order)


@pytest.mark.parametrize("word", ["<UNK>", "<s>", "</s>"])
def test_units_that_ngrams_keep_for_themselves(tmp_path, word):
    with pytest.raises(InputError, match=f"units: a unit {word}, which n-gram models keep"):
        ngram(tmp_path, train_tokenizer("word", [*TEXTS, f"A {word}"], 0, "here"))


def test_empty_lines_are_no_sentences(tmp_path):
    save_tokenizer(tmp_path / "units", TOKENIZER)

    def model(text):
        (tmp_path / "text").write_text(text)
        main(["--kind", "ngram", "--order", "2", "--units-from", str(tmp_path / "units"), "--plain",
              "--train", str(tmp_path / "text"), "--exp-dir", str(tmp_path / "lm")])  # fmt: skip
        return (tmp_path / "lm/lm.arpa").read_text()

    assert model("THE CAT\nA DOG") == model("THE CAT\n\n \nA DOG\n")
    for kind in ("ngram", "lstm"):
        (tmp_path / "text").write_text("\n \n")
        with pytest.raises(InputError, match="/text: no text"):
            main(["--kind", kind, "--units-from", str(tmp_path / "units"), "--plain",
                  "--exp-dir", str(tmp_path), "--valid", str(tmp_path / "text"),
                  "--train", str(tmp_path / "text")])  # fmt: skip


def test_an_ngrams_memory_is_of_one_batch(tmp_path):
    pytest.importorskip("kenlm", reason="kenlm is not installed")
    write_arpa(
        tmp_path / "lm", estimate(ngram_sentences(["A CAT", "THE DOG"], TOKENIZER), 3, TOKENIZER.units[1:])
    )
    scorer, utts = NgramScorer(tmp_path / "lm", TOKENIZER), torch.arange(2)

    def batch(first):
        state, scores = scorer.initial(utts), []
        for number in range(first, first + 3):
            found, state = scorer.step(state, torch.tensor([number, number]), utts)
            scores.append(found)
        return torch.stack(scores), len(scorer._scores)

    scores, held = batch(2)
    assert held == batch(3)[1] == 3
    assert torch.equal(batch(2)[0], scores)
