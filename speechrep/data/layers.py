"""One layer, or the mean of all, of representations that hold several."""

import dataclasses
from pathlib import Path

import numpy as np

from speechrep.data.features import FeatureReader
from speechrep.errors import InputError

CHOICES = ("last", "first", "average")


class LayerReader:
    """A :class:`FeatureReader` of (T, D) from one of (T, L, D).

    Args:
        reader: a store of several layers.
        choice: one of :data:`CHOICES`, or the number of a layer as the model counts them, 0 the first.

    Raises:
        InputError: no such layer in the store.
    """

    def __init__(self, reader: FeatureReader, choice: str):
        layers = reader.meta.layers
        if not layers:
            raise InputError(f"acoustic features have no layers, but layer is {choice!r}", where=reader.path)
        if choice not in CHOICES and not choice.isdecimal():
            raise InputError(f"layer is {choice!r}, want {', '.join(CHOICES)} or a number")
        if choice.isdecimal() and int(choice) not in layers:
            raise InputError(f"holds the layers {list(layers)}, not layer {choice}", where=reader.path)
        lacks_first = choice == "first" and 0 not in layers
        if lacks_first or (choice == "average" and len(layers) == 1 and layers[0] > 0):
            raise InputError(
                f"holds the layers {list(layers)}, which are not the {choice}", where=reader.path,
                mend="dump --layers all",
            )  # fmt: skip
        self._reader, self.choice = reader, choice
        self.path: Path = reader.path
        self.utt_ids, self.num_frames = reader.utt_ids, reader.num_frames
        self._row = {"last": -1, "first": 0, "average": None}.get(choice)
        if choice.isdecimal():
            self._row = layers.index(int(choice))
        kept = layers if self._row is None else (layers[self._row],)
        self.meta = dataclasses.replace(reader.meta, layers=kept)

    def read(self, utt_id: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Frames ``start`` to ``stop`` of an utterance, float32 (T, D)."""
        feats = self._reader.read(utt_id, start, stop)
        if feats.ndim == 2:  # the store holds the one layer that was asked for
            if len(self._reader.meta.layers) > 1:
                raise InputError(f"holds the layers' sum, not layer {self.choice}", where=self.path)
            return feats
        return feats.mean(1) if self._row is None else np.ascontiguousarray(feats[:, self._row])


def choose_layer(reader: FeatureReader, choice: str) -> FeatureReader:
    """The reader itself for ``""``, else a :class:`LayerReader`."""
    return LayerReader(reader, choice) if choice else reader
