"""The full-size recognisers of the recipe build, take training steps and decode."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from speechrep.config import make_parser, parse_choice
from speechrep.downstream import asr
from speechrep.downstream.asr_config import AsrConfig, AsrDecodeConfig
from speechrep.downstream.asr_decode import decode
from speechrep.downstream.base import Labelled, Loading
from speechrep.io.feature_meta import FeatureMeta
from speechrep.text.registry import save_tokenizer, train_tokenizer
from speechrep.train.config import TrainConfig
from speechrep.train.trainer import train

CONF = Path(__file__).parents[2] / "egs/librispeech/conf"


class Noise:
    """Features of 80 dimensions for a few seconds of nothing."""

    path = Path("noise")

    def __init__(self, count):
        generator = np.random.default_rng(0)
        self.arrays = {
            f"u{i}": generator.normal(size=(150 + 30 * i, 80)).astype(np.float32) for i in range(count)
        }
        self.utt_ids = sorted(self.arrays)
        self.num_frames = np.array([len(self.arrays[utt_id]) for utt_id in self.utt_ids])
        self.meta = FeatureMeta("fbank", {}, 80, 10.0, 16000)

    def read(self, utt_id, start=0, stop=None):
        return self.arrays[utt_id][start:stop]


@pytest.mark.parametrize("name", ["asr", "asr_las", "asr_transformer"])
def test_a_few_steps_and_decoding(name, tmp_path):
    parser = make_parser("test")
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    own = {key.replace("-", "_") for key in values} & set(AsrConfig.__dataclass_fields__)
    # Words made up, to have as many units as the configuration: that many pieces take too long to train.
    units, words = tmp_path / "units", ["SOME", "WORDS", "OTHERS", *(f"W{i}" for i in range(5000))]
    save_tokenizer(units, train_tokenizer("word", words, values["vocab-size"], units))
    path = tmp_path / "asr.yaml"
    kept = {key: value for key, value in values.items() if key.replace("-", "_") in own}
    path.write_text(yaml.safe_dump(kept | {"tokenizer": str(units)}))
    config = parse_choice(
        parser, "task", {"asr": AsrConfig}, ["--config", str(path), "--task", "asr"]
    ).task_config
    (tmp_path / "text").write_text("u0 SOME WORDS\nu1 OTHERS\n")
    labelled = Labelled(Noise(2), tmp_path)
    task = asr.AsrTask(config, labelled, labelled, Loading())
    assert len(task.tokenizer.units) == values["vocab-size"]
    before = [p.detach().clone() for p in task.model.parameters()]
    train(task, TrainConfig(max_steps=2, log_interval=1, lr=1e-3, warmup_share=0), tmp_path / "exp")
    assert any(
        not torch.equal(one, other) for one, other in zip(before, task.model.parameters(), strict=True)
    )
    method = "ctc-beam" if task.model.decoder is None else "beam"
    decode(task.model, labelled, tmp_path / "out", AsrDecodeConfig(method=method, beam=2))
    assert len((tmp_path / "out" / "hyp").read_text().splitlines()) == 2
