"""Speaker verification by the cosine of mean representations: equal error rate and minimum detection cost.

    python -m speechrep.bin.verify --data dump/apc/test.h5 --data-dir data/test --upstream apc \\
        --features fbank80 --set test --out exp/results.json

Nothing is trained: the vectors of an utterance are averaged and, with --center-on, moved by the mean of
another set. Pairs come from --trials or are all pairs of the set; of more than 6325 utterances as many are
drawn, always the same.
"""

import logging
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechrep.bin import run
from speechrep.config import make_parser
from speechrep.data.features import FeatureReader, open_features
from speechrep.data.identity import require_like
from speechrep.data.layers import choose_layer
from speechrep.downstream.base import Labelled
from speechrep.downstream.speaker import pool, speakers_of
from speechrep.errors import InputError
from speechrep.io.table import read_rows
from speechrep.progress import Progress
from speechrep.score.results import add_figures
from speechrep.score.verification import Curve, all_cosines, cosines

logger = logging.getLogger(__name__)

MOST_UTTS = 6325  # unless named in --trials: their 20 million pairs take 1.6 GB
CENTRED_ON = 2000  # utterances at most: they tell a mean well enough, and a training set may have 100,000


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", required=True, metavar="FEATS", help="representations or features")
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="their data directory")
    parser.add_argument("--layer", default="", help="of several: last, first, average or a number")
    parser.add_argument(
        "--center-on", default="", metavar="FEATS", help="subtract their mean, of 2000 at most"
    )
    parser.add_argument(
        "--trials", default="", metavar="FILE",
        help="lines 'utterance utterance target|nontarget' or '1|0 utterance utterance'",
    )  # fmt: skip
    parser.add_argument("--bootstrap", type=int, default=200, help="draws of utterances for the intervals")
    parser.add_argument("--upstream", required=True, metavar="NAME", help="representation, for the table")
    parser.add_argument("--features", required=True, metavar="NAME", help="acoustic features, for the table")
    parser.add_argument("--set", required=True, metavar="NAME", help="the set, for the table")
    parser.add_argument("--seed", type=int, default=1, help="that the representation was trained with")
    parser.add_argument("--out", required=True, metavar="FILE", help="results.json to add to")
    args = parser.parse_args(argv)
    if args.bootstrap < 10:
        raise InputError(f"want at least 10 draws, got {args.bootstrap}", where="--bootstrap")
    feats = choose_layer(open_features(args.data), args.layer)
    # Trials name whom they want; what they name is there, or is refused.
    speakers = speakers_of(Labelled(feats, Path(args.data_dir)), may_lack=1.0 if args.trials else 0.0)
    if not args.trials and len(speakers) > MOST_UTTS:
        logger.info("of %d utterances %d are drawn, and all their pairs scored", len(speakers), MOST_UTTS)
        drawn = np.random.default_rng(0).permutation(sorted(speakers))[:MOST_UTTS]
        speakers = {utt_id: speakers[utt_id] for utt_id in sorted(drawn.tolist())}
    centre = np.zeros(feats.meta.dim)
    if args.center_on:
        other = choose_layer(open_features(args.center_on), args.layer)
        require_like(feats, other)
        centre = np.mean(_vectors(other, other.utt_ids[:: len(other.utt_ids) // CENTRED_ON + 1]), 0)
    first, second, same = _pairs(args.trials, list(speakers.items()))
    utt_ids = list(speakers)
    if args.trials:  # which may be of few utterances
        used, rows = np.unique([first, second], return_inverse=True)
        utt_ids, (first, second) = [utt_ids[i] for i in used], rows.reshape(2, -1)
    vectors = np.stack(_vectors(feats, utt_ids)) - centre
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    curve = Curve(cosines(vectors, first, second) if args.trials else all_cosines(vectors), same)
    figures = curve.figures(first, second, len(vectors), args.bootstrap)
    add_figures(
        args.out, figures, task="verification", upstream=args.upstream, features=args.features,
        set_name=args.set, checkpoint=args.data, seed=args.seed,
    )  # fmt: skip


def _vectors(feats: FeatureReader, utt_ids: Sequence[str]) -> list[NDArray[np.float32]]:
    return [_vector(feats, utt_id) for utt_id in Progress(len(utt_ids), "utterances").over(utt_ids)]


def _vector(feats: FeatureReader, utt_id: str) -> NDArray[np.float32]:
    vector = pool(feats.read(utt_id), "mean")
    if vector.ndim > 1:
        raise InputError("holds several layers", where=feats.path, mend="choose one with --layer")
    return vector


def _pairs(trials: str, speakers: list[tuple[str, str]]) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
    """Rows of the first and second utterance of every pair, and whether their speaker is the same."""
    if not trials:
        first, second = np.triu_indices(len(speakers), 1)
        _, people = np.unique([speaker for _, speaker in speakers], return_inverse=True)
        return first, second, people[first] == people[second]
    rows = {utt_id: i for i, (utt_id, _) in enumerate(speakers)}
    first, second, same = array("q"), array("q"), array("b")
    for number, head, tail in read_rows(trials):
        where, words = f"{trials}:{number}", [head, *tail.split()]
        if len(words) == 3 and words[0] in ("0", "1"):
            words = [words[1], words[2], "target" if words[0] == "1" else "nontarget"]
        if len(words) != 3 or words[2] not in ("target", "nontarget"):
            raise InputError("want 'utterance utterance target|nontarget'", where=where)
        unknown = next((utt_id for utt_id in words[:2] if utt_id not in rows), None)
        if unknown is not None:
            raise InputError(f"utterance {unknown!r} has no features", where=where)
        first.append(rows[words[0]])
        second.append(rows[words[1]])
        same.append(words[2] == "target")
    if not first:
        raise InputError("no trials", where=trials)
    return np.array(first), np.array(second), np.array(same, bool)


if __name__ == "__main__":
    run(main)
