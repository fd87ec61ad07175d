"""utils/*.sh under Kaldi's names: they reach the Python behind them, and failures fail."""

import subprocess
import sys
from pathlib import Path

import pytest

UTILS = Path(__file__).parents[2] / "utils"


def call(name, *args, stdin=""):
    done = subprocess.run(
        [UTILS / name, *map(str, args)], input=stdin, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "LC_ALL": "C"},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def data_dir(tmp_path):
    path = tmp_path / "train"
    path.mkdir()
    (path / "utt2spk").write_text("a-1 a\na-2 a\nb-1 b\n")
    (path / "spk2utt").write_text("a a-1 a-2\nb b-1\n")
    (path / "wav.scp").write_text("a-1 /x/1.wav\na-2 /x/2.wav\nb-1 /x/3.wav\n")
    (path / "text").write_text("a-1 A\na-2 B\nb-1 C\n")
    (path / "utt2dur").write_text("a-1 1\na-2 2\nb-1 3\n")
    return path


def test_validate_and_fix(data_dir):
    status, out, _ = call("validate_data_dir.sh", "--no-feats", data_dir)
    assert status == 0 and out.endswith(f"Successfully validated data-directory {data_dir}\n")
    status, _, err = call("validate_data_dir.sh", data_dir)
    assert status == 1 and "feats.scp: no such file" in err
    (data_dir / "utt2spk").write_text("a-1 a\nb-1 b\na-2 a x\n")  # Kaldi's own checker exits 0 here
    status, _, err = call("validate_data_dir.sh", "--no-feats", data_dir)
    assert status == 1 and "utt2spk:3" in err and "Traceback" not in err
    status, out, _ = call("fix_data_dir.sh", data_dir)
    assert status == 0 and "fix_data_dir.sh: kept 2 utterances out of 3" in out
    assert (data_dir / ".backup" / "utt2spk").read_text() == "a-1 a\nb-1 b\na-2 a x\n"
    assert call("validate_data_dir.sh", "--no-feats", data_dir)[0] == 0


def test_the_others(data_dir, tmp_path):
    assert call("split_data.sh", "--per-utt", data_dir, 3)[0] == 0
    assert (data_dir / "split3utt" / "3" / "text").read_text() == "b-1 C\n"
    assert call("split_data.sh", data_dir, 3)[0] == 1
    assert call("subset_data_dir.sh", "--first", data_dir, 2, tmp_path / "some")[0] == 0
    assert (
        call("copy_data_dir.sh", "--utt-prefix", "x-", "--spk-prefix", "x-", data_dir, tmp_path / "x")[0] == 0
    )
    assert call("combine_data.sh", tmp_path / "all", tmp_path / "some", tmp_path / "x")[0] == 0
    assert len((tmp_path / "all" / "text").read_text().splitlines()) == 5
    assert call("get_utt2num_frames.sh", tmp_path / "all")[0] == 0
    assert call("get_utt2dur.sh", tmp_path / "all")[0] == 0
    spk2utt = (data_dir / "spk2utt").read_text()
    assert call("spk2utt_to_utt2spk.sh", stdin=spk2utt)[1] == (data_dir / "utt2spk").read_text()
    assert call("utt2spk_to_spk2utt.sh", data_dir / "utt2spk")[1] == spk2utt
    status, _, err = call("split_data.sh", data_dir, 9)
    assert status == 1 and err.startswith("split_data.sh: error: ")
    _, _, err = call("get_utt2dur.sh", "--nosuch", data_dir)
    assert err.startswith("usage: get_utt2dur.sh [-h]") and "\nget_utt2dur.sh: error: " in err
    assert call("get_utt2dur.sh", "--allow-pipes", "true", "--channel", "0", data_dir)[0] == 0
    assert call("subset_data_dir.sh", "--nosuch", data_dir, 2, tmp_path / "y")[0] == 2
