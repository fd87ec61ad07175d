"""Options, YAML files and stored JSON all come from one dataclass and are checked alike."""

import io
import types
from dataclasses import dataclass

import pytest

from speechrep.config import (
    add_options,
    at_least,
    dump_yaml,
    from_dict,
    from_options,
    load_yaml,
    make_parser,
    opt,
    parse_choice,
    renamed,
    require_shares,
    to_dict,
)
from speechrep.downstream.asr_config import AsrConfig
from speechrep.downstream.base import TaskConfig
from speechrep.errors import InputError


@dataclass(frozen=True)
class Gru:
    num_layers: int = opt(3, "layers")
    residual: bool = opt(True, "add the input of each layer to its output")
    lr: float = opt(1e-3, "peak learning rate")
    shifts: tuple[int, ...] = opt((1, 2), "frames ahead")


@dataclass(frozen=True)
class Linear:
    context: int = opt(0, "frames", choices=(0, 4))


def parse(*argv):
    return parse_choice(make_parser("test"), "upstream", {"gru": Gru, "linear": Linear}, list(argv))


def test_defaults_file_and_command_line_in_that_order(tmp_path):
    (tmp_path / "gru.yaml").write_text("upstream: gru\nlr: 1e-4\nnum_layers: 4\nshifts: [3, 5]\n")
    config = parse("--config", str(tmp_path / "gru.yaml"), "--num-layers", "5").upstream_config
    assert config == Gru(num_layers=5, residual=True, lr=1e-4, shifts=(3, 5))


def test_resolved_options_read_back_equal(tmp_path):
    config = Gru(num_layers=7, residual=False, lr=3e-5, shifts=())
    (tmp_path / "config.yaml").write_text(dump_yaml(config, upstream="gru"))
    assert parse("--config", str(tmp_path / "config.yaml")).upstream_config == config
    assert from_dict(Gru, to_dict(config), "here") == config


@pytest.mark.parametrize(
    ("value", "is_size", "is_share"),
    [
        (0, True, True),
        (1, True, True),
        (-0.1, False, False),
        (1.1, True, False),
        (float("nan"), False, False),
    ],
)
def test_values_without_sense_are_refused(value, is_size, is_share):
    config = types.SimpleNamespace(max_size=value)
    for check, fits in ((lambda: at_least(0, config, "max_size"), is_size),
                        (lambda: require_shares(config, "max_size"), is_share)):  # fmt: skip
        if fits:
            check()
            continue
        with pytest.raises(InputError, match=f"max-size is {value}, want "):
            check()


@dataclass(frozen=True)
class Tagged:
    tag: str = opt("5 %(prog)s", "name")


@pytest.fixture
def tag_parser():
    parser = make_parser("test")
    add_options(parser, Tagged)
    return parser


def test_a_key_without_a_value_is_an_empty_text(tmp_path, tag_parser):
    (tmp_path / "x.yaml").write_text("tag:\n")
    assert from_options(Tagged, tag_parser.parse_args(["--config", str(tmp_path / "x.yaml")])) == Tagged("")


def test_a_default_is_shown_as_it_is(capsys, tag_parser):
    with pytest.raises(SystemExit):
        tag_parser.parse_args(["--help"])
    assert "name (default: 5 %(prog)s)" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["3,5", "3 5", "3, 5"])
def test_several_values_are_parted_by_commas_or_blanks(text):
    assert parse("--upstream", "gru", "--shifts", text).upstream_config.shifts == (3, 5)


