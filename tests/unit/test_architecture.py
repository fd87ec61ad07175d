"""The house keeps its order: imports go one way, cheap modules stay cheap, every configuration is one."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import configargparse
import pytest

from speechrep.io.model_files import FORMAT

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "speechrep"
# What each part may import of the others; whatever is not named here it may not.
BASE = {"errors", "config", "progress", "provenance"}
FORMATS = BASE | {"io"}
MAY_IMPORT = {
    "errors": set(),
    "config": {"errors"},
    "progress": set(),
    "provenance": set(),
    "io": BASE,
    "frontend": FORMATS,
    "text": FORMATS,
    "score": FORMATS,
    "synthesis": FORMATS,
    "data": FORMATS | {"frontend"},
    "upstream": FORMATS | {"data", "frontend"},
    "decode": FORMATS | {"data", "text"},
    "downstream": FORMATS | {"data", "upstream", "decode", "text", "score"},
    "train": FORMATS | {"data", "upstream"},
    "report": FORMATS | {"data", "frontend", "upstream", "downstream", "score"},
    "compat": FORMATS | {"data", "frontend", "upstream"},
}
# The contract between trainer and tasks is seen from both sides.
EVERYBODY = {"speechrep.train.task"}
# Started many times over, or before torch is needed: must not import it even indirectly.
WITHOUT_TORCH = (
    "speechrep",
    "speechrep.bin.align_phones",
    "speechrep.bin.data_dir",
    "speechrep.bin.download_librispeech",
    "speechrep.bin.extract_feats",
    "speechrep.bin.make_mini_corpus",
    "speechrep.bin.prepare_librispeech",
    "speechrep.bin.report",
    "speechrep.bin.score",
    "speechrep.bin.score_wer",
    "speechrep.bin.train_tokenizer",
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The modules of this package that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return {name for name in names if name.split(".")[0] == "speechrep"}


def part_of(module: str) -> str:
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part in ("bin", "__init__"):
        return  # commands may use everything, and nothing uses them; see below
    # `from speechrep import provenance` names the package and a part of it; only the part counts.
    names = {name for name in imported(path) if not name.startswith(tuple(EVERYBODY))}
    used = {part_of(name) for name in names} - {"", part, "__version__"}
    assert used <= MAY_IMPORT[part], f"{part} imports {sorted(used - MAY_IMPORT[part])}"


def test_commands_are_used_by_nobody_else():
    users = [path for path in MODULES if "bin" not in path.relative_to(PACKAGE).parts]
    assert not [path for path in users if any(part_of(name) == "bin" for name in imported(path))]


def test_every_part_is_known():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert parts - {"bin", "__init__"} <= MAY_IMPORT.keys()


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_cheap_modules_do_without_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


@pytest.mark.parametrize("part", ["io", "frontend", "text", "score", "synthesis", "report/table.py"])
def test_no_torch_below_the_models(part):
    folder = PACKAGE / part
    for path in [folder] if folder.suffix else folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "torch" for name in names), f"{path} imports torch"


@pytest.mark.parametrize("path", sorted((PACKAGE / "bin").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_every_command_has_a_main_and_help(path, capsys):
    if 'if __name__ == "__main__"' not in path.read_text(encoding="utf-8"):
        return  # what commands share
    module = importlib.import_module(f"speechrep.bin.{path.stem}")
    assert module.__doc__ and "python -m speechrep.bin." + path.stem in module.__doc__, "shows no command"
    with pytest.raises(SystemExit) as exit_:
        module.main(["--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert all(line in shown for line in module.__doc__.replace("``", "").splitlines()), "lines are joined"


CONFIGS = sorted([*(REPOSITORY / "egs").rglob("*.yaml"), *(REPOSITORY / "tests/recipe").rglob("*.yaml")])
# The command that reads a configuration, by file name or else by a key in it, and what it demands beside.
DOWNSTREAM = ["train_downstream", "--train", "x", "--train-data", "x", "--valid", "x", "--valid-data", "x"]
COMMANDS = {
    "task:": [*DOWNSTREAM, "--exp-dir", "x"],
    "lm": ["train_lm", "--units-from", "x", "--train", "x", "--exp-dir", "x"],
    "decode": ["decode", "--exp-dir", "model", "--data", "x", "--data-dir", "x", "--out-dir", "x"],
    "mini_corpus": ["make_mini_corpus", "--out-dir", "x"],
    "mini_mosei": ["make_mini_mosei", "--out-dir", "x"],
    "upstream:": ["pretrain", "--train-dir", "x", "--valid-dir", "x", "--exp-dir", "x"],
    "feature:": ["extract_feats", "--data-dir", "x", "--out-dir", "x"],
}


class Parsed(Exception):
    """The options were accepted."""


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_configuration_is_accepted_by_its_command(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.json").write_text(json.dumps({"format": FORMAT, "task": "asr"}))
    keys = path.read_text(encoding="utf-8").splitlines()
    found = [words for key, words in COMMANDS.items() if any(k.startswith(key) for k in [path.stem, *keys])]
    task = path.stem.split("_")[0]
    command, *words = found[0] if found else [*DOWNSTREAM, "--exp-dir", "x", "--task", task]
    parse_args = configargparse.ArgParser.parse_args

    def stop_there(*args, **options):
        parse_args(*args, **options)
        raise Parsed

    monkeypatch.setattr(configargparse.ArgParser, "parse_args", stop_there)
    with pytest.raises(Parsed):  # SystemExit tells of an unknown key or a bad value
        importlib.import_module(f"speechrep.bin.{command}").main(["--config", str(path), *words])
