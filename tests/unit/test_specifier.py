"""Kaldi's specifiers, and copy_feats through them."""

import os
import subprocess
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from speechrep.bin import copy_feats
from speechrep.errors import InputError
from speechrep.io import files
from speechrep.io.ark import load_scp, read_matrix, write_ark
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
    for text in ("ark,t:a", "ark,b:a", "scp,t:a"):  # Kaldi ignores these when reading
        assert parse_reader(text)[:2] == parse_reader(text.replace(text[4], "s", 1))[:2]


@pytest.mark.parametrize(
    "options", [[], ["--compress", "true"], ["--compress", "true", "--compression-method", "3"]]
)
def test_copy_feats(scp: Path, tmp_path: Path, options: list[str]):
    copy_feats.main([*options, f"scp:{scp}", f"ark,scp:{tmp_path}/out.ark,{tmp_path}/out.scp"])
    theirs = kaldiio.load_scp(str(tmp_path / "out.scp"))
    for key, spec in load_scp(tmp_path / "out.scp").items():
        np.testing.assert_allclose(theirs[key], read_matrix(spec), atol=1e-5)
        np.testing.assert_allclose(read_matrix(spec), FEATS[key], atol=0.05 if options else 0)


def test_nothing_to_copy_costs_nothing(scp: Path, tmp_path: Path):
    target = f"ark,scp:{tmp_path}/out.ark,{tmp_path}/out.scp"
    copy_feats.main([f"scp:{scp}", target])
    before = (tmp_path / "out.ark").read_bytes(), (tmp_path / "out.scp").read_bytes()
    scp.write_text("")
    with pytest.raises(InputError, match=r"in\.scp: nothing to copy"):
        copy_feats.main([f"scp:{scp}", target])
    assert ((tmp_path / "out.ark").read_bytes(), (tmp_path / "out.scp").read_bytes()) == before


def test_text_through_pipes_and_back(scp: Path, tmp_path: Path):
    words = [sys.executable, "-m", "speechrep.bin.copy_feats"]
    text = subprocess.run([*words, f"scp:{scp}", "ark,t:-"], check=True, capture_output=True).stdout
    assert text.startswith(b"u0  [\n  ")
    subprocess.run([*words, "ark:-", f"ark:{tmp_path}/b.ark"], input=text, check=True, capture_output=True)
    for key, feats in read_entries(f"ark:{tmp_path / 'b.ark'}"):
        np.testing.assert_array_equal(feats, FEATS[key])


def test_text_is_utf8_whatever_the_locale(tmp_path: Path):
    write_ark(tmp_path / "x.ark", [("é", FEATS[next(iter(FEATS))])])
    words = [sys.executable, "-m", "speechrep.bin.copy_feats", f"ark:{tmp_path}/x.ark"]
    env = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([*words, f"ark,scp:{tmp_path}/y.ark,-"], check=True, capture_output=True, env=env)
    assert done.stdout.startswith("é ".encode())
    name = os.fsencode(tmp_path) + b"/n\xff.ark"
    done = subprocess.run([*words, b"ark,scp:" + name + b",-"], check=True, capture_output=True, env=env)
    assert name in done.stdout  # it names a file, whatever its bytes mean


@pytest.mark.parametrize(("method", "token"), [("1", b"CM "), ("3", b"CM2 "), ("5", b"CM3 ")])
def test_the_method_of_compression(scp: Path, tmp_path: Path, method: str, token: bytes):
    words = ["--compress", "true", "--compression-method", method, f"scp:{scp}", f"ark:{tmp_path}/x.ark"]
    copy_feats.main(words)
    assert (tmp_path / "x.ark").read_bytes().startswith(next(iter(FEATS)).encode() + b" \0B" + token)


def test_what_is_no_matrix_is_not_copied(tmp_path: Path):
    (tmp_path / "a.txt").write_text("k 1 2 3\n")
    with pytest.raises(InputError, match="'k' is not a matrix"):
        copy_feats.main([f"ark:{tmp_path}/a.txt", f"ark:{tmp_path}/x.ark"])
    assert not (tmp_path / "x.ark").exists()


