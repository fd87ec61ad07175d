"""Reports, significance and trn export."""

import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from speechrep.bin.score_wer import main
from speechrep.errors import InputError
from speechrep.score import details, wer
from speechrep.score.edit import align
from speechrep.score.significance import mapsswe, segment_errors
from speechrep.score.trn import write_trn

REF = {"s1-u1": "a bb c", "s1-u2": "d e", "s2-u1": "f g"}
HYP = {"s1-u1": "a x c yy", "s1-u2": "d", "s2-u1": "f g"}
SPEAKERS = {"s1-u1": "s1", "s1-u2": "s1", "s2-u1": "s2"}


def alignments():
    return {utt_id: align(REF[utt_id].split(), HYP[utt_id].split()) for utt_id in REF}


def test_per_utterance_report():
    assert details.per_utterance(alignments()).splitlines()[:8] == [
        "s1-u1 ref  a  bb  c  ***",
        "s1-u1 hyp  a  x   c  yy",
        "s1-u1 op   C  S   C  I",
        "s1-u1 #csid 2 1 1 0",
        "s1-u2 ref  d  e",
        "s1-u2 hyp  d  ***",
        "s1-u2 op   C  D",
        "s1-u2 #csid 1 0 0 1",
    ]
    words = ["a", "\u3000"]  # a blank of Unicode's, which is a word here
    assert details.per_utterance({"u": align(words, words)}).splitlines()[0] == "u ref  a  \u3000"


def test_per_speaker_report():
    rows = [line.split() for line in details.per_speaker(alignments(), SPEAKERS, "utt2spk").splitlines()]
    assert rows[0] == ["SPEAKER", "id", "#SENT", "#WORD", "Corr", "Sub", "Ins", "Del", "Err", "S.Err"]
    assert rows[1] == ["s1", "raw", "2", "5", "3", "1", "1", "1", "3", "2"]
    assert rows[2] == ["s1", "sys", "2", "5", "60.00", "20.00", "20.00", "20.00", "60.00", "100.00"]
    assert rows[-2] == ["SUM", "raw", "3", "7", "5", "1", "1", "1", "3", "2"]
    with pytest.raises(InputError, match="utt2spk: no speaker for utterance s2-u1"):
        details.per_speaker(alignments(), {"s1-u1": "s1", "s1-u2": "s1"}, "utt2spk")


def test_operations_most_frequent_first():
    pairs = {"u": [("a", "b"), ("a", "b"), ("c", "d"), (None, "e"), ("f", None), ("g", "g")]}
    assert [line.split() for line in details.operations(pairs).splitlines()] == [
        ["substitution", "a", "b", "2"],
        ["substitution", "c", "d", "1"],
        ["deletion", "f", "***", "1"],
        ["insertion", "***", "e", "1"],
        ["correct", "g", "g", "1"],
    ]


@pytest.mark.parametrize(
    ("first", "second", "want"),
    [
        ("a b c d e f", "a b c d e f", []),
        ("x b c d e f", "a b c d e x", [(1, 0), (0, 1)]),  # parted by four good words
        ("x b c d e f", "a b x d e f", [(1, 1)]),  # one good word does not part
        ("x b c d e f", "a b c x e f", [(1, 0), (0, 1)]),  # two do
        ("a b y c d e f", "a b c d e f", [(1, 0)]),  # an insertion
        ("x b c d e f z", "a b c d e f z", [(1, 0), (1, 1)]),
    ],
)
def test_segments_are_parted_by_two_good_words(first, second, want):
    ref = list("abcdef")
    assert list(segment_errors(align(ref, first.split()), align(ref, second.split()))) == want


def test_mapsswe_against_the_formula_and_equal_systems():
    ref = ["a"] * 4
    right, wrong = align(ref, ref), align(ref, ["a", "x", "a", "a"])
    result = mapsswe([wrong] * 8 + [right] * 4, [right] * 8 + [wrong] * 2 + [right] * 2)
    differences = np.array([1] * 8 + [-1] * 2)
    z = differences.mean() / math.sqrt(differences.var(ddof=1) / 10)
    assert (result.segments, result.mean) == (10, 0.6) and result.z == pytest.approx(z)
    assert result.p == pytest.approx(math.erfc(z / math.sqrt(2)))
    assert mapsswe([wrong] * 5, [wrong] * 5).p == 1.0
    same = mapsswe([wrong] * 3, [right] * 3)  # no variance: as likely as three coins that fall alike
    assert (same.segments, same.z, same.p) == (3, math.inf, 0.25)
    assert mapsswe([right], [right]) == (0, 0.0, 0.0, 1.0)


