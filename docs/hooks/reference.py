"""The pages of ``reference/``, written from the option tables of recipes and commands when the site is built.

Nothing of them is kept in the repository, so they cannot differ from what ``--help`` says.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

REPOSITORY = Path(__file__).parents[2]

# Page, its title, and the commands on it. A command that no page names is on the last.
PAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "data": (
        "Commands: corpora and data directories",
        ("prepare_librispeech", "prepare_mosei", "download_librispeech", "make_mini_corpus",
         "make_mini_mosei", "align_phones", "data_dir"),
    ),
    "features": (
        "Commands: features",
        ("extract_feats", "feature_conf", "copy_feats", "import_blogmel"),
    ),
    "models": (
        "Commands: pre-training and models",
        ("pretrain", "dump", "plot", "import_checkpoint", "export_checkpoint"),
    ),
    "tasks": (
        "Commands: tasks, decoding and scores",
        ("train_downstream", "decode", "train_tokenizer", "train_lm", "score", "score_wer", "score_majority",
         "verify", "label_share", "report"),
    ),
}  # fmt: skip

# Which command takes a configuration, by the beginning of its file's name; all others are of tasks.
_CONF_READERS = {
    "decode": "decode", "lm": "train_lm", "mini_corpus": "make_mini_corpus", "mini_mosei": "make_mini_mosei",
}  # fmt: skip


def pages() -> dict[str, str]:
    """Every page of the reference: its path within the site's sources, and its Markdown."""
    found = {f"reference/run_{corpus}.md": recipe_page(corpus) for corpus in recipes()}
    titles = {name: (title, list(names)) for name, (title, names) in PAGES.items()}
    listed = {command for _, names in titles.values() for command in names}
    titles[next(reversed(titles))][1].extend(command for command in commands() if command not in listed)
    for name, (title, names) in titles.items():
        parts = [f"# {title}\n\nWritten from the commands' own options; `--config FILE` takes any of them "
                 "from a YAML file, the command line winning."]  # fmt: skip
        parts += [command_section(command) for command in names]
        found[f"reference/{name}.md"] = "\n\n".join(parts) + "\n"
    found["reference/conf.md"] = conf_page()
    return found


def recipes() -> list[str]:
    """The names of the folders of egs/."""
    return sorted(path.parent.name for path in REPOSITORY.glob("egs/*/run.sh"))


def commands() -> list[str]:
    """The modules of speechrep.bin that are commands."""
    files = sorted(REPOSITORY.glob("speechrep/bin/*.py"))
    return [path.stem for path in files if "__name__ ==" in path.read_text(encoding="utf-8")]


def recipe_options(corpus: str) -> list[tuple[str, str, str]]:
    """Name, default and meaning of each option of a recipe, as utils/parse_options.sh finds them."""
    text = (REPOSITORY / "egs" / corpus / "run.sh").read_text(encoding="utf-8")
    block, parsed, _ = text.partition("utils/parse_options.sh")
    if not parsed:
        raise ValueError(f"egs/{corpus}/run.sh does not source utils/parse_options.sh")
    found = re.findall(r"^([a-z][a-z0-9_]*)=([^#\n]*)# (.*)$", block, re.MULTILINE)
    return [(name.replace("_", "-"), default.strip().strip('"'), help) for name, default, help in found]


def recipe_page(corpus: str) -> str:
    """The options of a recipe's run.sh."""
    lines = [f"# egs/{corpus}/run.sh", "", *_comment(REPOSITORY / "egs" / corpus / "run.sh"), ""]
    lines += ["| option | default | what |", "| --- | --- | --- |"]
    for name, default, help in recipe_options(corpus):
        default = "all cores" if default.startswith("$(") else _code(default)
        lines.append(f"| `--{name}` | {default} | {_cell(help)} |")
    return "\n".join(lines) + "\n"


def command_section(command: str) -> str:
    """A command: what it is, an example, its options by group."""
    module = importlib.import_module(f"speechrep.bin.{command}")
    summary, _, rest = (module.__doc__ or "").partition("\n")
    lines = [f"## {command}", "", _cell(summary)]
    example = [line.removeprefix("    ") for line in rest.strip("\n").splitlines()]
    if any("-m speechrep.bin" in line for line in example):
        ours = [line for line in example if line.strip()]
        end = next((i for i, line in enumerate(ours) if line[0].isupper() or line[0] == "`"), len(ours))
        # A docstring that is not raw has lost the line breaks that follow a backslash.
        lines += ["", "```", *(re.sub(r"(?<=\S) {4,}", " \\\\\n    ", line) for line in ours[:end]), "```"]
    parser = parser_of(module)
    lines += _tables(parser._action_groups)
    for choice, groups in _choices(module, parser):
        lines += ["", f"### {command} {choice}", *_tables(groups, untitled=True)]
    return "\n".join(lines)


