"""Draw what a model does, as PNG files.

    python -m speechrep.bin.plot --exp-dir exp/apc --data dump/fbank80/dev --what spectrogram --out-dir plots
    python -m speechrep.bin.plot --exp-dir exp/apc --what curves --out-dir plots

hidden: the hidden vectors of each layer; spectrogram: what the pre-training task hides, and what the model
makes of it; attention: where each head of each layer looks; layers: the weights with which a downstream task
mixes the upstream's layers; curves: the training log; embedding: phones and speakers of --data-dir.
"""

import argparse
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from speechrep.bin import run
from speechrep.config import add_options, from_options, make_parser
from speechrep.data.features import open_features
from speechrep.downstream.layer_sum import learned_weights
from speechrep.errors import InputError
from speechrep.io.model_files import model_folder, read_info
from speechrep.report import attention, curves, embedding, hidden, layers, spectrogram, style
from speechrep.report.utterance import Utterance, read_utterance
from speechrep.upstream.base import Upstream
from speechrep.upstream.checkpoint import load
from speechrep.upstream.dumping import parse_layers

logger = logging.getLogger(__name__)

Pictures = Iterator[tuple[str, Figure]]  # file name without .png, figure


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("--exp-dir", required=True, metavar="DIR", help="a trained model's folder")
    parser.add_argument("--what", required=True, choices=sorted(DRAWN), help="what to draw")
    parser.add_argument(
        "--data", default="", metavar="FEATS|AUDIO", help="features of a set, or an audio file"
    )
    parser.add_argument("--data-dir", default="", metavar="DIR", help="its labels, for embedding")
    parser.add_argument("--out-dir", required=True, metavar="DIR", help="where the pictures go")
    parser.add_argument("--utt-id", default="", help="which utterance of --data; the first if not given")
    parser.add_argument("--start-s", type=float, default=0.0, help="show the utterance from here, s")
    parser.add_argument("--end-s", type=float, default=0.0, help="up to here, s; 0 for its end")
    parser.add_argument("--layers", default="", help="all, last, first, or numbers parted by commas")
    parser.add_argument("--seed", type=int, default=0, help="of masks and of random choices")
    add_options(parser, embedding.EmbeddingConfig, "embedding")
    args = parser.parse_args(argv)
    if args.seed < 0:
        raise InputError(f"want 0 or more, got {args.seed}", where="--seed")
    for name, figure in DRAWN[args.what](args):
        path = Path(args.out_dir) / f"{style.file_name(name)}.png"
        style.save(figure, path)
        logger.info("%s", path)


def _upstream(args: argparse.Namespace) -> tuple[Upstream, str]:
    if not args.data:
        raise InputError(f"--what {args.what} needs it", where="--data", mend="features, or an audio file")
    model = load(args.exp_dir)
    folder = model_folder(args.exp_dir).resolve().name
    return model, folder if folder.startswith(model.name) else f"{folder} ({model.name})"


def _shown(args: argparse.Namespace) -> tuple[Upstream, Utterance, str, str]:
    """The model, the utterance, a title and a file name."""
    model, name = _upstream(args)
    utterance = read_utterance(model, args.data, args.utt_id, args.start_s, args.end_s, args.exp_dir)
    return model, utterance, f"{name}: {utterance.utt_id}", f"{args.what}_{utterance.utt_id}"


def _hidden(args: argparse.Namespace) -> Pictures:
    model, utterance, title, name = _shown(args)
    yield name, hidden.draw(model, utterance, args.layers or "all", title)


def _spectrogram(args: argparse.Namespace) -> Pictures:
    model, utterance, title, name = _shown(args)
    other = spectrogram.target_of(read_info(args.exp_dir), args.exp_dir)
    done = spectrogram.reconstruct(model, utterance, args.seed, other)
    yield name, spectrogram.draw(done, model.meta, title, other)


def _attention(args: argparse.Namespace) -> Pictures:
    model, utterance, title, name = _shown(args)
    seen = attention.span(model, utterance)
    maps = attention.attention_maps(model, seen.tensor())
    if len(seen.times_s) < len(utterance.times_s):
        title += ", its first window"
    times_s = seen.joined_times_s(model.downsample)
    for layer in parse_layers(args.layers or "all", len(maps)):
        of = f"layer {layer} of 0 to {len(maps) - 1}"
        yield f"{name}_layer{layer}", attention.draw(maps[layer], times_s, f"{title}, {of}")


def _layers(args: argparse.Namespace) -> Pictures:
    folder = model_folder(args.exp_dir)
    yield "layers", layers.draw(learned_weights(folder), f"{folder.resolve().name}: layers it mixes")


def _curves(args: argparse.Namespace) -> Pictures:
    folder = model_folder(args.exp_dir)
    yield "curves", curves.draw(curves.read_log(folder), folder.resolve().name)


def _embedding(args: argparse.Namespace) -> Pictures:
    model, name = _upstream(args)
    if not args.data_dir:
        raise InputError("--what embedding needs it", where="--data-dir", mend="the set's data directory")
    config = from_options(embedding.EmbeddingConfig, args)
    data_dir, layer = Path(args.data_dir), args.layers or "last"
    vectors = embedding.vectors_of(
        model, open_features(args.data), layer, config.max_utts, args.seed, args.exp_dir
    )
    title = f"{name}, layer {', '.join(map(str, vectors.meta.layers))}, {data_dir.resolve().name}: "
    if (data_dir / "phones.ctm").is_file():
        points, phones = embedding.phone_points(vectors, data_dir, config.points_per_phone, args.seed)
        plane, axes = embedding.project(points, config.projection, args.seed)
        figure = embedding.draw_phones(plane, phones, axes, f"{title}frames in the middle of phones")
        yield f"embedding_phones_{config.projection}", figure
    else:
        logger.warning("no %s: phones are not drawn", data_dir / "phones.ctm")
    points, speakers = embedding.speaker_points(vectors, data_dir)
    plane, axes = embedding.project(points, config.projection, args.seed)
    figure = embedding.draw_speakers(plane, speakers, axes, f"{title}means of utterances by speaker")
    yield f"embedding_speakers_{config.projection}", figure


DRAWN: dict[str, Callable[[argparse.Namespace], Pictures]] = {
    "attention": _attention,
    "curves": _curves,
    "embedding": _embedding,
    "hidden": _hidden,
    "layers": _layers,
    "spectrogram": _spectrogram,
}

if __name__ == "__main__":
    run(main)
