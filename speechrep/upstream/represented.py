"""Representations computed while they are read: a reader of features behind a model, as if it were dumped."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from speechrep import provenance
from speechrep.data.features import FeatureReader
from speechrep.data.identity import require_equal, require_statistics, sha256_of
from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta
from speechrep.upstream.base import Upstream, evaluating


class Represented:
    """A :class:`FeatureReader` of what a model makes of another's features.

    Args:
        reader: acoustic features of the kind the model was made for.
        model: on its device; run in evaluation mode whenever something is read.
        all_layers: (T', L, D) of all layers instead of (T', D) of the last.
        where: the model's file, for messages.

    Raises:
        InputError: other features than the model's, or an utterance too short for one vector.
    """

    def __init__(
        self, reader: FeatureReader, model: Upstream, all_layers: bool = False, where: object = "model"
    ):
        require_input_of(model, reader, where)
        self.acoustic, self.model, self.all_layers = reader, model, all_layers
        self.path: Path = reader.path
        self.utt_ids = reader.utt_ids
        self.num_frames = vector_lens(model, reader)
        num_layers = len(model.layer_dims())
        layers = range(num_layers) if all_layers else (num_layers - 1,)
        self.meta = represented_meta(model, reader.meta, layers)

    @torch.no_grad()
    def read(self, utt_id: str, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Vectors ``start`` to ``stop`` of an utterance, float32 (T', D) or (T', L, D)."""
        feats = torch.from_numpy(self.acoustic.read(utt_id))[None].to(self.model.device)
        with evaluating(self.model):
            hiddens = self.model(feats).hiddens
        chosen = torch.stack(hiddens, 2) if self.all_layers else hiddens[-1]
        return chosen[0, start:stop].float().cpu().numpy()


def require_acoustic(reader: FeatureReader) -> None:
    """Refuse representations."""
    if reader.meta.upstream:
        raise InputError(f"holds representations of {reader.meta.upstream}", where=reader.path,
                         mend="give the acoustic features that the model takes")  # fmt: skip


def require_input_of(model: Upstream, reader: FeatureReader, where: object) -> None:
    """Refuse features that are not acoustic, or not those the model was made for."""
    require_acoustic(reader)
    require_equal(model.meta.acoustic(), reader.meta.acoustic(), where, reader.path)
    require_statistics(sha256_of(model.cmvn_stats), reader, f"{where} was made for")


def vector_lens(model: Upstream, reader: FeatureReader) -> NDArray[np.int64]:
    """(U,) how many vectors each utterance gives.

    Raises:
        InputError: naming an utterance that gives none.
    """
    lens = reader.num_frames // model.downsample
    short = np.flatnonzero(lens < 1)
    if len(short):
        raise InputError(
            f"{reader.num_frames[short[0]]} frames give no vector",
            where=f"{reader.path}: {reader.utt_ids[short[0]]}", mend="leave the utterance out",
        )  # fmt: skip
    return lens


def represented_meta(model: Upstream, acoustic: FeatureMeta, layers: Sequence[int]) -> FeatureMeta:
    """What a model makes of the features ``acoustic``.

    Raises:
        InputError: layers of several dimensions.
    """
    dims = {model.layer_dims()[layer] for layer in layers}
    if len(dims) > 1:
        raise InputError(f"layers {list(layers)} have the dimensions {sorted(dims)}, want one")
    config = dict(acoustic.config)
    if model.downsample > 1 and "frame_shift" not in config:  # ready-made: where labels lie depends on it
        config["frame_shift"] = acoustic.frame_shift_ms
    return dataclasses.replace(
        acoustic, config=config, dim=dims.pop(), frame_shift_ms=acoustic.frame_shift_ms * model.downsample,
        upstream=model.name, weights_sha256=model.weights_sha256, layers=tuple(layers), dtype="float32",
        commit=provenance.commit(), created=provenance.now(),
    )  # fmt: skip
