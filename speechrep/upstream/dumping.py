"""Hidden vectors of a whole set into a store."""

import dataclasses
import logging
import os
import sys
from typing import Any

import torch
from tqdm import tqdm

from speechrep import provenance
from speechrep.config import opt
from speechrep.data.batches import BatchSampler, Segment
from speechrep.data.features import FeatureReader
from speechrep.data.loader import Loader, pad_arrays
from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta, require_equal
from speechrep.io.store import DTYPES, StoreWriter
from speechrep.upstream.base import Upstream

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DumpConfig:
    """What to store, and how to compute it."""

    layers: str = opt("last", "last, first, all, or numbers parted by commas, 0 the first layer")
    dtype: str = opt("float32", "number format of the store; float16 halves it", sorted(DTYPES))
    max_frames: int = opt(8000, "frames of a batch, padding included")


def dump(
    model: Upstream,
    reader: FeatureReader,
    out: str | os.PathLike[str],
    config: DumpConfig,
    where: object = "model",
    num_workers: int = 0,
) -> None:
    """Store the hidden vectors of every utterance; the file appears when all are in it.

    Args:
        model: on its device, in evaluation mode.
        reader: features of the kind the model was made for.
        out: the ``.h5`` file.
        config: what to store.
        where: the model's file, for messages.
        num_workers: background processes that read features.

    Raises:
        InputError: other features than the model's, an unknown layer, an utterance that gives no vector.
    """
    if reader.meta.upstream:
        raise InputError(f"holds representations of {reader.meta.upstream}", where=reader.path,
                         mend="give acoustic features")  # fmt: skip
    require_equal(model.meta.acoustic(), reader.meta.acoustic(), where, reader.path)
    sampler = BatchSampler(reader.num_frames, config.max_frames, seed=0, shuffle=False)
    loader = Loader(_Utterances(reader), sampler, num_workers)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    writer = None
    try:
        progress = tqdm(total=len(reader.utt_ids), unit="utt", disable=not sys.stderr.isatty())
        with torch.inference_mode():
            for batch in loader.epoch(0):
                output = model(batch["feats"].to(device), batch["feat_lens"].to(device))
                hiddens = output.hiddens
                if writer is None:
                    layers = parse_layers(config.layers, len(hiddens))
                    meta = _meta_of(model, reader, output.frame_shift_ms, hiddens, layers, config.dtype)
                    lengths = reader.num_frames // model.downsample
                    several = len(layers) if len(layers) > 1 else 0
                    writer = StoreWriter(out, meta, reader.utt_ids, lengths.tolist(), several)
                picked = [hiddens[layer] for layer in layers]
                stacked = torch.stack(picked, 2) if several else picked[0]  # (B, T', L, D) or (B, T', D)
                stacked = stacked.to(torch.float32).cpu().numpy()
                for row, length, utt_id in zip(
                    stacked, output.hidden_lens.tolist(), batch["utt_ids"], strict=True
                ):
                    writer.write(utt_id, row[:length])
                    progress.update()
        progress.close()
        assert writer is not None
        writer.commit()
    finally:
        if writer is not None:
            writer.abandon()
    logger.info(
        "%s: %d utterances, %d frames of %d values, layers %s",
        out, len(reader.utt_ids), lengths.sum(), meta.dim, list(layers),
    )  # fmt: skip


def parse_layers(text: str, num_layers: int) -> tuple[int, ...]:
    """The layers that an option names.

    Raises:
        InputError: not a list of layers, or one that the model lacks.
    """
    if text in ("last", "first"):
        return (num_layers - 1,) if text == "last" else (0,)
    if text == "all":
        return tuple(range(num_layers))
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() for word in words):
        raise InputError(f"layers is {text!r}, want last, first, all or numbers parted by commas")
    layers = tuple(int(word) for word in words)
    unknown = [layer for layer in layers if layer >= num_layers]
    if unknown or len(set(layers)) < len(layers):
        raise InputError(f"layers {text!r} of a model with the layers 0 to {num_layers - 1}")
    return layers


class _Utterances:
    """Whole utterances, for :class:`Loader`."""

    def __init__(self, reader: FeatureReader):
        self.reader = reader

    def __getitem__(self, segment: Segment) -> dict[str, Any]:
        utt_id = self.reader.utt_ids[segment.index]
        return {"utt_id": utt_id, "feats": self.reader.read(utt_id)}

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        feats, feat_lens = pad_arrays([item["feats"] for item in items])
        return {"utt_ids": [item["utt_id"] for item in items], "feats": feats, "feat_lens": feat_lens}


def _meta_of(
    model: Upstream,
    reader: FeatureReader,
    frame_shift_ms: float,
    hiddens: list[torch.Tensor],
    layers: tuple[int, ...],
    dtype: str,
) -> FeatureMeta:
    dims = {hiddens[layer].shape[-1] for layer in layers}
    if len(dims) > 1:
        raise InputError(f"layers {list(layers)} have the dimensions {sorted(dims)}, want one")
    return dataclasses.replace(
        reader.meta, dim=dims.pop(), frame_shift_ms=frame_shift_ms, upstream=model.name,
        weights_sha256=model.weights_sha256, layers=layers, dtype=dtype,
        commit=provenance.commit(), created=provenance.now(),
    )  # fmt: skip
