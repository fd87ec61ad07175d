"""Model folders in the manner of hubs, and their cards."""

import dataclasses
import itertools
import json
from pathlib import Path

import compat_fixtures as fixtures
import numpy as np
import pytest
import torch
import yaml
from models import model

import speechrep
from speechrep.bin import import_checkpoint
from speechrep.compat.pretrained import from_pretrained, save_pretrained
from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta
from speechrep.io.model_files import read_info, write_model
from speechrep.upstream.card import MARK, write_card
from speechrep.upstream.checkpoint import save_model
from speechrep.upstream.registry import CONFIGS, build


def front_matter(text: str) -> dict[str, object]:
    return yaml.safe_load(text.split("---\n")[1])


def test_saved_and_loaded_as_hubs_do(tmp_path: Path) -> None:
    original = model("mockingjay").eval()
    sha = save_pretrained(original, tmp_path, licence="cc-by-4.0")
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "model.json", "README.md"}
    loaded = from_pretrained(tmp_path)
    assert loaded.weights_sha256 == sha
    assert all(torch.equal(a, b) for a, b in zip(original.parameters(), loaded.parameters(), strict=True))
    text = (tmp_path / "README.md").read_text()
    assert "not all of its speaker's" not in text
    assert front_matter(text)["license"] == "cc-by-4.0" and "mockingjay" in front_matter(text)["tags"]
    for folder in (tmp_path, tmp_path / "other"):
        save_pretrained(from_pretrained(tmp_path), folder)
        assert front_matter((folder / "README.md").read_text())["license"] == "cc-by-4.0"
    save_pretrained(model("apc"), tmp_path / "other")  # whose licence nobody has told
    assert front_matter((tmp_path / "other/README.md").read_text())["license"] == "unknown"
    save_pretrained(loaded, tmp_path, licence="CC BY-NC 4.0")
    save_pretrained(from_pretrained(tmp_path), tmp_path)
    assert front_matter((tmp_path / "README.md").read_text())["license"] == "CC BY-NC 4.0"
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n")  # somebody's own
    assert from_pretrained(tmp_path).licence == ""
    (tmp_path / "README.md").unlink()
    save_pretrained(loaded, tmp_path, licence="mit")
    assert front_matter(write_card(tmp_path).read_text())["license"] == "mit"


def test_what_a_file_told_of_its_weights_is_passed_on(tmp_path: Path) -> None:
    save_model(tmp_path / "exp", model("apc"), {"step": 20, "valid": {"loss": 0.5}})
    loaded = from_pretrained(tmp_path / "exp")
    save_pretrained(loaded, tmp_path / "same")
    info = read_info(tmp_path / "same")
    assert (info["step"], info["valid"]) == (20, {"loss": 0.5})
    next(loaded.parameters()).add_(1.0)
    save_pretrained(loaded, tmp_path / "other")  # no longer what those steps made
    assert not {"step", "valid"} & set(read_info(tmp_path / "other"))
    told = f"From the weights `{loaded.weights_sha256[:16]}`, changed since or"
    assert told in (tmp_path / "other/README.md").read_text()
    (tmp_path / "exp/train_log.jsonl").touch()  # the folder of that training
    with pytest.raises(InputError, match="exp: holds the training of other weights"):
        save_pretrained(loaded, tmp_path / "exp")
    save_pretrained(from_pretrained(tmp_path / "exp"), tmp_path / "exp")
    file = fixtures.save(fixtures.apc_weights(80, 3, 10), tmp_path / "apc.model")
    import_checkpoint.main(["--from", "apc", str(file), "--out", str(tmp_path / "imported")])
    for source in (tmp_path / "imported", file):  # the folder, and the file as it is
        save_pretrained(from_pretrained(source), tmp_path / "again")
        assert read_info(tmp_path / "again")["imported"] == read_info(tmp_path / "imported")["imported"]
        assert "apc.model" in (tmp_path / "again/README.md").read_text()


