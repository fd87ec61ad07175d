"""What a feature directory or store remembers of its making."""

import dataclasses
import os
from typing import Any

from speechrep import provenance
from speechrep.config import from_dict, to_dict
from speechrep.errors import InputError
from speechrep.io.files import read_json, write_json

FORMAT = "speechrep-features/1"


@dataclasses.dataclass(frozen=True)
class FeatureMeta:
    """The identity of features: two stores whose identities differ are never mixed silently."""

    feature: str  # front end: "fbank", "mel", ..., or "kaldi" for ready-made ones
    config: dict[str, Any]  # the front end's resolved options
    dim: int  # values per frame and layer, as read
    frame_shift_ms: float
    sample_rate: int  # Hz
    cmvn: str = "none"  # none | utterance | speaker | global, applied when reading
    norm_vars: bool = True  # whether CMVN divides by the standard deviation
    upstream: str = ""  # name of the model that made it; "" for acoustic features
    weights_sha256: str = ""  # of that model's weights
    layers: tuple[int, ...] = ()  # which hidden layers, 0 the first; () for acoustic features
    dtype: str = "float32"  # as stored
    precision: str = ""  # that the upstream computed in, fp32 or bf16; "" where nothing did or none was told
    commit: str = dataclasses.field(default_factory=provenance.commit)
    created: str = dataclasses.field(default_factory=provenance.now)

    def acoustic(self) -> dict[str, Any]:
        """What an upstream's input must agree in: front end, options, CMVN, dimension, frame shift."""
        return {
            "feature": self.feature, "dim": self.dim, "frame_shift_ms": self.frame_shift_ms,
            "sample_rate": self.sample_rate, "cmvn": self.cmvn, "norm_vars": self.norm_vars,
            "config": self.config,
        }  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """What a downstream model's input must agree in: the above, the upstream's weights and the layers."""
        return self.acoustic() | {
            "upstream": self.upstream, "weights_sha256": self.weights_sha256, "layers": list(self.layers),
        }  # fmt: skip


def write_meta(path: str | os.PathLike[str], meta: FeatureMeta) -> None:
    """Write ``features.json``."""
    write_json(path, plain_meta(meta))


def read_meta(path: str | os.PathLike[str]) -> FeatureMeta:
    """Read ``features.json``."""
    return parse_meta(read_json(path), path)


def plain_meta(meta: FeatureMeta) -> dict[str, Any]:
    """What is stored of a :class:`FeatureMeta`, wherever that is; :func:`parse_meta` takes it back."""
    return {"format": FORMAT} | to_dict(meta)


def parse_meta(values: Any, where: object) -> FeatureMeta:
    """Check and convert the plain form of a :class:`FeatureMeta`, wherever it was stored."""
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise InputError(f"not feature metadata of format {FORMAT}", where=where)
    return from_dict(FeatureMeta, {k: v for k, v in values.items() if k != "format"}, where)
