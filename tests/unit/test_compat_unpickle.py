"""Foreign checkpoint files are read as data: right values, no code, clear refusals."""

import argparse
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import compat_fixtures as fixtures
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechrep.compat.inert import Record
from speechrep.compat.unpickle import StoredTensor, read_checkpoint
from speechrep.errors import InputError


class Trap:
    """Pickles as a call of ``os.system``."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def load_all(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: load_all(item) for key, item in value.items()}
    return value.load() if isinstance(value, StoredTensor) else value


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("cuda", [True, False])
def test_tensors_equal_torchs_own_reading(tmp_path: Path, legacy: bool, cuda: bool) -> None:
    base = torch.arange(24.0).view(4, 6)
    values = {
        "window": base[1:, 2:5],
        "turned": base.t(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "gru": torch.nn.GRU(3, 4).state_dict(),
    }
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool):
        values[str(dtype)] = torch.tensor([1, 0, 1]).to(dtype)
    path = fixtures.save(values, tmp_path / "x.pt", legacy, cuda)
    expected = torch.load(path, weights_only=True, map_location="cpu")
    got = load_all(read_checkpoint(path))
    for key in values:
        if key != "gru":
            assert got[key].dtype == expected[key].dtype and got[key].shape == expected[key].shape
            assert torch.equal(got[key], expected[key]), key
    for key, value in expected["gru"].items():
        assert torch.equal(got["gru"][key], value)


@pytest.mark.parametrize("legacy", [True, False])
def test_known_objects_become_records_and_nothing_is_imported(tmp_path: Path, legacy: bool) -> None:
    state, head = fixtures.transformer_weights(dim=4, layers=1, hidden=6, ffn=8)
    config = fixtures.mockingjay_config(1, 6, 2, 8, 1)
    path = fixtures.mockingjay_file(tmp_path / "m.ckpt", state, head, config, legacy)
    with pytest.raises((ModuleNotFoundError, AttributeError)):
        torch.load(path, weights_only=False, map_location="cpu")  # the fixture is as awkward as the originals
    tree = read_checkpoint(path)
    timer = tree["Settings"]["Config"]["timer"]
    assert timer == Record("utility.timer.Timer", (), {"cache": {}, "start": 1.5, "names": ["a"]})
    assert tree["Settings"]["Paras"] == Record("argparse.Namespace", (), {"seed": 1337, "gpu": True})
    assert tree["Optimizer"]["param_groups"][0]["schedule"].state["warmup"] == 0.07
    assert tree["Settings"]["Config"]["mockingjay"]["layer_norm_eps"] == "1e-12"
    assert tree["Global_step"] == 500000


def test_numpy_scalars_are_records_too(tmp_path: Path) -> None:
    path = fixtures.save({"w": torch.ones(2), "best": np.float64(0.5)}, tmp_path / "x.pt", cuda=False)
    tree = read_checkpoint(path)
    assert tree["w"].load().tolist() == [1, 1]
    assert tree["best"].name.endswith("multiarray.scalar")


@pytest.mark.parametrize("legacy", [True, False])
def test_a_malicious_file_is_refused_by_name_and_not_run(tmp_path: Path, legacy: bool) -> None:
    touched = tmp_path / "touched"
    path = fixtures.save({"Mockingjay": Trap(f"touch {touched}")}, tmp_path / "evil.ckpt", legacy, cuda=False)
    with pytest.raises(InputError, match=r"evil.ckpt: it names (posix|os|nt)\.system"):
        read_checkpoint(path)
    assert not touched.exists()
    torch.load(path, weights_only=False)  # proof that the trap works
    assert touched.exists()


@pytest.mark.parametrize(
    "name", ["builtins.eval", "torch.load", "torch._utils._rebuild_qtensor", "numpy.core.x"]
)
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.rpartition(".")
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", f"\x80\x02c{module}\n{attribute}\n.".encode("latin-1"))
    with pytest.raises(InputError, match=name):
        read_checkpoint(path)


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    path = fixtures.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt", legacy=False, cuda=False)
    with pytest.raises(InputError, match="Linear"):
        read_checkpoint(path)
    script = tmp_path / "script.pt"
    with zipfile.ZipFile(script, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, 2))
        archive.writestr("a/constants.pkl", pickle.dumps({}, 2))
    with pytest.raises(InputError, match="TorchScript"):
        read_checkpoint(script)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"<html>not found</html>", pickle.dumps({"a": 1}), b"\x80"]
)
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "garbage.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"garbage\.pt"):
        read_checkpoint(path)


def test_an_absent_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(InputError, match="cannot read"):
        read_checkpoint(tmp_path)


def whole_file(tmp_path: Path, legacy: bool) -> bytes:
    value = {"w": torch.arange(6.0), "n": argparse.Namespace(a=1), "l": [1, (2, None)], "s": {1, 2}}
    return fixtures.save(value, tmp_path / "whole.pt", legacy, cuda=False).read_bytes()


@pytest.mark.parametrize("legacy", [True, False])
def test_every_truncation_is_refused(tmp_path: Path, legacy: bool) -> None:
    content = whole_file(tmp_path, legacy)
    path = tmp_path / "cut.pt"
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"cut\.pt"):
            load_all(read_checkpoint(path))


@pytest.mark.parametrize("legacy", [True, False])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused_never_anything_else(
    tmp_path: Path, legacy: bool, data: st.DataObject
) -> None:
    content = bytearray(whole_file(tmp_path, legacy))
    # A zip's pickle is in its first 900 bytes. The file's size differs by some bytes from one making to the
    # next, which a drawn number's bounds must not.
    limit = 900
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, limit - 1)) % len(content)] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.pt"
    path.write_bytes(content)
    try:
        load_all(read_checkpoint(path))
    except InputError as error:
        assert "damaged.pt" in str(error)


def crafted(path: Path, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> Path:
    """A zip checkpoint of four numbers whose tensor claims any shape."""

    class Claim:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (storage, offset, shape, stride, False, {})

    storage = torch.zeros(4).untyped_storage()
    torch.save(torch.zeros(4), path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in members if name.endswith("data.pkl"))

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", 4) if thing is storage else None

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(Claim())
    members[name] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path


def test_tensors_stay_inside_their_storage(tmp_path: Path) -> None:
    path = tmp_path / "claim.pt"
    assert read_checkpoint(crafted(path, (2, 2), (2, 1))).load().shape == (2, 2)
    for shape, stride, offset in [
        ((5,), (1,), 0), ((2, 2), (2, 1), 1), ((10**9,), (0,), 0), ((2,), (10**9,), 0), ((-1,), (1,), 0),
        ((2,), (-1,), 1), ((2**70, 0), (1, 1), 0),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=r"past its storage|where a size belongs"):
            read_checkpoint(crafted(path, shape, stride, offset))
