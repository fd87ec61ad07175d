"""Hidden vectors of a whole set into a store: in parts, so that a killed dump goes on where it was."""

import dataclasses
import hashlib
import itertools
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from speechrep.config import at_least, opt
from speechrep.data.batches import BatchSampler, Segment
from speechrep.data.features import FeatureReader, frame_counts
from speechrep.data.identity import are_equal, require_equal
from speechrep.data.loader import Loader
from speechrep.data.padded import pad_features
from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta
from speechrep.io.files import commit_file
from speechrep.io.store import DTYPES, Store, StoreWriter
from speechrep.progress import Progress
from speechrep.upstream.base import Upstream
from speechrep.upstream.precision import warn_if_emulated
from speechrep.upstream.represented import represented_meta, require_input_of, vector_lens

logger = logging.getLogger(__name__)

# What a CPU computes at once should stay in its cache: 8000 frames of BASE take 1.2 times the seconds.
BATCH_FRAMES = {False: 2000, True: 32000}
COMPARED = 5  # utterances of a store that are computed again to see whether it has the same values


class Part(NamedTuple):
    """What is computed in one go and kept: some batches of a run of utterances."""

    run: range
    rank: int  # of its batches this one and every ``count``-th after it
    count: int


@dataclasses.dataclass(frozen=True)
class DumpConfig:
    """What to store, and how to compute it."""

    layers: str = opt("last", "last, first, all, or numbers parted by commas, 0 the first layer")
    dtype: str = opt("float32", "number format of the store; float16 halves it", sorted(DTYPES))
    precision: str = opt(
        "fp32",
        "number format of the model; bf16 is near, and faster where the processor has it",
        ("fp32", "bf16"),
    )
    max_frames: int = opt(0, "frames of a batch, padding included; 0: 2000 on a CPU, 32000 on a GPU")
    part_frames: int = opt(
        2000000, "larger sets are dumped in parts of so many frames; a part is kept when done"
    )

    def __post_init__(self) -> None:
        at_least(0, self, "max_frames")
        at_least(1, self, "part_frames")


