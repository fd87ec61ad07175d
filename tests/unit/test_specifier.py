"""Kaldi's specifiers, and copy_feats through them."""

import subprocess
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from speechrep.bin import copy_feats
from speechrep.errors import InputError
from speechrep.io.ark import load_scp, read_ark, read_matrix, write_ark
from speechrep.io.specifier import parse_reader, parse_writer, read_entries

FEATS = {f"u{n}": np.random.default_rng(n).normal(size=(9 + n, 4)).astype(np.float32) for n in range(4)}


@pytest.fixture
def scp(tmp_path: Path) -> Path:
    write_ark(tmp_path / "in.ark", FEATS.items(), tmp_path / "in.scp")
    return tmp_path / "in.scp"


def test_parse():
    assert parse_reader("ark,s,cs:a.ark") == ("a.ark", "", frozenset({"s", "cs"}))
    assert parse_reader("scp,p:a,b.scp") == ("", "a,b.scp", frozenset({"p"}))
    assert parse_reader("ark:gunzip -c x:y.gz |").ark == "gunzip -c x:y.gz |"
    assert parse_writer("ark,t:-") == ("-", "", frozenset({"t"}))
    assert parse_writer("ark,scp:a.ark,a.scp")[:2] == ("a.ark", "a.scp")
    for text in ("a.ark", "ark:", "ark,x:a", "ark,scp:a", "scp:a.scp,", "t:a", "ark,ark:a"):
        with pytest.raises(InputError):
            parse_writer(text)
    with pytest.raises(InputError, match="no rspecifier"):
        parse_reader("ark,scp:a,b")


@pytest.mark.parametrize(
    "options", [[], ["--compress", "true"], ["--compress", "true", "--compression-method", "3"]]
)
def test_copy_feats(scp: Path, tmp_path: Path, options: list[str]):
    copy_feats.main([*options, f"scp:{scp}", f"ark,scp:{tmp_path}/out.ark,{tmp_path}/out.scp"])
    theirs = kaldiio.load_scp(str(tmp_path / "out.scp"))
    for key, spec in load_scp(tmp_path / "out.scp").items():
        np.testing.assert_allclose(theirs[key], read_matrix(spec), atol=1e-5)
        np.testing.assert_allclose(read_matrix(spec), FEATS[key], atol=0.05 if options else 0)


def test_text_through_pipes_and_back(scp: Path, tmp_path: Path):
    words = [sys.executable, "-m", "speechrep.bin.copy_feats"]
    text = subprocess.run([*words, f"scp:{scp}", "ark,t:-"], check=True, capture_output=True).stdout
    assert text.startswith(b"u0  [\n  ")
    subprocess.run([*words, "ark:-", f"ark:{tmp_path}/b.ark"], input=text, check=True, capture_output=True)
    for key, feats in read_ark(tmp_path / "b.ark").items():
        np.testing.assert_array_equal(feats, FEATS[key])


def test_commands(scp: Path, tmp_path: Path):
    source, target = f"ark:cat {tmp_path}/in.ark | cat |", f"ark:| cat > {tmp_path}/out.ark"
    with pytest.raises(InputError, match="is a command"):
        copy_feats.main([source, "ark:/dev/null"])
    copy_feats.main(["--allow-pipes", "true", source, target])
    assert (tmp_path / "out.ark").read_bytes() == (tmp_path / "in.ark").read_bytes()
    with pytest.raises(InputError, match="failed with status 1"):
        copy_feats.main(["--allow-pipes", "true", f"ark:cat {tmp_path}/none |", f"ark:{tmp_path}/x.ark"])


def test_permissive(scp: Path, tmp_path: Path):
    lines = scp.read_text().splitlines()
    scp.write_text("\n".join([lines[0], f"gone {tmp_path}/gone.ark:5", *lines[1:]]) + "\n")
    with pytest.raises(InputError, match=r"gone\.ark: utterance 'gone': no such file"):
        list(read_entries(f"scp:{scp}"))
    assert [key for key, _ in read_entries(f"scp,p:{scp}")] == list(FEATS)
    whole = (tmp_path / "in.ark").read_bytes()
    (tmp_path / "cut.ark").write_bytes(whole[:-5])
    with pytest.raises(InputError, match="'u3'"):
        list(read_entries(f"ark:{tmp_path}/cut.ark"))
    assert len(list(read_entries(f"ark,p:{tmp_path}/cut.ark"))) == 3


def test_a_failed_copy_leaves_nothing(scp: Path, tmp_path: Path):
    (tmp_path / "in.ark").write_bytes((tmp_path / "in.ark").read_bytes()[:-5])
    with pytest.raises(InputError):
        copy_feats.main([f"scp:{scp}", f"ark,scp:{tmp_path}/out.ark,{tmp_path}/out.scp"])
    assert not list(tmp_path.glob("*out*"))