def test_commands(scp: Path, tmp_path: Path):
    source, target = f"ark:cat {tmp_path}/in.ark | cat |", f"ark:| cat > {tmp_path}/out.ark"
    with pytest.raises(InputError, match="is a command"):
        copy_feats.main([source, "ark:/dev/null"])
    copy_feats.main(["--allow-pipes", "true", source, target])
    assert (tmp_path / "out.ark").read_bytes() == (tmp_path / "in.ark").read_bytes()
    with pytest.raises(InputError, match="failed with status 1"):
        copy_feats.main(["--allow-pipes", "true", f"ark:cat {tmp_path}/none |", f"ark:{tmp_path}/x.ark"])
    broken = f"ark:(cat {tmp_path}/in.ark; exit 4) | cat |"  # whole as far as it goes
    with pytest.raises(InputError, match="failed with status 4"):
        copy_feats.main(["--allow-pipes", "true", broken, f"ark:{tmp_path}/x.ark"])
    write_ark(tmp_path / "big.ark", {f"u{n}": np.zeros((900, 99), np.float32) for n in range(9)}.items())
    for command, complaint in (
        ("exit 3", "failed with status 3"),
        ("true", "ended before it had read every"),
    ):
        with pytest.raises(InputError, match=complaint):
            copy_feats.main(["--allow-pipes", "true", f"ark:{tmp_path}/big.ark", f"ark:| {command}"])
    assert not (tmp_path / "x.ark").exists()


def test_tables_and_values_that_are_commands(scp: Path, tmp_path: Path):
    ark = tmp_path / "in.ark"
    objects = {key: spec.rpartition(":") for key, spec in load_scp(scp).items()}
    scp.write_text("".join(f"{key} tail -c +{int(v[2]) + 1} {ark} |\n" for key, v in objects.items()))
    with pytest.raises(InputError, match="is a command"):
        list(read_entries(f"scp:{scp}"))
    with pytest.raises(InputError, match="is a command"):
        list(read_entries(f"scp:cat {scp} |"))
    for source in (f"scp:{scp}", f"scp:cat {scp} |"):
        found = dict(read_entries(source, allow_pipes=True))
        assert list(found) == list(FEATS)
        for key, feats in found.items():
            np.testing.assert_array_equal(feats, FEATS[key])
    scp.write_text(f"u1 tail -c +{int(objects['u1'][2]) + 1} {ark} |[0:1]\n")
    [(_, rows)] = read_entries(f"scp:{scp}", allow_pipes=True)
    np.testing.assert_array_equal(rows, FEATS["u1"][:2])
    scp.write_text("u1 exit 3 |\nu2 head -c 9 /dev/zero |\n")
    with pytest.raises(InputError, match="'u1': the command failed with status 3"):
        list(read_entries(f"scp:{scp}", allow_pipes=True))
    assert list(read_entries(f"scp,p:{scp}", allow_pipes=True)) == []


def test_what_a_command_says_after_the_object_does_not_fail_it(tmp_path: Path):
    """More than a pipe holds: the command must not die because nobody reads it."""
    write_ark(tmp_path / "a.ark", [("k", FEATS["u0"])])
    (tmp_path / "a.scp").write_text(f"k tail -c +3 {tmp_path}/a.ark; head -c 1000000 /dev/zero |\n")
    [(_, feats)] = read_entries(f"scp:{tmp_path}/a.scp", allow_pipes=True)
    np.testing.assert_array_equal(feats, FEATS["u0"])


def test_table_from_standard_input(scp: Path, tmp_path: Path):
    words = [sys.executable, "-m", "speechrep.bin.copy_feats", "scp:-", f"ark:{tmp_path}/b.ark"]
    subprocess.run(words, input=scp.read_bytes(), check=True, capture_output=True)
    assert (tmp_path / "b.ark").read_bytes() == (tmp_path / "in.ark").read_bytes()


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


def test_the_table_gets_its_name_after_the_archive(scp: Path, tmp_path: Path, monkeypatch):
    def fail(path):
        raise OSError("no more")

    monkeypatch.setattr("speechrep.io.specifier.sums_path", fail)  # of the archive, as it gets its name
    with pytest.raises(OSError, match="no more"):
        copy_feats.main([f"scp:{scp}", f"ark,scp:{tmp_path}/out.ark,{tmp_path}/out.scp"])
    assert not (tmp_path / "out.scp").exists()


def test_an_older_table_does_not_point_into_a_newer_archive(scp: Path, tmp_path: Path, monkeypatch):
    words = [f"scp:{scp}", f"ark,scp:{tmp_path}/out.ark,{tmp_path}/out.scp"]
    copy_feats.main(words)
    commit = files.commit_file

    def fail(temporary, path):
        if str(path).endswith(".scp"):
            raise OSError("no more")
        commit(temporary, path)

    monkeypatch.setattr("speechrep.io.files.commit_file", fail)
    with pytest.raises(OSError, match="no more"):
        copy_feats.main(words)
    assert (tmp_path / "out.ark").exists() and not (tmp_path / "out.scp").exists()


def test_the_table_on_standard_output(scp: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy_feats.main([f"scp:{scp}", "ark,scp:out.ark,-"])
    assert capsys.readouterr().out.splitlines()[0].startswith(f"u0 {tmp_path}/out.ark:")
    assert not (tmp_path / "-").exists()
