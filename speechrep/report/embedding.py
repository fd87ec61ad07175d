"""Hidden vectors of many utterances in a plane: do phones and speakers lie together?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from speechrep.config import at_least, opt
from speechrep.data.features import FeatureReader
from speechrep.data.frame_labels import IGNORE, frame_times_s, label_frames, offset_ms
from speechrep.data.identity import require_equal
from speechrep.data.layers import choose_layer
from speechrep.downstream.split import reader_of
from speechrep.errors import InputError
from speechrep.io.alignment import ARPABET, SILENCE, SPOKEN_NOISE, VOWELS, fold_phone, read_ctm
from speechrep.io.data_dir import DataDir
from speechrep.io.feature_meta import FeatureMeta
from speechrep.report import style
from speechrep.upstream.base import Upstream
from speechrep.upstream.dumping import parse_layers
from speechrep.upstream.represented import represented_meta, require_input_of

PROJECTIONS = ("pca", "tsne")
# Forty colours cannot be told apart, six ways of making a sound can.
MANNERS = {
    "vowel": " ".join(VOWELS),
    "stop": "B D G K P T",
    "fricative, affricate": "CH DH F HH JH S SH TH V Z ZH",
    "nasal": "M N NG",
    "approximant": "L R W Y",
    "silence": SILENCE,
}
_PHONES = (SILENCE, *ARPABET)
_IDS = {phone: i for i, phone in enumerate(_PHONES)} | {SPOKEN_NOISE: IGNORE}


@dataclass(frozen=True)
class EmbeddingConfig:
    """What to put into the plane, and how."""

    projection: str = opt("pca", "to two dimensions by principal components or t-SNE", PROJECTIONS)
    max_utts: int = opt(100, "utterances to look at, at random")
    points_per_phone: int = opt(60, "frames of each phone to show, at random")

    def __post_init__(self) -> None:
        at_least(1, self, "max_utts", "points_per_phone")


@dataclass(frozen=True)
class Vectors:
    """Vectors of utterances."""

    meta: FeatureMeta
    by_utt: dict[str, NDArray[np.float32]]  # (T, D) each


@torch.no_grad()
def vectors_of(
    model: Upstream, reader: FeatureReader, layer: str, max_utts: int, seed: int, where: object
) -> Vectors:
    """What a model makes of some utterances, or what a store of its vectors holds.

    Args:
        model: an upstream.
        reader: the model's input features, or a store of its hidden vectors.
        layer: one layer, as for ``dump``; of a store one that it holds.
        max_utts: how many utterances, chosen at random.
        seed: of the choice.
        where: the model's file, for messages.

    Raises:
        InputError: features of another kind, a store of another model, not one layer.
    """
    chosen = np.random.default_rng(seed).permutation(len(reader.utt_ids))[:max_utts]
    utt_ids = [reader.utt_ids[i] for i in sorted(chosen)]
    if reader.meta.upstream:
        require_equal(
            {"weights_sha256": model.weights_sha256}, {"weights_sha256": reader.meta.weights_sha256}, where,
            reader.path,
        )  # fmt: skip
        chosen = choose_layer(reader, layer)
        return Vectors(chosen.meta, {utt_id: chosen.read(utt_id) for utt_id in utt_ids})
    require_input_of(model, reader, where)
    number = _one(layer, len(model.layer_dims()))
    made = {
        utt_id: model(torch.from_numpy(reader.read(utt_id))[None]).hiddens[number][0].float().numpy()
        for utt_id in utt_ids
    }
    return Vectors(represented_meta(model, reader.meta, (number,)), made)


def phone_points(
    vectors: Vectors, data_dir: Path, per_phone: int, seed: int
) -> tuple[NDArray[np.float32], list[str]]:
    """Frames in the middle of phones, so many of each, (N, D), and their phones.

    Raises:
        InputError: no alignment, or none for these utterances.
    """
    path = data_dir / "phones.ctm"
    if not path.is_file():
        raise InputError("no phone alignment", where=path, mend="run stage 0 with alignments")
    alignments = {utt: found for utt, found in read_ctm(path).items() if utt in vectors.by_utt}
    if not alignments:
        raise InputError("no alignment of these utterances", where=path)
    offset = offset_ms(alignments, "auto", path)
    frames: dict[str, list[NDArray[np.float32]]] = {}
    for utt_id, intervals in alignments.items():
        feats = vectors.by_utt[utt_id]
        times_s = frame_times_s(vectors.meta, len(feats))
        phones = [interval._replace(label=fold_phone(interval.label)) for interval in intervals]
        labels = label_frames(phones, _IDS, times_s, f"{path}: {utt_id}", offset)
        for start_s, end_s, _ in intervals:
            frame = int(np.abs(times_s - offset / 1000 - (start_s + end_s) / 2).argmin())
            if labels[frame] != IGNORE:
                frames.setdefault(_PHONES[labels[frame]], []).append(feats[frame])
    if not frames:
        raise InputError(f"no phone but {SPOKEN_NOISE} in these utterances", where=path)
    rng = np.random.default_rng(seed)
    points, names = [], []
    for phone in sorted(frames):
        for i in rng.permutation(len(frames[phone]))[:per_phone]:
            points.append(frames[phone][i])
            names.append(phone)
    return np.stack(points), names


def speaker_points(vectors: Vectors, data_dir: Path) -> tuple[NDArray[np.float32], list[str]]:
    """The mean vector of each utterance, (U, D), and its speaker."""
    utt2spk = DataDir(data_dir).utt2spk
    unknown = next((utt_id for utt_id in vectors.by_utt if utt_id not in utt2spk), None)
    if unknown is not None:
        raise InputError(f"no speaker for utterance {unknown}", where=data_dir / "utt2spk")
    return np.stack([feats.mean(0) for feats in vectors.by_utt.values()]), [
        reader_of(utt2spk[utt_id]) for utt_id in vectors.by_utt
    ]


def project(points: NDArray, projection: str, seed: int) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """To the plane, (N, 2), and the names of its axes.

    Raises:
        InputError: fewer than three points; t-SNE without scikit-learn.
    """
    if len(points) < 3:
        raise InputError(f"{len(points)} points are too few to show")
    centred = points.astype(np.float64) - points.mean(0)
    if projection == "pca":
        left, values, _ = np.linalg.svd(centred, full_matrices=False)
        shares = 100 * values**2 / max(float((values**2).sum()), 1e-300)
        plane = np.zeros((len(points), 2))
        found = min(2, len(values))
        plane[:, :found] = (left * values)[:, :found]
        names = [f"component {i + 1}, {shares[i] if i < found else 0:.0f} % of the variance" for i in (0, 1)]
        return plane, (names[0], names[1])
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise InputError(
            "t-SNE needs scikit-learn", where="--projection tsne",
            mend="pip install scikit-learn, or --projection pca",
        ) from error  # fmt: skip
    scale = centred.std() or 1.0
    perplexity = min(30.0, (len(points) - 1) / 3)
    plane = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(centred / scale)
    return plane.astype(np.float64), ("t-SNE 1", "t-SNE 2")


def draw_phones(plane: NDArray, phones: Sequence[str], axes_names: Sequence[str], title: str) -> Figure:
    """Phones in the plane: coloured by manner, each phone's name where its points are."""
    drawn, axes = style.figure(1, heights=[4.6], title=title)
    axis, names = axes[0, 0], np.array(phones)
    for (manner, members), colour, marker in zip(MANNERS.items(), style.COLOURS, style.MARKERS, strict=False):
        kept = np.isin(names, members.split())
        axis.scatter(*plane[kept].T, s=7, color=colour, marker=marker, alpha=0.35, linewidth=0, label=manner)
        for phone in sorted(set(names[kept])):
            where = np.median(plane[names == phone], axis=0)
            axis.annotate(
                phone, where, ha="center", va="center", fontsize=style.FONT - 1, fontweight="bold",
                color=_darker(colour), bbox={"facecolor": "white", "alpha": 0.7, "pad": 0.6, "linewidth": 0},
            )  # fmt: skip
    _finish(drawn, axis, axes_names, columns=3, markers=1.8)
    return drawn


