"""Configuration: a frozen dataclass per component is the only home of its options.

A dataclass field made with :func:`opt` carries default, type and help. From it come the command-line
option (``--num-layers 3``), the key in a ``conf/*.yaml`` file (``num-layers: 3``) and the checked
reading of stored JSON. Nothing else repeats an option's name or default.
"""

import argparse
import dataclasses
import difflib
import math
import sys
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import configargparse
import yaml

from speechrep.errors import InputError, telling_of

T = TypeVar("T")
# Options of training commands that do not change what is trained: a run may go on with other values of them.
FREE = {"exp-dir", "ngpu", "num-nodes", "node-rank", "master", "num-workers", "log-interval", "keep-last",
        "save-interval", "overwrite", "config"}  # fmt: skip
MOST_NESTED = 50  # brackets in YAML; PyYAML's time for one grows with those that are open around it
# PyYAML lets through what Python says of a tagged value that is none of its kind.
YAML_ERRORS = (
    yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError,
)  # fmt: skip
# What options were called in files of earlier versions, in model.json and config.yaml.
RENAMED = {
    "hidden": "hidden_size", "hidden_dim": "hidden_size", "decoder_hidden": "decoder_hidden_size",
    "batch_frames": "max_frames", "batch_utts": "max_utts",
}  # fmt: skip
RENAMED |= {old.replace("_", "-"): now.replace("_", "-") for old, now in RENAMED.items() if "_" in old}


def opt(default: Any, help: str, choices: Sequence[Any] = ()) -> Any:
    """A dataclass field that is also an option.

    Args:
        default: the default; its type must be the field's annotation.
        help: one sentence for ``--help`` and the generated reference, with the unit if there is one.
        choices: the accepted values, if they are few.
    """
    return dataclasses.field(default=default, metadata={"help": help, "choices": tuple(choices)})


def at_least(least: int, config: Any, *names: str) -> None:
    """Refuse options below ``least``."""
    for name in names:
        if not getattr(config, name) >= least:  # NaN, too
            raise InputError(f"{_option(name)} is {getattr(config, name)}, want at least {least}")


def require_finite(config: Any, *names: str) -> None:
    """Refuse options that are infinite or no number."""
    for name in names:
        if not math.isfinite(getattr(config, name)):
            raise InputError(f"{_option(name)} is {getattr(config, name)}, want a finite number")


def require_choices(config: Any) -> None:
    """Refuse options that are none of their choices."""
    for field in dataclasses.fields(config):
        _require_choice(field, getattr(config, field.name))


def _require_choice(field: dataclasses.Field, value: Any, where: object = "") -> None:
    choices = field.metadata.get("choices")
    if choices and value not in choices:
        raise InputError(f"{field.name} is {value!r}, want one of {list(choices)}", where=where)


def require_shares(config: Any, *names: str) -> None:
    """Refuse options that are not from 0 up to 1."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise InputError(f"{_option(name)} is {getattr(config, name)}, want 0 to 1")


def require_dropout(config: Any, *names: str) -> None:
    """Refuse options that are not from 0 up to below 1, at which nothing is left."""
    require_shares(config, *names)
    for name in names:
        if getattr(config, name) == 1:
            raise InputError(f"{_option(name)} is 1, want less")


def without_free(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a training command, named with - or _, without those that change no result."""
    named = {name: _option(str(name)) for name in options}
    # Of an average of several states it matters how far they lie apart.
    is_average = any(options[name] not in (0, 1) for name in options if named[name] == "average-last")
    free = FREE - {"save-interval"} if is_average else FREE
    return {name: value for name, value in options.items() if named[name] not in free}