@pytest.mark.parametrize(
    "values", [{"num_layers": True}, {"lr": False}, {"residual": 1}, {"shifts": [1, True]}, {"shifts": 1}]
)
def test_a_truth_is_no_number_and_a_number_no_truth(values):
    with pytest.raises(InputError, match=f"here: {next(iter(values))} is "):
        from_dict(Gru, values, "here")


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--upstream", "gru", "--layers", "3"], "--layers"),
        (["--upstream", "gru", "--num-layers", "three"], "--num-layers"),
        (["--upstream", "gru", "--residual", "1"], "--residual"),
        (["--upstream", "linear", "--context", "3"], "--context"),
        (["--upstream", "lstm"], "lstm"),
        ([], "--upstream"),
    ],
)
def test_bad_options_are_named(argv, complaint, capsys):
    with pytest.raises(SystemExit) as exit_:
        parse(*argv)
    assert exit_.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("num-layer: 3\n", "there is no option num-layer; is num-layers meant? (--help lists all)"),
        ("zzz: 3\n", "there is no option zzz (--help lists all)"),
        ("num_layers: many\n", "num-layers: invalid int value: 'many' (--help lists all)"),
        ("residual: 3\n", "residual: invalid true_or_false value: '3'"),
        ("lr: --\n", "lr is '--'; want a value"),
        ("shifts: [--]\n", "shifts is '--'; want a value"),
        ("num-layers: {a: 1}\n", "num-layers is nested"),
        ("- 1\n", "want 'key: value' lines"),
        ("a: [\n", "not valid YAML"),
        ('a: "\\UFFFFFFFF"\n', "not valid YAML"),
        ("lr: 1\nlr: 2\n", "not valid YAML: lr stands twice"),
        ("num-layers: 1\nnum_layers: 2\n", "num-layers stands twice"),
        ("a: " + "[" * 51 + "]" * 51, "not valid YAML: more than 50 brackets within each other"),
    ],
)
def test_bad_files_are_refused(text, told, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(SystemExit) as exit_:
        parse("--upstream", "gru", "--config", str(tmp_path / "bad.yaml"))
    assert exit_.value.code == 2
    assert f"bad.yaml: {told}" in capsys.readouterr().err


def test_merged_keys_stand_once():
    text = "a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, y: 1}\n1: int\n'1': text\n"
    values = load_yaml(io.StringIO(text), "here")
    assert values["c"] == {"x": 2, "y": 1} and (values[1], values["1"]) == ("int", "text")


def test_brackets_within_brackets_cost_no_time():
    brackets = "[" * 50 + "]" * 50
    assert load_yaml(f"a: {brackets}\nb: [{{c: 1}}, [2]]\n", "here")["b"] == [{"c": 1}, [2]]
    stream = io.StringIO("{" * 100_000)
    with pytest.raises(InputError, match="here: not valid YAML: more than 50 brackets"):
        load_yaml(stream, "here")
    assert stream.tell() < 10_000  # refused before the rest was read


def test_a_misspelled_key_is_told_where_its_option_is_wanted(tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("num-layers: 3\nupstram: gru\n")
    with pytest.raises(SystemExit):
        parse("--config", str(tmp_path / "bad.yaml"))
    assert "bad.yaml: there is no option upstram; is upstream meant?" in capsys.readouterr().err


def test_a_mistake_on_the_command_line_is_not_the_files(tmp_path, capsys):
    (tmp_path / "good.yaml").write_text("num-layers: 3\n")
    with pytest.raises(SystemExit):
        parse("--upstream", "gru", "--config", str(tmp_path / "good.yaml"), "--num-layers", "many")
    assert "good.yaml" not in capsys.readouterr().err


def test_help_of_the_chosen_class(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse("--upstream", "gru", "--help")
    assert exit_.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "--shifts" in told
    assert "layers (default: 3)" in told
    assert "its output (default: true)" in told
    assert "frames ahead (default: 1 2)" in told
    assert "None" not in told  # of --upstream, which has no default


@pytest.mark.parametrize(
    ("values", "complaint"),
    [({"num_layers": "3"}, "num_layers"), ({"layers": 3}, "layers"), ({"residual": 1}, "residual")],
)
def test_stored_values_are_checked(values, complaint):
    with pytest.raises(InputError, match=complaint):
        from_dict(Gru, values, "model.json")


def test_a_stored_value_is_one_of_its_choices():
    with pytest.raises(InputError, match=r"model\.json: layer_sum is 'softmay', want one of \['softmax'"):
        from_dict(TaskConfig, {"layer_sum": "softmay"}, "model.json")


def test_what_an_earlier_version_called_otherwise_is_read():
    old = {"name": "x", "hidden": 7, "batch_frames": 3}
    assert renamed(old, ["hidden"]) == {"name": "x", "hidden": 7, "max_frames": 3}
    assert renamed({"decoder-hidden": 4, "hidden-dim": 5}, []) == {"decoder-hidden-size": 4, "hidden-size": 5}
    assert from_dict(AsrConfig, {"hidden": 24, "decoder_hidden": 8}, "f") == AsrConfig(
        hidden_size=24, decoder_hidden_size=8
    )
