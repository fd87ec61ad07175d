"""utils/score.sh: all reports of one decoded set, and its complaints."""

import json
import subprocess
from pathlib import Path

SCRIPT = str(Path(__file__).parents[2] / "utils" / "score.sh")


def score(*arguments):
    return subprocess.run([SCRIPT, *map(str, arguments)], capture_output=True, text=True)


def make(folder):
    data, out = folder / "data", folder / "decode"
    data.mkdir()
    out.mkdir()
    (data / "text").write_text("s1-u1 A B C\ns2-u1 D\n")
    (data / "utt2spk").write_text("s1-u1 s1\ns2-u1 s2\n")
    (out / "hyp").write_text("s1-u1 A B\ns2-u1 D\n")
    return data, out


def test_it_writes_every_report(tmp_path):
    data, out = make(tmp_path)
    result = score("--bootstrap", 50, data, out)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"%WER 25.00 [ 1 / 4, 0 ins, 1 del, 0 sub ] {out}\n"
    scoring = out / "scoring"
    assert json.loads((scoring / "wer.json").read_text())["errors"] == 1
    assert (scoring / "cer").read_text().startswith("%CER 33.33 [ 2 / 6, 0 ins, 2 del, 0 sub ]")
    assert "95% Conf Interval" in (scoring / "wer").read_text()
    reports = sorted(path.name for path in (scoring / "details").iterdir())
    assert reports == ["hyp.trn", "ops", "per_spk", "per_utt", "ref.trn"]


def test_references_without_hypothesis_may_be_left_out(tmp_path):
    """In every report; the line that is collected is kept, too."""
    data, out = make(tmp_path)
    (out / "hyp").write_text("s1-u1 A B\n")
    result = score("--bootstrap", 50, "--mode", "present", data, out)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"%WER 33.33 [ 1 / 3, 0 ins, 1 del, 0 sub ] [PARTIAL] {out}\n"
    assert (out / "scoring/best_wer").read_text() == result.stdout
    assert (out / "scoring/cer").read_text().startswith("%CER 40.00 ")
    assert (out / "scoring/details/ref.trn").read_text() == "A B C (s1-s1-u1)\n"


def test_another_system_is_compared_with(tmp_path):
    data, out = make(tmp_path)
    (tmp_path / "other").write_text("s1-u1 A B C\ns2-u1 D\n")
    options = ["--bootstrap", 50, "--compare", tmp_path / "other"]
    assert score(*options, data, out).returncode == 0
    for name in ("wer", "cer"):
        report = json.loads((out / f"scoring/{name}.json").read_text())
        assert report["errors"] and report["compare"]["errors"] == 0
        assert "Probability of Set2 improving Set1: " in (out / "scoring" / name).read_text()


def test_words_that_sclite_cannot_take_cost_its_files_alone(tmp_path):
    data, out = make(tmp_path)
    assert score("--bootstrap", 50, data, out).returncode == 0
    (out / "hyp").write_text("s1-u1 A B/C\ns2-u1 D\n")
    result = score("--bootstrap", 50, data, out)
    assert result.returncode == 0
    assert result.stdout == f"%WER 50.00 [ 2 / 4, 0 ins, 1 del, 1 sub ] {out}\n"
    assert "'B/C'" in result.stderr and "no files for sclite" in result.stderr
    reports = sorted(path.name for path in (out / "scoring/details").iterdir())
    assert [name for name in reports if name != "ref.trn"] == ["ops", "per_spk", "per_utt"]


def test_a_failure_leaves_no_earlier_rate(tmp_path):
    data, out = make(tmp_path)
    assert score("--bootstrap", 50, data, out).returncode == 0
    (out / "hyp").write_text("s1-u1 A B\n")
    failed = score("--bootstrap", 50, data, out)
    assert failed.returncode == 1 and "s2-u1" in failed.stderr
    assert not [path.name for path in (out / "scoring").iterdir() if path.suffix != ".tmp" and path.is_file()]


def test_it_complains(tmp_path):
    data, out = make(tmp_path)
    for arguments, status, complaint in (
        ((data,), 2, "Usage"),
        (("--bootstrap", "x", data, out), 2, "--bootstrap wants an integer"),
        ((data, tmp_path / "nowhere"), 1, "no such file"),
    ):
        result = score(*arguments)
        assert result.returncode == status and complaint in result.stderr, result
