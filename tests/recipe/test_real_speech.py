"""The comparison on real speech, from recordings to the table, with networks of a few steps."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.recipe.test_recipe import ENVIRONMENT, REPOSITORY

CONFIGURATIONS = {
    "apc": "upstream: apc\nhidden-size: 16\nmax-steps: 4\nmax-frames: 2000\ncrop-frames: 100\n"
    "valid-interval: 4\nsave-interval: 4\nnum-pictures: 0\n",
    "phone": "hidden-layers: 0\nl2: 1e-2\nframe-stride: 8\nmax-steps: 0\n",
    "phone_layers": "hidden-layers: 0\nl2: 1e-2\nlayer-sum: softmax\nframe-stride: 8\nmax-steps: 2\n"
    "valid-interval: 2\n",
    "phone_finetune": "hidden-layers: 0\nl2: 1e-2\nframe-stride: 8\nfine-tune: true\nmax-steps: 2\n"
    "valid-interval: 2\n",
}


@pytest.mark.slow
def test_phones_in_rotation_with_every_kind_of_row(shared_data: Path, tmp_path: Path):
    for name in ("speechrep", "utils"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    recipe = tmp_path / "egs/librispeech"
    made = shutil.ignore_patterns("exp", "dump", "data", "download")
    shutil.copytree(REPOSITORY / "egs/librispeech", recipe, symlinks=True, ignore=made)
    (tmp_path / "conf").mkdir()
    for name, text in CONFIGURATIONS.items():
        (tmp_path / f"conf/{name}.yaml").write_text(text)
    words = [
        "--seeds",
        "1 2",
        "--models",
        "apc",
        "--parts",
        "phone finetune verification share",
        "--share-rows",
        "fbank apc",
        "--shares",
        "0.2",
        "--confdir",
        tmp_path / "conf",
    ]
    done = subprocess.run(
        [recipe / "local/real_speech.sh", shared_data, *words],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((recipe / "exp/real/results.json").read_text())
    rows = {(result["upstream"], result["seed"]) for result in results if result["metric"] == "accuracy"}
    seeded = ["apc", "apc_layer0", "apc_layer1", "apc_untrained", "apc_untrained_layer1"]
    once = ["fbank", "fbank_ctx4", "apc_layers", "apc_finetune"]
    assert rows == {(row, seed) for row in seeded for seed in (1, 2)} | {(row, 1) for row in once}
    verified = {(result["upstream"], result["seed"]) for result in results if result["metric"] == "eer"}
    assert verified == {(row, seed) for row, seed in rows if row not in ("apc_layers", "apc_finetune")}
    assert {result["n"] for result in results} == {50}  # each utterance is tested once
    value = {result["upstream"]: result["value"] for result in results if result["metric"] == "accuracy"}
    assert value["fbank_ctx4"] > value["fbank"] > 30
    gains = [result for result in results if result["metric"] == "accuracy - fbank_ctx4"]
    assert {result["upstream"] for result in gains} == {row for row, _ in rows} - {"fbank_ctx4"}
    text = (recipe / "exp/real/RESULTS.md").read_text()
    assert (
        "--seeds '1 2' --models apc --parts 'phone finetune verification share'" in text
        and "apc_finetune" in text
    )
    few = json.loads((recipe / "exp/real/label_share/0.2.json").read_text())
    assert {(result["upstream"], result["seed"], result["n"]) for result in few} == {
        (row, seed, 50) for row in ("fbank", "apc") for seed in (1, 2, 3)
    }
    assert all(result["value"] < value["fbank_ctx4"] for result in few)
    assert "| fbank | " in (recipe / "exp/real/label_share/RESULTS.md").read_text()
