"""utils/parse_options.sh: what the inherited one does silently wrong, ours refuses."""

import shlex
import subprocess
from pathlib import Path

import pytest

PARSER = Path(__file__).parents[2] / "utils" / "parse_options.sh"
SCRIPT = f"""#!/usr/bin/env bash
set -euo pipefail
stage=0                # first stage to run
offset=-5              # may be negative
tag=demo               # name of the experiment
train_sets="a b"       # folders
empty=                 # nothing by default
resume=true            # continue
. {PARSER}
printf '%s|%s|%s|%s|%s|%s|%s' "$stage" "$offset" "$tag" "$train_sets" "$empty" "$resume" "$given_options"
"""
DEFAULTS = "0|-5|demo|a b||true| "


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(SCRIPT)

    def run(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", path, *words], capture_output=True, text=True, timeout=20, cwd=tmp_path
        )

    return run


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--stage", "abc"], "--stage wants an integer, not 'abc'"),
        (["--stage", "1.5"], "--stage wants an integer"),
        (["--stage", "08"], "--stage wants an integer"),  # octal to bash arithmetic
        (["--stage", "-0"], "--stage wants an integer"),
        (["--stage", "9" * 19], "--stage wants an integer"),  # beyond 64 bits: [ ] would say "not an integer"
        (["--stage", ""], "--stage wants an integer"),
        (["--stage"], "--stage needs a value"),
        (["--tag"], "--tag needs a value"),
        (["--tag", "--stage", "1"], "--tag needs a value"),
        (["--tag", ""], "--tag needs a value"),
        (["--tag", " \t"], "--tag needs a value, not only blanks"),
        (["--resume", "1"], "--resume wants true or false, not '1'"),
        (["--resume", "True"], "--resume wants true or false"),
        (["--stage", "1", "extra"], "stray argument 'extra'"),
        (["-x", "1"], "stray argument '-x'"),
        (["--", "1"], "stray argument '--'"),
        ([""], "stray argument ''"),
        (["--no-such", "1"], "unknown option --no-such"),
        (["--PATH", "1"], "unknown option --PATH"),
        (["--given-options", "1"], "unknown option --given-options"),
        (["--_option", "1"], "unknown option --_option"),
        (["--word", "1"], "unknown option --word"),  # a variable of the parser's own
        (["--1", "1"], "unknown option --1"),
        (["--sté", "1"], "unknown option"),
        (["--a[$(touch hacked)]", "1"], "unknown option"),
        (["--stage=1"], "options are of the form --stage 1"),
    ],
)
def test_refused_with_status_2(script, words, told):
    done = script(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("run.sh: error: ")
    assert told in done.stderr


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ([], DEFAULTS),
        (["--stage", "3"], "3|-5|demo|a b||true| stage "),
        (["--stage", "-1", "--offset", "-12"], "-1|-12|demo|a b||true| stage offset "),
        (["--train-sets", "x y  z"], "0|-5|demo|x y  z||true| train_sets "),
        (["--train_sets", "x"], "0|-5|demo|x||true| train_sets "),
        (["--tag", 'a"b'], '0|-5|a"b|a b||true| tag '),
        (["--tag", "$(touch hacked)`touch hacked`"], "0|-5|$(touch hacked)`touch hacked`|a b||true| tag "),
        (["--tag", "--mem 2G"], "0|-5|--mem 2G|a b||true| tag "),
        (["--tag", "%s\\n"], "0|-5|%s\\n|a b||true| tag "),
        (["--empty", ""], "0|-5|demo|a b||true| empty "),
        (["--tag", "5", "--tag", "x"], "0|-5|x|a b||true| tag tag "),
        (["--empty", "y", "--empty", ""], "0|-5|demo|a b||true| empty empty "),
        (["--resume", "false", "--stage", "1", "--stage", "2"], "2|-5|demo|a b||false| resume stage stage "),
    ],
)
def test_accepted(script, tmp_path, words, printed):
    done = script(*words)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--stage", "1", "--help"], ["--no-such", "--help"]])
def test_help_lists_every_option_with_its_default(script, words):
    done = script(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--stage              first stage to run [0]" in done.stdout
    assert "--train-sets         folders [a b]" in done.stdout
    assert done.stdout.count("\n  --") == 6


def test_help_lists_options_where_a_script_goes_to_its_own_folder(tmp_path):
    (tmp_path / "egs").mkdir()
    text = SCRIPT.replace("set -euo pipefail", 'set -euo pipefail\ncd "$(dirname "${BASH_SOURCE[0]}")"', 1)
    (tmp_path / "egs/run.sh").write_text(text)
    words = ["bash", "egs/run.sh", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "--stage " in done.stdout


def test_help_message_comes_first(tmp_path):
    text = SCRIPT.replace("stage=0 ", "help_message='Usage: mine'\nstage=0 ", 1)
    (tmp_path / "run.sh").write_text(text)
    done = subprocess.run(["bash", tmp_path / "run.sh", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: mine\n")


def test_works_without_a_script_file():
    words = ["bash", "-uc", f"stage=0; . {PARSER}; echo $stage", "bash", "--stage"]
    assert subprocess.run([*words, "4"], capture_output=True, text=True, check=True).stdout == "4\n"
    assert subprocess.run([*words, "x"], capture_output=True, text=True).returncode == 2
    helped = subprocess.run([*words[:-1], "--help"], capture_output=True, text=True, check=True)
    assert helped.stdout.startswith("Usage: bash")


def test_the_words_come_back_as_a_shell_would_read_them():
    words = ["--tag", "it's a $(tag)", "--sets", "a b", "--empty", "", "--stage", "2"]
    code = f'stage=0 tag=x sets=y empty=; . {PARSER}; printf %s "$given_words"'
    told = subprocess.run(["bash", "-uc", code, "bash", *words], capture_output=True, text=True, check=True)
    assert shlex.split(told.stdout) == words
    assert told.stdout.endswith(" --sets 'a b' --empty '' --stage 2")