def test_the_command_writes_all_reports(tmp_path, capsys):
    for name, table in (("ref", REF), ("hyp", HYP), ("utt2spk", SPEAKERS)):
        (tmp_path / name).write_text("".join(f"{key} {value}\n" for key, value in table.items()))
    ref, hyp, speakers = (str(tmp_path / name) for name in ("ref", "hyp", "utt2spk"))
    out = tmp_path / "details"
    main([ref, hyp, "--compare", ref, "--details", str(out), "--utt2spk", speakers, "--trn", str(out)])
    assert "MAPSSWE: 2 segments" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["hyp.trn", "ops", "per_spk", "per_utt", "ref.trn"]
    assert (out / "ref.trn").read_text().splitlines()[0] == "a bb c (s1-s1-u1)"
    assert (out / "hyp.trn").read_text().splitlines()[0] == "a x c yy (s1-s1-u1)"
    main([ref, hyp, "--unit", "char", "--details", str(out)])
    first = (out / "per_utt").read_text().splitlines()[0].split()
    assert first == ["s1-u1", "ref", "a", "<space>", "***", "b", "b", "<space>", "***", "c"]
    with pytest.raises(InputError, match="trn needs speakers"):
        main([ref, hyp, "--trn", str(out)])


def test_sclites_speaker_is_ours_whatever_is_in_its_name(tmp_path):
    write_trn(tmp_path / "x.trn", {"a-7-u1": ["A", "B"]}, {"a-7-u1": "a-7"})
    assert (tmp_path / "x.trn").read_text() == "A B (a_7-a-7-u1)\n"


def test_what_sclite_would_misread_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"x\.trn: utterance u1: '\(a\)'"):
        write_trn(tmp_path / "x.trn", {"u1": ["(a)"]}, {"u1": "s"})
    with pytest.raises(InputError, match="no speaker for utterance u1"):
        write_trn(tmp_path / "x.trn", {"u1": ["a"]}, {})
    assert not (tmp_path / "x.trn").exists()


@pytest.mark.skipif(shutil.which("sctk") is None, reason="sclite is not installed (tools/install_sctk.sh)")
def test_sclite_reads_the_export_and_counts_the_same_errors(tmp_path):
    generator = np.random.default_rng(1)
    words = [chr(97 + i) * 2 for i in range(20)]
    refs = {f"s-{i}-u{i:03}": list(generator.choice(words, size=12)) for i in range(100)}
    hyps = {
        utt_id: [w if generator.random() > 0.15 else str(generator.choice(words)) for w in ref]
        for utt_id, ref in refs.items()
    }
    speakers = {utt_id: utt_id.rsplit("-", 1)[0] for utt_id in refs}
    for name, texts in (("ref", refs), ("hyp", hyps)):
        write_trn(tmp_path / f"{name}.trn", texts, speakers)
    command = [
        "sctk",
        "sclite",
        "-r",
        str(tmp_path / "ref.trn"),
        "trn",
        "-h",
        str(tmp_path / "hyp.trn"),
        "trn",
    ]
    report = subprocess.run(
        [*command, "-i", "rm", "-o", "rsum", "stdout"], capture_output=True, text=True, check=True
    ).stdout
    row = (
        next(line for line in report.splitlines() if re.match(r"\s*\|\s*Sum\b", line))
        .replace("|", " ")
        .split()
    )
    ours = wer.score(refs, hyps)
    assert [int(row[1]), int(row[2])] == [100, 1200]
    assert int(row[7]) == ours.totals.sum()


def test_a_reader_that_leaves_early_does_not_cost_the_reports(tmp_path):
    for name, table in (("ref", REF), ("hyp", HYP)):
        (tmp_path / name).write_text("".join(f"{key} {value}\n" for key, value in table.items()))
    command = f"{sys.executable} -m speechrep.bin.score_wer ref hyp --details d --json j | head -1"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "d" / "ops").is_file() and (tmp_path / "j").is_file()
