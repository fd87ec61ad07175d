"""Renaming of weights: every key accounted for, in both directions."""

import pytest
import torch

from speechrep.compat.foreign import plain
from speechrep.compat.keys import Row, tensors, to_ours, to_theirs
from speechrep.compat.unpickle import read_checkpoint
from speechrep.errors import InputError

TABLE = [
    Row("layer.{i}.q", "layers.{i}.qkv", part=0, parts=2),
    Row("layer.{i}.k", "layers.{i}.qkv", part=1, parts=2),
    Row("out", "post", last_axis="always"),
    Row("head", "head.weight"),
]
THEIRS = {
    "layer.0.q": torch.ones(2, 3), "layer.0.k": torch.zeros(2, 3), "layer.10.q": torch.full((2, 3), 2.0),
    "layer.10.k": torch.full((2, 3), 3.0), "out": torch.ones(4, 2, 1), "head": torch.ones(5),
}  # fmt: skip
EXPECTED = {
    "layers.0.qkv": torch.empty(4, 3), "layers.10.qkv": torch.empty(4, 3), "post": torch.empty(4, 2),
    "head.weight": torch.zeros(5),
}  # fmt: skip


def test_there_and_back_is_the_same_and_every_key_is_reported() -> None:
    ours, report = to_ours(THEIRS, TABLE, EXPECTED, "f")
    assert torch.equal(ours["layers.10.qkv"], torch.cat([torch.full((2, 3), 2.0), torch.full((2, 3), 3.0)]))
    assert ours["post"].shape == (4, 2)
    assert [line.theirs for line in report] == list(THEIRS)
    assert "out [4, 2, 1] -> post" in [line.line() for line in report]
    back = to_theirs(ours, TABLE, "f")
    assert back.keys() == THEIRS.keys()
    assert all(torch.equal(back[key], THEIRS[key]) for key in THEIRS)


def test_unknown_missing_and_misshapen_keys_are_all_named() -> None:
    state = {key: value for key, value in THEIRS.items() if key != "layer.0.k"}
    state |= {"extra.weight": torch.ones(1), "out": torch.ones(4, 3)}
    with pytest.raises(InputError) as caught:
        to_ours(state, TABLE, EXPECTED, "file.ckpt")
    message = str(caught.value)
    assert "file.ckpt: 3 of its keys do not fit" in message
    assert "extra.weight [1] is unknown" in message
    assert "layer.{i}.k (our layers.0.qkv) is missing" in message
    assert "our post has shape [4, 2], theirs [4, 3]" in message


def test_a_layer_too_many_is_named() -> None:
    state = THEIRS | {"layer.3.q": torch.ones(2, 3), "layer.3.k": torch.ones(2, 3)}
    with pytest.raises(InputError, match=r"our model has no layers\.3\.qkv"):
        to_ours(state, TABLE, EXPECTED, "f")


def test_an_optional_part_is_absent_as_a_whole_or_complete() -> None:
    state = {key: value for key, value in THEIRS.items() if key != "head"}
    ours, _ = to_ours(state, TABLE, EXPECTED, "f", optional="head.")
    assert ours.keys() == EXPECTED.keys() - {"head.weight"}
    with pytest.raises(InputError, match="head"):
        to_ours(state, TABLE, EXPECTED, "f")
    two = EXPECTED | {"head.bias": torch.zeros(5)}
    with pytest.raises(InputError, match=r"head\.bias"):
        to_ours(THEIRS, TABLE, two, "f", optional="head.")


def test_a_parameter_without_a_place_there_is_not_dropped() -> None:
    with pytest.raises(InputError, match="mask_embedding has no counterpart"):
        to_theirs({"mask_embedding": torch.ones(1)}, TABLE, "f")


def stored(path, values: torch.Tensor) -> object:
    torch.save({"x": values}, path)
    return read_checkpoint(path)["x"]


def test_values_that_float32_cannot_hold_and_keys_that_are_twice_there_are_refused(tmp_path) -> None:
    good = stored(tmp_path / "good", torch.ones(2, dtype=torch.float64))
    assert tensors({"module.a": good, "b": good}, "model", "f").keys() == {"a", "b"}
    big = stored(tmp_path / "big", torch.full((2,), 1e39, dtype=torch.float64))
    with pytest.raises(InputError, match=r"model\['a'\] holds NaN, infinity or more than float32"):
        tensors({"a": big}, "model", "f")
    with pytest.raises(InputError, match=r"model holds a twice, once as module\.a"):
        tensors({"a": good, "module.a": good}, "model", "f")


def test_what_a_small_file_repeats_endlessly_is_cut_short() -> None:
    laughs: list = ["ha"]
    for _ in range(15):
        laughs = [laughs] * 10
    assert len(str(plain({"x": laughs}))) < 10**6