@pytest.mark.parametrize("name", ["apc", "mockingjay"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_models_of_other_number_formats(tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    original = speechrep.load(saved(tmp_path / "exp", name=name)).to(dtype)
    samples = np.random.default_rng(0).standard_normal(8000).astype(np.float32) / 10
    assert original.extract(samples, 16000).hiddens[-1].dtype == dtype and original.layer_dims()
    save_pretrained(original, tmp_path / "again")
    again = speechrep.load(tmp_path / "again").to(dtype)
    assert all(torch.equal(a, b) for a, b in zip(original.parameters(), again.parameters(), strict=True))


def test_what_normalisation_does_is_told(tmp_path: Path) -> None:
    original = model("apc")
    for cmvn, norm_vars, told in (
        ("utterance", True, "utterance"), ("global", False, "global, mean"), ("none", False, "none"),
    ):  # fmt: skip
        original.meta = dataclasses.replace(original.meta, cmvn=cmvn, norm_vars=norm_vars)
        save_pretrained(original, tmp_path)
        assert f"| normalisation | {told} |\n" in (tmp_path / "README.md").read_text()


def test_features_of_speakers_are_told(tmp_path: Path) -> None:
    save_pretrained(speechrep.load(saved(tmp_path / "exp", "speaker")), tmp_path / "again")
    assert (
        "on them, but normalised over the recording, not all of its"
        in (tmp_path / "again/README.md").read_text()
    )


def saved(folder: Path, cmvn: str = "utterance", name: str = "apc") -> Path:
    meta = FeatureMeta("fbank", {"num_mel_bins": 80}, 80, 10.0, 16000, cmvn=cmvn)
    save_model(folder, build(name, CONFIGS[name](hidden_size=12, num_layers=1), meta))
    return folder


def test_a_trained_models_card_tells_data_features_steps_and_losses(tmp_path: Path) -> None:
    original = model("apc")
    save_model(tmp_path, original, {"step": 300, "valid": {"loss": 0.25}})
    options = {"train-dir": "dump/fbank/train", "valid-dir": "dump/fbank/dev", "seed": 5, "lr": 0.001}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(options))
    lines = [{"part": "valid", "step": 10 * i, "epoch": 0, "loss": 1 - i / 50} for i in range(41)]
    lines.append({"part": "train", "step": 400, "epoch": 1, "loss": 0.125})
    (tmp_path / "train_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"part"')
    text = write_card(tmp_path).read_text()
    count = sum(p.numel() for p in original.parameters())
    for expected in (
        f"| parameters | {count:,} |", "| training data | `dump/fbank/train` |", "| seed | `5` |",
        "fbank, 6 values every 10 ms", "| steps | 400 |", "| step of these weights | 300 |",
        "| 0 | 1.0000 |  |", "| 400 | 0.2000 | 0.1250 |", '"hidden_size": 8',
    ):  # fmt: skip
        assert expected in text, expected
    assert text.count("\n| ") < 30  # not a line per validation
    assert front_matter(text)["license"] == "unknown"


def test_nothing_nested_is_told_of_a_run(tmp_path: Path) -> None:
    save_model(tmp_path, model("apc"))
    nested = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in itertools.pairwise("abcdef"))
    (tmp_path / "config.yaml").write_text(f"{nested}seed: *f\nlr: 0.5\n")
    text = write_card(tmp_path).read_text()
    assert "| peak learning rate | `0.5` |" in text and "| seed |" not in text


def test_a_loss_beyond_floats_is_told_as_it_stands(tmp_path: Path) -> None:
    save_model(tmp_path, model("apc"))
    line = {"part": "valid", "step": 1, "loss": 10**400}  # JSON has such numbers
    (tmp_path / "train_log.jsonl").write_text(json.dumps(line) + "\n")
    assert f"| 1 | {10**400} |" in write_card(tmp_path, "mit").read_text()


def test_an_imported_models_card_tells_its_source(tmp_path: Path) -> None:
    file = fixtures.save(fixtures.apc_weights(80, 3, 10), tmp_path / "apc.model")
    import_checkpoint.main(["--from", "apc", str(file), "--out", str(tmp_path / "exp")])
    text = (tmp_path / "exp" / "README.md").read_text()
    assert "apc.model" in text and "residual connections" in text


def test_a_card_that_someone_edited_is_left_alone(tmp_path: Path) -> None:
    save_model(tmp_path, model("apc"))
    path = write_card(tmp_path)
    path.write_text("my own words")
    write_card(tmp_path)
    assert path.read_text() == "my own words"
    path.write_text(f"stale {MARK}")
    write_card(tmp_path)
    assert "stale" not in path.read_text()


def test_other_models_have_no_card(tmp_path: Path) -> None:
    write_model(tmp_path, {}, {"kind": "downstream", "task": "phone"})
    with pytest.raises(InputError, match="not an upstream"):
        write_card(tmp_path)
