"""Reconstructions for TensorBoard, drawn at every validation of a pre-training."""

import itertools

import numpy as np
from numpy.typing import NDArray

from speechrep.data.features import FeatureReader
from speechrep.io.feature_meta import FeatureMeta
from speechrep.upstream.base import Upstream

SECONDS = 4.0  # drawn of an utterance


def pictures(
    model: Upstream, reader: FeatureReader, count: int = 1, other: FeatureMeta | None = None
) -> dict[str, NDArray[np.uint8]]:
    """The pre-training task on the first utterances that are long enough.

    Args:
        model: in evaluation mode.
        reader: features of its kind.
        count: how many utterances.
        other: the features that the model reconstructs, if not these.

    Returns:
        Name to picture (height, width, 3); the same names at every call.
    """
    # Here, because matplotlib takes a second to import and only one process of a training draws.
    from speechrep.report import spectrogram, style
    from speechrep.report.utterance import from_reader

    least = max(30, model.shortest())
    lens = zip(reader.utt_ids, reader.num_frames, strict=True)
    drawn = {}
    for utt_id in itertools.islice((utt_id for utt_id, T in lens if least <= T), count):
        utterance = from_reader(model, reader, utt_id, end_s=SECONDS)
        done = spectrogram.reconstruct(model, utterance, other=other)
        figure = spectrogram.draw(done, model.meta, f"{model.name}: {utt_id}", other)
        drawn[f"reconstruction/{utt_id}"] = style.pixels(figure)
    return drawn
