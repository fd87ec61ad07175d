"""Error counts equal a literal rewrite of Kaldi's rules, its lines and its modes."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrep.bin.score_wer import main
from speechrep.errors import InputError
from speechrep.score import edit, wer
from speechrep.score.edit import align, count_errors


def kaldi_counts(ref, hyp):
    """Cell by cell: a substitution or match only if strictly best, a deletion only below an insertion."""
    row = [(i, 0, i, 0) for i in range(len(ref) + 1)]  # cost, insertions, deletions, substitutions
    for unit in hyp:
        new = [(row[0][0] + 1, row[0][1] + 1, 0, 0)]
        for j, want in enumerate(ref, 1):
            costs = row[j][0] + 1, new[j - 1][0] + 1, row[j - 1][0] + (unit != want)
            if costs[2] < min(costs[:2]):
                _, ins, dels, subs = row[j - 1]
                new.append((costs[2], ins, dels, subs + (unit != want)))
            elif costs[1] < costs[0]:
                _, ins, dels, subs = new[j - 1]
                new.append((costs[1], ins, dels + 1, subs))
            else:
                _, ins, dels, subs = row[j]
                new.append((costs[0], ins + 1, dels, subs))
        row = new
    return list(row[-1][1:])


sequences = st.lists(st.text("abc", max_size=9), min_size=1, max_size=12)


@given(sequences, sequences)
@settings(max_examples=150, deadline=None)
def test_counts_equal_the_literal_rule(refs, hyps):
    pairs = list(zip(refs, hyps, strict=False))
    got = count_errors([ref for ref, _ in pairs], [hyp for _, hyp in pairs])
    assert got.tolist() == [kaldi_counts(ref, hyp) for ref, hyp in pairs]


def test_batches_of_very_different_lengths_agree_with_one_by_one():
    generator = np.random.default_rng(3)
    lengths = [0, 1, 2, 5, 40, 700, 0, 3, 90, 1]
    refs = [generator.integers(5, size=n).astype(str).tolist() for n in lengths]
    hyps = [generator.integers(5, size=n).astype(str).tolist() for n in lengths[::-1]]
    assert count_errors(refs, hyps).tolist() == [kaldi_counts(r, h) for r, h in zip(refs, hyps, strict=True)]


def test_a_runaway_hypothesis_pads_no_others_to_its_length(monkeypatch):
    monkeypatch.setattr(edit, "_CELLS_PER_BATCH", 600)
    shapes = []
    count = edit._count_batch
    monkeypatch.setattr(
        edit, "_count_batch", lambda refs, hyps: shapes.append((refs, hyps)) or count(refs, hyps)
    )
    refs, hyps = [["a"] * 10] * 50, [["b"] * 10] * 50
    hyps[4] = ["b"] * 2000
    found = count_errors(refs, hyps)
    assert found.sum(axis=1).tolist() == [2000 if n == 4 else 10 for n in range(50)]
    assert max(len(refs) for refs, hyps in shapes if max(map(len, hyps)) == 2000) == 1
    assert max(len(refs) for refs, _ in shapes) > 10


@pytest.mark.parametrize(
    ("ref", "hyp", "counts"),
    [
        ("a b c", "b c d", [1, 1, 0]),
        ("a b c", "a d", [0, 1, 1]),
        ("", "a b", [2, 0, 0]),
        ("a b", "", [0, 2, 0]),
        ("a", "a a", [1, 0, 0]),
        ("", "", [0, 0, 0]),
    ],
)
def test_known_splits(ref, hyp, counts):
    assert count_errors([ref.split()], [hyp.split()]).tolist() == [counts]


def test_alignment_is_the_one_align_text_prints():
    assert align("abc", "ad") == [("a", "a"), ("b", None), ("c", "d")]
    assert align([], ["x"]) == [(None, "x")]


@given(st.text("ab", max_size=7), st.text("abc", max_size=7))
@settings(max_examples=100, deadline=None)
def test_alignments_spell_both_sides_at_the_lowest_cost(ref, hyp):
    pairs = align(ref, hyp)
    assert "".join(one for one, _ in pairs if one) == ref
    assert "".join(other for _, other in pairs if other) == hyp
    assert sum(one != other for one, other in pairs) == count_errors([ref], [hyp]).sum()


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_lines_of_compute_wer(tmp_path, capsys):
    ref = write(tmp_path / "ref", "u1 a b c\nu2 d e\nu3 f\n")
    hyp = write(tmp_path / "hyp", "u2 d e\nu1 a x c y\nu3 f\nextra z\n")
    main([ref, hyp])
    assert capsys.readouterr().out == (
        "%WER 33.33 [ 2 / 6, 1 ins, 0 del, 1 sub ]\n%SER 33.33 [ 1 / 3 ]\n"
        "Scored 3 sentences, 0 not present in hyp.\n"
    )


def test_modes(tmp_path, capsys):
    ref = write(tmp_path / "ref", "u1 a b\nu2 c\n")
    hyp = write(tmp_path / "hyp", "u1 a b\n")
    with pytest.raises(InputError, match="hyp: no hypothesis for utterance u2"):
        main([ref, hyp])
    main([ref, hyp, "--mode", "present"])
    assert (
        "%WER 0.00 [ 0 / 2, 0 ins, 0 del, 0 sub ] [PARTIAL]\n%SER 0.00 [ 0 / 1 ]\nScored 1 sentences, 1"
        in (capsys.readouterr().out)
    )
    main([ref, hyp, "--mode", "all"])
    assert "%WER 33.33 [ 1 / 3, 0 ins, 1 del, 0 sub ] [PARTIAL]" in capsys.readouterr().out


def test_characters_count_the_space_and_survive_unicode(tmp_path):
    ref = write(tmp_path / "ref", "u1 a\u00e9 \u4e2d\n")
    hyp = write(tmp_path / "hyp", "u1 a\u00e9\u4e2d\n")
    main([ref, hyp, "--unit", "char", "--json", str(tmp_path / "out.json")])
    values = json.loads((tmp_path / "out.json").read_text())
    assert (values["errors"], values["ref_units"], values["del"]) == (1, 4, 1)
    assert set(values) == {"wer", "errors", "ref_units", "ins", "del", "sub", "ser", "sentences", "ci95"}
    main([ref, hyp, "--unit", "nonblank", "--json", str(tmp_path / "out.json"), "--details", str(tmp_path)])
    values = json.loads((tmp_path / "out.json").read_text())
    assert (values["errors"], values["ref_units"]) == (0, 3)
    assert (tmp_path / "per_utt").read_text().splitlines()[0].split() == ["u1", "ref", *"a\u00e9\u4e2d"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("u1 a\n\nu2 b\n", "bad:2: empty line"),
        ("u1 a\nu1 b\n", "bad:2: 'u1' is given twice"),
    ],
)
def test_bad_files_name_the_line(text, complaint, tmp_path):
    with pytest.raises(InputError, match=complaint):
        wer.read_text(write(tmp_path / "bad", text))


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "latin").write_bytes(b"u1 caf\xe9\n")
    with pytest.raises(InputError, match="latin:1: not UTF-8"):
        wer.read_text(tmp_path / "latin")
    with pytest.raises(InputError, match="absent: no such file"):
        wer.read_text(tmp_path / "absent")


def test_references_without_a_word_are_refused(tmp_path):
    ref, hyp = write(tmp_path / "ref", "u1\n"), write(tmp_path / "hyp", "u1 a\n")
    with pytest.raises(InputError, match="no word to score"):
        main([ref, hyp])


def test_interval_equals_theory_and_seed_decides():
    # Of n one-word utterances a share p is wrong: the rate's standard error is sqrt(p (1 - p) / n).
    errors = np.zeros((400, 3), np.int64)
    errors[:80, 2] = 1
    scores = wer.Scores([str(i) for i in range(400)], np.ones(400, np.int64), errors)
    low, high = wer.interval(wer.bootstrap([scores], 2000, seed=1)[0])
    half = 196 * math.sqrt(0.2 * 0.8 / 400)
    assert low == pytest.approx(20 - half, abs=0.4) and high == pytest.approx(20 + half, abs=0.4)
    assert (wer.bootstrap([scores], 9, 1) == wer.bootstrap([scores], 9, 1)).all()
    assert (wer.bootstrap([scores], 9, 1) != wer.bootstrap([scores], 9, 2)).any()


def test_comparing_two_systems(tmp_path, capsys):
    words = [f"u{i:03} a b c d" for i in range(100)]
    ref = write(tmp_path / "ref", "\n".join(words) + "\n")
    worse = write(tmp_path / "worse", "\n".join(line.replace("d", "x") for line in words) + "\n")
    better = write(tmp_path / "better", "\n".join([*words[:80], *(w[:-2] for w in words[80:])]) + "\n")
    main([ref, worse, "--compare", better, "--bootstrap", "200", "--json", str(tmp_path / "o.json")])
    out = capsys.readouterr().out
    assert "Set1: %WER 25.00 95% Conf Interval [ 25.00, 25.00 ]" in out
    assert "Set2: %WER 5.00" in out and "Probability of Set2 improving Set1: 100.00" in out
    assert json.loads((tmp_path / "o.json").read_text())["compare"]["wer"] == 5.0
    main([ref, better, "--compare", worse, "--bootstrap", "200"])
    assert "Probability of Set2 improving Set1: 0.00" in capsys.readouterr().out
    main([ref, better, "--compare", better, "--bootstrap", "200"])  # an equal one is no improvement
    assert "Probability of Set2 improving Set1: 0.00" in capsys.readouterr().out


def test_intervals_are_of_as_many_draws_as_asked_for_by_their_seed(tmp_path):
    texts = {
        "ref": [f"u{i:02d} a b c d" for i in range(20)],
        "some": [f"u{i:02d} {'a b c d' if i % 3 else 'a x'}" for i in range(20)],
        "more": [f"u{i:02d} {'a b c d' if i % 5 else 'x'}" for i in range(20)],
    }
    ref, some, more = (write(tmp_path / name, "\n".join(lines) + "\n") for name, lines in texts.items())
    systems = [wer.score(wer.read_text(ref), wer.read_text(path)) for path in (some, more)]
    for draws, seed in ((30, 0), (30, 5), (60, 0), (0, 0)):  # of none it is 1000, for the file
        words = ["--bootstrap", str(draws), "--seed", str(seed), "--json", str(tmp_path / "out.json")]
        main([ref, some, "--compare", more, *words])
        values = json.loads((tmp_path / "out.json").read_text())
        wanted = wer.bootstrap(systems, draws or 1000, seed)
        assert values["ci95"] == list(wer.interval(wanted[0]))
        assert values["compare"]["ci95"] == list(wer.interval(wanted[1]))
        assert values["compare"]["probability_better"] == wer.probability_of_improvement(wanted)


def test_systems_with_other_utterances_are_not_compared(tmp_path):
    texts = {"ref": "u1 a\nu2 b\n", "one": "u1 a\n", "other": "u2 b\n"}
    ref, one, other = (write(tmp_path / name, text) for name, text in texts.items())
    with pytest.raises(InputError, match=r"other: holds other utterances than .*one \(use --mode"):
        main([ref, one, "--compare", other, "--mode", "present"])


def test_a_comparison_without_an_end_is_valid_json(tmp_path):
    """All segments differ alike: Z is infinite, which JSON cannot say."""
    ref = write(tmp_path / "ref", "u1 a\nu2 b\n")
    hyp = write(tmp_path / "hyp", "u1 x\nu2 x\n")
    main([ref, hyp, "--compare", ref, "--json", str(tmp_path / "out.json")])
    compared = json.loads((tmp_path / "out.json").read_text())["compare"]
    assert (compared["mapsswe_z"], compared["mapsswe_segments"]) == (None, 2)


def test_draws_of_nothing_to_score_are_drawn_anew():
    """Of three utterances only one has words: all that is drawn tells of it, and says 50 %."""
    scores = wer.Scores(["u1", "u2", "u3"], np.array([2, 0, 0]), np.array([[0, 0, 1], [0] * 3, [0] * 3]))
    assert set(wer.bootstrap([scores], 100, seed=0)[0]) == {50.0}


def test_a_negative_seed_is_refused(tmp_path):
    ref = write(tmp_path / "ref", "u1 a\n")
    with pytest.raises(InputError, match="--seed: want 0 or more, got -1"):
        main([ref, ref, "--bootstrap", "10", "--seed", "-1"])