def parser_of(module: object, *words: str) -> argparse.ArgumentParser:
    """The parser with which a command's main() would answer --help."""
    found: list[argparse.ArgumentParser] = []
    name = module.__name__.rsplit(".", 1)[-1]
    with (
        mock.patch.object(argparse.ArgumentParser, "print_help", autospec=True,
                          side_effect=lambda parser, file=None: found.append(parser)),
        mock.patch.object(sys, "argv", [name]),
    ):  # fmt: skip
        try:
            module.main([*words, "--help"])
        except SystemExit:
            return found[0]
    raise ValueError(f"{name} --help does not end")


def _choices(module: object, parser: argparse.ArgumentParser) -> Iterator[tuple[str, list]]:
    """What has options of its own: subcommands, and the values of an option that picks a dataclass."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield name, sub._action_groups
        elif "its own options follow" in (action.help or ""):
            (option,) = action.option_strings
            for name in action.choices:
                chosen = parser_of(module, option, name)
                yield f"{option} {name}", [group for group in chosen._action_groups if group.title == name]
    if module.__name__.endswith(".decode"):
        yield from _decode_choices()


def _decode_choices() -> Iterator[tuple[str, list]]:
    """The task follows from --exp-dir there, so no option tells it."""
    from speechrep.config import add_options, make_parser
    from speechrep.downstream.registry import TASKS

    for task, kind in TASKS.items():
        parser = make_parser("")
        add_options(parser, kind.decode_config, task)
        groups = [group for group in parser._action_groups if group.title == task]
        if any(group._group_actions for group in groups):
            yield f"of a model of {task}", groups


def _tables(groups: list, untitled: bool = False) -> list[str]:
    lines: list[str] = []
    for group in groups:
        actions = [action for action in group._group_actions if _is_told(action)]
        if not actions:
            continue
        # A title that nobody chose is argparse's, or the name of a dataclass.
        if (
            not untitled
            and group.title not in ("options", "positional arguments", None)
            and group.title.islower()
        ):
            lines += ["", f"*{group.title}*"]
        lines += ["", "| option | default | what |", "| --- | --- | --- |"]
        lines += [_row(action) for action in actions]
    return lines


def _is_told(action: argparse.Action) -> bool:
    hidden = action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction)
    return not hidden and not isinstance(action, argparse._HelpAction)


def _row(action: argparse.Action) -> str:
    name = action.option_strings[-1] if action.option_strings else (action.metavar or action.dest)
    if action.required and action.option_strings:
        default = "required"
    elif action.nargs == 0 or not action.option_strings:
        default = ""
    elif isinstance(action.default, (tuple, list)):
        default = _code(" ".join(map(str, action.default)))
    elif isinstance(action.default, bool):
        default = _code(str(action.default).lower())
    else:
        default = _code("" if action.default is None else str(action.default))
    told = action.help or ""
    help = told % {**vars(action), "prog": ""} if "%" in told else told
    if action.choices:
        help = f"{help} (`{'`, `'.join(map(str, action.choices))}`)"
    return f"| `{name}` | {default} | {_cell(help)} |"


def conf_page() -> str:
    """Every configuration of the recipes: what it is, who reads it, and what it holds."""
    lines = [
        "# Configurations",
        "",
        "Files of `key: value` lines whose keys are a command's options. For other values copy one into a",
        "folder of your own, which `--confdir FOLDER` puts before these; features go by `--feature-config`.",
        "A key that its command does not know is an error.",
    ]
    for corpus in recipes():
        for folder in sorted({path.parent for path in REPOSITORY.glob(f"egs/{corpus}/conf/**/*.yaml")}):
            lines += [
                "",
                f"## {folder.relative_to(REPOSITORY)}",
                "",
                "| file | of | what |",
                "| --- | --- | --- |",
            ]
            for path in sorted(folder.glob("*.yaml")):
                command, what = conf_reader(path), _cell(" ".join(_comment(path)))
                lines.append(f"| `{path.stem}` | [{command}]({_page_of(command)}#{command}) | {what} |")
    return "\n".join(lines) + "\n"


def conf_reader(path: Path) -> str:
    """The command that takes a configuration."""
    text = path.read_text(encoding="utf-8")
    for key, command in (("feature", "extract_feats"), ("upstream", "pretrain")):
        if re.search(rf"^{key}:", text, re.MULTILINE):
            return command
    for beginning, command in _CONF_READERS.items():
        if path.stem == beginning or path.stem.startswith(f"{beginning}_"):
            return command
    return "train_downstream"


def _page_of(command: str) -> str:
    return next((f"{page}.md" for page, (_, names) in PAGES.items() if command in names), "tasks.md")


def _comment(path: Path) -> list[str]:
    """The comment at a file's head, without a first line #!; examples are indented there, and stay so."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#!"):
            continue
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return lines


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    """Plain text within a table: nothing of it is markup but `code`."""
    parts = text.replace("\n", " ").replace("``", "`").split("`")
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([*_|\[\]])", r"\\\1", parts[i]).replace("<", "&lt;")
    for i in range(1, len(parts), 2):
        parts[i] = parts[i].replace("|", r"\|")
    return "`".join(parts)
