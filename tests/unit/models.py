"""Small models and batches that several tests use."""

import torch

from speechrep.io.feature_meta import FeatureMeta
from speechrep.upstream.base import Upstream
from speechrep.upstream.registry import CONFIGS, build


def meta(dim: int = 6, **changes: object) -> FeatureMeta:
    values = {"feature": "fbank", "config": {"num_mel_bins": dim}, "dim": dim, "frame_shift_ms": 10.0}
    return FeatureMeta(**(values | {"sample_rate": 16000, "cmvn": "utterance"} | changes))


def model(name: str, dim: int = 6, seed: int = 0, **options: object) -> Upstream:
    """A small upstream; Mockingjay with 8-wide layers unless told otherwise."""
    small = {"apc": {"hidden_size": 8, "num_layers": 2}, "surface": {}}
    small["mockingjay"] = {
        "hidden_size": 8, "num_layers": 2, "num_heads": 2, "ffn_size": 16, "dropout": 0.0,
        "attention_dropout": 0.0, "init_std": 0.3, "mask_span": 3,
    }  # fmt: skip
    small["apc_transformer"] = {
        "hidden_size": 8, "num_layers": 2, "num_heads": 2, "ffn_size": 16, "dropout": 0.0,
        "attention_dropout": 0.0, "init_std": 0.3,
    }  # fmt: skip
    torch.manual_seed(seed)
    return build(name, CONFIGS[name](**(small[name] | options)), meta(dim))


def batch(
    lens: list[int], dim: int = 6, pad: float = 0.0, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random utterances of these lengths, padded with ``pad`` by 3 frames more than needed."""
    torch.manual_seed(seed)
    feats = torch.randn(len(lens), max(lens) + 3, dim)
    for row, length in zip(feats, lens, strict=True):
        row[length:] = pad
    return feats, torch.tensor(lens)