class Dump:
    """One set through one model into one store.

    Args:
        model: on its device, in evaluation mode.
        reader: features of the kind the model was made for.
        out: the ``.h5`` file.
        config: what to store.
        where: the model's file, for messages.
        nj: parts for so many jobs; job k of them takes parts k, k + nj, ...
        mix: (layers,) weights; if given, the weighted sum of the layers is stored instead of each.

    Raises:
        InputError: other features than the model's, or an unknown layer.
    """

    def __init__(
        self,
        model: Upstream,
        reader: FeatureReader,
        out: str | os.PathLike[str],
        config: DumpConfig,
        where: object = "model",
        nj: int = 1,
        mix: Sequence[float] = (),
    ):
        require_input_of(model, reader, where)
        self.model, self.reader, self.out, self.config = model, reader, Path(out), config
        self.device = model.device
        warn_if_emulated(config.precision, self.device)
        self.lengths = vector_lens(model, reader)
        self.layers = parse_layers(config.layers, len(model.layer_dims()))
        self.mix = torch.tensor(mix, device=self.device) if mix else None
        if mix and len(mix) != len(self.layers):
            raise InputError(f"{len(mix)} weights for the layers {list(self.layers)}", where=where)
        self.num_layers = len(self.layers) if len(self.layers) > 1 and not mix else 0
        self.meta = self._meta()
        files = [(stat.st_size, stat.st_mtime_ns) for stat in self._feature_files()]
        self._made_of = hashlib.sha256(repr(files).encode()).hexdigest()[:8]
        self.parts = self._plan(nj)

    def part_path(self, number: int) -> Path:
        """Where a part lies until all are merged, named by the features that it was made of."""
        # Of another precision are other vectors, of the same identity.
        precision = "" if self.config.precision == "fp32" else f".{self.config.precision}"
        folder = self.out.with_name(f"{self.out.name}{precision}.parts")
        return folder / f"part-{number:04d}.{self._made_of}.h5"

    def run(self, numbers: Sequence[int]) -> None:
        """Write those of the parts, by their numbers from 0, that are not there yet."""
        rows = {number: self._rows(self.parts[number]) for number in numbers}
        todo = [number for number in numbers if not self._is_left(self.part_path(number), rows[number])]
        total = sum(map(len, rows.values()))
        progress = Progress(total, "utterances", total - sum(len(rows[number]) for number in todo))
        for number in todo:
            self._write(self.part_path(number), self.parts[number], rows[number], progress)
        progress.show(end=True)

    def finish(self) -> None:
        """Make the store of all parts, and remove them."""
        paths = [self.part_path(number) for number in range(len(self.parts))]
        missing = [
            path
            for path, part in zip(paths, self.parts, strict=True)
            if not self._is_done(path, self._rows(part))
        ]
        if missing:
            raise InputError("was not dumped", where=missing[0], mend="run the same again")
        if len(paths) == 1:
            commit_file(paths[0], self.out)
        else:
            with StoreWriter(
                self.out, self.meta, self.reader.utt_ids, self.lengths.tolist(), self.num_layers
            ) as writer:
                for path in paths:
                    part = Store(path)
                    for utt_id in part.utt_ids:
                        writer.write(utt_id, part.read(utt_id))
        shutil.rmtree(paths[0].parent)
        logger.info(
            "%s: %d utterances, %d frames of %d values, layers %s",
            self.out, len(self.lengths), self.lengths.sum(), self.meta.dim, list(self.layers),
        )  # fmt: skip

    def problems(self) -> list[str]:
        """What is wrong with the store: stale, missing, short, extra or damaged utterances, other values."""
        store = Store(self.out)
        try:
            require_equal(self.meta.identity(), store.meta.identity(), "this model and features", self.out)
        except InputError as error:
            return [f"stale: {error.what}"]
        if self.out.stat().st_mtime < max(stat.st_mtime for stat in self._feature_files()):
            return [f"stale: older than {self.reader.path}"]
        found = []
        wanted = dict(zip(self.reader.utt_ids, self.lengths.tolist(), strict=True))
        stored = frame_counts(store)
        found += [f"missing: {utt_id}" for utt_id in wanted if utt_id not in stored]
        found += [f"extra: {utt_id}" for utt_id in stored if utt_id not in wanted]
        both = [utt_id for utt_id in wanted if utt_id in stored]
        found += [
            f"length: {utt_id} has {stored[utt_id]} frames, want {wanted[utt_id]}"
            for utt_id in both if stored[utt_id] != wanted[utt_id]
        ]  # fmt: skip
        whole = []
        for utt_id in both:
            try:
                if np.isfinite(store.read(utt_id)).all():
                    whole.append(utt_id)
                else:
                    found.append(f"NaN: {utt_id}")
            except InputError as error:
                found.append(error.what)
        tolerance = 1e-3 if store.meta.dtype == "float32" else 1e-2
        if "bf16" in (store.meta.precision, self.config.precision):
            tolerance = 0.1
        fit = [utt_id for utt_id in whole if stored[utt_id] == wanted[utt_id]]
        for utt_id in fit[:: max(1, len(fit) // COMPARED)][:COMPARED]:
            again = self._vectors(self.reader.read(utt_id)[None])[0]
            scale = max(1.0, float(np.abs(again).max()))
            if not np.allclose(store.read(utt_id), again, atol=tolerance * scale):
                found.append(f"values: {utt_id} is not what the model gives")
        return found

    def _plan(self, nj: int) -> list[Part]:
        """Runs of utterances, and their batches dealt out if there are fewer runs than jobs.

        What pads an utterance changes its vectors' last bits. So jobs share out whole batches, and which
        utterances form a batch does not depend on their number.
        """
        total = int(self.lengths.sum())
        count = max(1, -(-total // self.config.part_frames))
        ends = np.searchsorted(self.lengths.cumsum(), total * np.arange(1, count + 1) / count)
        bounds = np.unique([0, *(ends + 1).clip(max=len(self.lengths))]).tolist()
        runs = [range(a, b) for a, b in itertools.pairwise(bounds)]
        if nj <= len(runs):
            return [Part(run, 0, 1) for run in runs]
        shares = [min(nj, len(self._sampler(Part(run, 0, 1)).batches(0))) for run in runs]
        return [
            Part(run, rank, share) for run, share in zip(runs, shares, strict=True) for rank in range(share)
        ]

    def _sampler(self, part: Part) -> BatchSampler:
        budget = self.config.max_frames or BATCH_FRAMES[self.device.type == "cuda"]
        return BatchSampler(
            self.reader.num_frames[part.run], budget, seed=0, rank=part.rank, world_size=part.count,
            shuffle=False,
        )  # fmt: skip

    def _rows(self, part: Part) -> Sequence[int]:
        """The part's utterances, as places in the set."""
        if part.count == 1:
            return part.run
        return sorted(
            part.run[segment.index] for batch in self._sampler(part).batches(0) for segment in batch
        )

    def _is_left(self, path: Path, rows: Sequence[int]) -> bool:
        """Whether an earlier run has left a part, and it is as it was written."""
        try:
            if not self._is_done(path, rows):
                return False
            part = Store(path)
            for utt_id in part.utt_ids:
                part.read(utt_id)
        except InputError as error:
            logger.warning("%s; it is dumped again", error)
            return False
        return True

    def _is_done(self, path: Path, rows: Sequence[int]) -> bool:
        if not path.is_file():
            return False
        store = Store(path)
        return (
            store.utt_ids == [self.reader.utt_ids[i] for i in rows]
            and np.array_equal(store.num_frames, self.lengths[rows])
            and are_equal(store.meta.identity(), self.meta.identity())
            and store.meta.dtype == self.meta.dtype
        )

    def _feature_files(self) -> list[os.stat_result]:
        source = self.reader.path
        files = [source / "feats.scp", source / "features.json"] if source.is_dir() else [source]
        return [file.stat() for file in files]

    def _write(self, path: Path, part: Part, rows: Sequence[int], progress: Progress) -> None:
        utt_ids, lengths = [self.reader.utt_ids[i] for i in rows], self.lengths[rows]
        loader = Loader(_Utterances(self.reader, part.run), self._sampler(part))
        with StoreWriter(path, self.meta, utt_ids, lengths.tolist(), self.num_layers) as writer:
            for batch in filter(None, loader.epoch(0)):  # the last may be an empty one
                vectors = self._vectors(batch["feats"], batch["feat_lens"])
                for row, utt_id, frames in zip(
                    vectors, batch["utt_ids"], batch["feat_lens"].tolist(), strict=True
                ):
                    writer.write(utt_id, row[: frames // self.model.downsample])
                progress.update(progress.done + len(batch["utt_ids"]))

    def _vectors(self, feats: Any, feat_lens: torch.Tensor | None = None) -> NDArray[np.float32]:
        """(B, T', D), or (B, T', L, D) of several layers."""
        hiddens = self._hiddens(feats, feat_lens)
        picked = [hiddens[layer] for layer in self.layers]
        if self.mix is not None:
            chosen = sum(w * h for w, h in zip(self.mix, picked, strict=True))
        else:
            chosen = torch.stack(picked, 2) if self.num_layers else picked[0]
        return chosen.float().cpu().numpy()

    @torch.inference_mode()
    def _hiddens(self, feats: Any, feat_lens: torch.Tensor | None = None) -> list[torch.Tensor]:
        feats = torch.as_tensor(feats).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            return self.model(feats, None if feat_lens is None else feat_lens.to(self.device)).hiddens

    def _meta(self) -> FeatureMeta:
        meta = represented_meta(self.model, self.reader.meta, self.layers)
        sha = meta.weights_sha256
        if self.mix is not None:  # another mixture is another representation
            sha = hashlib.sha256(f"{sha} {self.mix.tolist()}".encode()).hexdigest()
        return dataclasses.replace(
            meta, weights_sha256=sha, dtype=self.config.dtype, precision=self.config.precision
        )


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
    layers = tuple(sorted(int(word) for word in words))  # "first" and "last" of a store go by their order
    unknown = [layer for layer in layers if layer >= num_layers]
    if unknown or len(set(layers)) < len(layers):
        raise InputError(f"layers {text!r} of a model with the layers 0 to {num_layers - 1}")
    return layers


class _Utterances:
    """A run of whole utterances, for :class:`Loader`."""

    def __init__(self, reader: FeatureReader, run: range):
        self.reader, self.run = reader, run

    def __getitem__(self, segment: Segment) -> dict[str, Any]:
        utt_id = self.reader.utt_ids[self.run[segment.index]]
        return {"utt_id": utt_id, "feats": self.reader.read(utt_id)}

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        return pad_features(items)