def draw_speakers(plane: NDArray, speakers: Sequence[str], axes_names: Sequence[str], title: str) -> Figure:
    """Utterances in the plane, each speaker with a colour and a shape."""
    drawn, axes = style.figure(1, heights=[4.2], title=title)
    axis, names = axes[0, 0], np.array(speakers)
    people = sorted(set(speakers))
    for i, name in enumerate(people):
        count = len(style.COLOURS)
        axis.scatter(
            *plane[names == name].T, s=22, color=style.COLOURS[i % count],
            marker=style.MARKERS[(i + i // count) % len(style.MARKERS)], alpha=0.75, linewidth=0,
            label=style.literal(name),
        )  # fmt: skip
    if len(people) <= 28:
        _finish(drawn, axis, axes_names, columns=4, markers=1.0)
    else:
        style.label(axis, f"{len(people)} speakers", *axes_names)
    return drawn


def _finish(drawn: Figure, axis: Axes, axes_names: Sequence[str], columns: int, markers: float) -> None:
    style.label(axis, "", *axes_names)
    shown = drawn.legend(
        fontsize=style.FONT - 1, frameon=False, ncols=columns, loc="outside lower center", markerscale=markers
    )
    for handle in shown.legend_handles:
        handle.set_alpha(1)


def _one(layer: str, num_layers: int) -> int:
    chosen = parse_layers(layer, num_layers)
    if len(chosen) != 1:
        raise InputError(f"{layer!r} is {len(chosen)} layers, want one", where="--layers")
    return chosen[0]


def _darker(colour: str) -> tuple[float, ...]:
    return tuple(0.65 * int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