def make_parser(description: str) -> configargparse.ArgParser:
    """A parser whose options can also come from ``--config FILE`` (flat YAML), the command line winning."""
    parser = _Parser(
        description=description.replace("``", ""),
        epilog="--config FILE holds options, too, as 'name: value' lines; those given here count before it.",
        config_file_parser_class=_FlatYaml,
        add_config_file_help=False,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.add_argument("--config", is_config_file=True, metavar="FILE", help="YAML file of options")
    return parser


def add_options(parser: configargparse.ArgParser, cls: type, title: str = "") -> None:
    """Add one option per field of the dataclass ``cls``; ``num_layers`` becomes ``--num-layers``."""
    group = parser.add_argument_group(title or cls.__name__)
    types = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        name = _option(field.name)
        convert = _converter(types[field.name])
        group.add_argument(
            f"--{name}",
            dest=field.name,
            default=field.default,
            type=convert,
            choices=field.metadata.get("choices") or None,
            metavar=None if field.metadata.get("choices") else convert.__name__.upper(),
            help=field.metadata.get("help", ""),
        )


def from_options(cls: type[T], args: Any) -> T:
    """The dataclass ``cls`` filled from parsed options."""
    return cls(**{field.name: getattr(args, field.name) for field in dataclasses.fields(cls)})


def parse_choice(
    parser: configargparse.ArgParser,
    option: str,
    classes: Mapping[str, type],
    argv: Sequence[str] | None,
) -> Any:
    """Parse ``argv`` where ``--option`` picks the dataclass whose fields are options too.

    Returns the namespace, with the picked class's instance in ``args.<option>_config``.
    """
    parser.add_argument(
        f"--{_option(option)}", dest=option, choices=sorted(classes), required=True,
        help=f"which {option}; its own options follow",
    )  # fmt: skip
    picked = _scout(option, argv)
    if picked in classes:
        add_options(parser, classes[picked], title=picked)
    args = parser.parse_args(argv)  # reports a missing or unknown choice itself
    setattr(args, f"{option}_config", from_options(classes[picked], args))
    return args


def _scout(option: str, argv: Sequence[str] | None) -> str | None:
    """The value of one option, from the command line or ``--config``, with everything else ignored."""
    scout = make_parser("")
    scout.add_argument(f"--{_option(option)}", dest="picked")
    words = sys.argv[1:] if argv is None else argv
    return scout.parse_known_args([word for word in words if word not in ("-h", "--help")])[0].picked


def renamed(values: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Options of a file that an earlier version may have written, by the names that they have now.

    Args:
        values: option to value.
        known: names that are left as they are.
    """
    return {name if name in known else RENAMED.get(name, name): value for name, value in values.items()}


def from_dict(cls: type[T], values: Mapping[str, Any], where: object) -> T:
    """The dataclass ``cls`` from stored plain values; strict.

    Raises:
        InputError: an unknown or missing key, or a value of the wrong type or none of the choices, naming
            ``where``.
    """
    types = typing.get_type_hints(cls)
    if not isinstance(values, Mapping):
        raise InputError(f"want keys and values, got a {type(values).__name__}", where=where)
    values = renamed(values, types)
    unknown = sorted(set(values) - set(types))
    if unknown:
        raise InputError(f"unknown key {unknown[0]!r}; known are {sorted(types)}", where=where)
    checked = {}
    for field in dataclasses.fields(cls):
        if field.name in values:
            value = _check(types[field.name], values[field.name], field.name, where)
            _require_choice(field, value, where)
            checked[field.name] = value
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"the key {field.name!r} is missing", where=where)
    return cls(**checked)


def to_dict(config: Any) -> dict[str, Any]:
    """Plain values of a config dataclass, fit for JSON."""
    return {
        field.name: list(value) if isinstance(value := getattr(config, field.name), tuple) else value
        for field in dataclasses.fields(config)
    }


def dump_yaml(*configs: Any, **extra: Any) -> str:
    """The resolved options as flat YAML that ``--config`` takes back."""
    flat: dict[str, Any] = {_option(name): value for name, value in extra.items()}
    for config in configs:
        for name, value in to_dict(config).items():
            flat[_option(name)] = " ".join(map(str, value)) if isinstance(value, list) else value
    return yaml.safe_dump(flat, sort_keys=False, allow_unicode=True)


def load_yaml(stream: Any, where: object) -> dict[Any, Any]:
    """The keys and values of a YAML text or stream, plain ones only; nothing in it is run.

    Raises:
        InputError: something else, or no YAML.
    """
    try:
        with telling_of(where):
            values = yaml.load(stream, PlainLoader)  # noqa: S506 - safe: see there
    except InputError:
        raise
    except YAML_ERRORS as error:
        raise InputError(f"not valid YAML: {error}", where=where) from error
    if values is not None and not isinstance(values, dict):
        raise InputError("want 'key: value' lines", where=where)
    return values or {}


class PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader, with an end to brackets within brackets, and no key twice."""

    def fetch_flow_collection_start(self, token: Any) -> None:
        """One more ``[`` or ``{`` is open."""
        if self.flow_level >= MOST_NESTED:
            raise yaml.scanner.ScannerError(
                None, None, f"more than {MOST_NESTED} brackets within each other", self.get_mark()
            )
        super().fetch_flow_collection_start(token)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """As PyYAML's, which would take the last of equal keys without a word."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.composer.ComposerError(None, None, f"{key.value} stands twice", key.start_mark)
                seen.add((key.tag, key.value))
        return node


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of a description, whose last ones are examples, and tells of defaults."""

    def _get_help_string(self, action: argparse.Action) -> str:
        default = "" if action.nargs == 0 or action.default is None else _as_written(action.default)
        return f"{action.help} (default: {default.replace('%', '%%')})" if default else action.help or ""


class _Parser(configargparse.ArgParser):
    """Tells of a mistake in a ``--config`` file by file and key."""

    def error(self, message: str) -> typing.NoReturn:
        """End with status 2."""
        missing = message.startswith("the following arguments are required")  # the key meant for it, perhaps
        for source, settings in self.get_source_to_settings_dict().items():
            kind, _, file = source.partition("|")
            for key, (action, _) in settings.items() if kind == "config_file" else ():
                near = difflib.get_close_matches(f"--{key}", self._option_string_actions, 1)
                if action is None and (f"--{key}=" in message or (missing and near and near[0] in message)):
                    meant = f"; is {near[0].lstrip('-')} meant?" if near else ""
                    self._refuse(file, f"there is no option {key}{meant}")
                if action is not None and message.startswith(f"argument --{key}: "):
                    self._refuse(file, message.removeprefix("argument --"))
        super().error(message)

    def _refuse(self, file: str, what: str) -> typing.NoReturn:
        self.exit(2, f"{self.prog}: error: {file}: {what} (--help lists all)\n")


class _FlatYaml(configargparse.YAMLConfigFileParser):
    """YAML with one level of keys; underscores and hyphens in a key mean the same."""

    def parse(self, stream: Any) -> dict[str, Any]:
        where = getattr(stream, "name", "config")
        try:
            values = load_yaml(stream, where)
        except InputError as error:
            raise configargparse.ConfigFileParserException(str(error)) from error
        flat: dict[str, Any] = {}
        for key, value in values.items():
            items = value if isinstance(value, list) else [value]
            if any(isinstance(item, (dict, list, set, tuple)) for item in items):
                raise configargparse.ConfigFileParserException(f"{where}: {key} is nested; want flat keys")
            text = " ".join(map(str, value)) if isinstance(value, list) else value
            if text == "--":  # argparse would make an empty list of it, whatever the option's type
                raise configargparse.ConfigFileParserException(f"{where}: {key} is '--'; want a value")
            name = _option(str(key))
            if name in flat:
                raise configargparse.ConfigFileParserException(f"{where}: {name} stands twice")
            flat[name] = "" if text is None else str(text)
        return flat


def _option(name: str) -> str:
    return name.replace("_", "-")


def _converter(kind: Any) -> Callable[[str], Any]:
    """Text to a value of the annotated type; raising ValueError makes argparse report the option."""
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]

        def words(text: str) -> tuple[Any, ...]:
            return tuple(item(word) for word in text.replace(",", " ").split())

        words.__name__ = "list"
        return words
    if kind is bool:

        def true_or_false(text: str) -> bool:
            if text.lower() not in ("true", "false"):
                raise ValueError(text)
            return text.lower() == "true"

        return true_or_false
    return kind  # int, float, str


def _as_written(value: Any) -> str:
    """A value as :func:`_converter` reads it."""
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(kind: Any, value: Any, name: str, where: object) -> Any:
    if typing.get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(_check(typing.get_args(kind)[0], item, name, where) for item in value)
    if typing.get_origin(kind) is dict and isinstance(value, dict):
        return value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise InputError(f"{name} is {value!r}, want {getattr(kind, '__name__', kind)}", where=where)
    return value
