"""N-gram language models: estimating one, and using any ARPA file in a search through kenlm."""

import logging
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from speechrep.errors import InputError
from speechrep.io.files import atomic_open
from speechrep.io.model_files import INFO
from speechrep.text.registry import FILE, load_tokenizer, require_same_units
from speechrep.text.tokenizer import UNKNOWN, Tokenizer

logger = logging.getLogger(__name__)

BEGIN, END = "<s>", "</s>"
RESERVED = {BEGIN, END, "<S>", "</S>", "<UNK>"}  # no units of a text: kenlm takes them for its own signs
ARPA = "lm.arpa"  # what train_lm calls it
ORDERS = range(2, 7)  # that kenlm reads as it is commonly built
_LOG10 = math.log(10.0)

Gram = tuple[str, ...]


def estimate(
    sentences: Iterable[Sequence[str]], order: int, vocabulary: Sequence[str]
) -> list[dict[Gram, float]]:
    """Interpolated Kneser-Ney probabilities (Chen and Goodman 1999, section 2.7), one discount per order.

    Args:
        sentences: units of every sentence.
        order: longest n-gram.
        vocabulary: all units; those never seen share the unigrams' discount.

    Returns:
        for n from 1 to ``order``, seen n-gram to natural log probability, and for ``("",) + history`` the
        natural log of the weight with which that history falls back.
    """
    tops: Counter[Gram] = Counter()
    for sentence in sentences:
        units = [BEGIN, *sentence, END]
        for end in range(2, len(units) + 1):
            tops[tuple(units[max(0, end - order) : end])] += 1
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for gram, count in tops.items():
        counts[len(gram) - 1][gram] += count
    for n in range(order - 1, 0, -1):  # lower orders count how many different units stand before
        for gram in counts[n]:
            counts[n - 1][gram[1:]] += 1
    tables: list[dict[Gram, float]] = []
    lower: dict[Gram, float] = {(unit,): 1 / (len(vocabulary) + 1) for unit in [*vocabulary, END]}
    for n in range(order):
        discount = _discount(counts[n])
        totals: defaultdict[Gram, float] = defaultdict(float)
        kinds: Counter[Gram] = Counter()
        for gram, count in counts[n].items():
            totals[gram[:-1]] += count
            kinds[gram[:-1]] += 1
        weights = {history: discount * kinds[history] / totals[history] for history in totals}
        probs = {
            gram: (counts[n][gram] - discount) / totals[gram[:-1]]
            + weights[gram[:-1]] * lower[gram[1:] or gram]
            for gram in counts[n]
        }
        if n == 0:
            for gram, uniform in lower.items():
                probs.setdefault(gram, weights.get((), 1.0) * uniform)
        tables.append({gram: math.log(prob) for gram, prob in probs.items()})
        if n:
            tables[n - 1] |= {("", *history): math.log(weight) for history, weight in weights.items()}
        lower = probs
    return tables


def _discount(counts: Counter[Gram]) -> float:
    """Ney's estimate from how many n-grams were seen once and twice."""
    once = sum(count == 1 for count in counts.values())
    twice = sum(count == 2 for count in counts.values())
    return once / (once + 2 * twice) if once and twice else 0.5


def write_arpa(path: str | Path, tables: list[dict[Gram, float]]) -> None:
    """Write what :func:`estimate` returns in ARPA's format (log base 10)."""
    rows = [sorted(gram for gram in table if gram[0]) for table in tables]
    rows[0] = [(BEGIN,), *rows[0]]
    with atomic_open(path) as stream:
        stream.write("\\data\\\n")
        stream.writelines(f"ngram {n}={len(grams)}\n" for n, grams in enumerate(rows, 1))
        for n, (grams, table) in enumerate(zip(rows, tables, strict=True), 1):
            stream.write(f"\n\\{n}-grams:\n")
            for gram in grams:
                log_prob = table.get(gram, -99 * _LOG10) / _LOG10
                weight = table.get(("", *gram))
                back = f"\t{weight / _LOG10:.6f}" if weight is not None else ""
                stream.write(f"{log_prob:.6f}\t{' '.join(gram)}{back}\n")
        stream.write("\n\\end\\\n")


_COUNT = re.compile(rb"ngram +\d{1,2} *= *(\d{1,15})")


class NgramScorer:
    """An ARPA file in a search (see :class:`speechrep.decode.beam.Scorer`); a state is one history per row.

    Args:
        path: ARPA or kenlm binary file whose words are the units of ``tokenizer``, or what train_lm left.
        tokenizer: the recogniser's units.

    Raises:
        InputError: kenlm is not installed, the file cannot be read, or it has other units.
    """

    def __init__(self, path: str | Path, tokenizer: Tokenizer):
        try:
            import kenlm
        except ImportError:
            raise InputError("n-gram models need kenlm", where=path, mend="pip install kenlm") from None
        path = ngram_file(path)
        if (path.parent / FILE).is_file():  # train_lm writes it
            require_same_units(load_tokenizer(path.parent), tokenizer, path)
        _require_counts(path)
        try:
            self._model = kenlm.Model(str(path))
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"kenlm cannot read it: {error}", where=path) from error
        self._state = kenlm.State
        self._words = [*tokenizer.units[1:], END]
        unknown = [word for word in self._words[1:] if word not in self._model]
        if len(unknown) > len(self._words) // 2:
            raise InputError(
                f"{len(unknown)} of the recogniser's {len(self._words)} units are not in it",
                where=path, mend="make it with train_lm --kind ngram --units-from the recogniser",
            )  # fmt: skip
        unknown = [word for word in unknown if word != UNKNOWN]
        if unknown:
            logger.warning(
                "%s: no %s among its words, so it takes %d of the %d units for unknown ones",
                path, " ".join(unknown[:5]), len(unknown), len(self._words),
            )  # fmt: skip
        self._scores: dict[tuple[int, ...], NDArray[np.float64]] = {}

    def initial(self, utts: torch.Tensor) -> list[tuple[int, ...]]:
        """Nothing read yet. What the batch before read is forgotten, lest memory grow with the set."""
        self._scores.clear()
        return [()] * len(utts)

    def step(
        self, state: list[tuple[int, ...]], classes: torch.Tensor, utts: torch.Tensor
    ) -> tuple[torch.Tensor, list[tuple[int, ...]]]:
        """Read one class (N,) per hypothesis; natural log probabilities of the next (N, C)."""
        order = self._model.order
        rows = zip(state, classes.tolist(), strict=True)
        histories = [(*row, number)[-max(1, order - 1) :] for row, number in rows]
        scores = np.stack([self._after(history) for history in histories])
        return torch.from_numpy(scores).to(classes.device), histories

    def select(self, state: list[tuple[int, ...]], rows: torch.Tensor) -> list[tuple[int, ...]]:
        """Rows of the state."""
        return [state[row] for row in rows.tolist()]

    def _after(self, history: tuple[int, ...]) -> NDArray[np.float64]:
        found = self._scores.get(history)
        if found is None:
            state, after = self._state(), self._state()
            end = len(self._words) - 1
            words = history
            if history[0] == end:  # the class of the sentence's end also stands before its first unit
                self._model.BeginSentenceWrite(state)
                words = history[1:]
            else:
                self._model.NullContextWrite(state)
            for number in words:
                self._model.BaseScore(state, self._words[number], after)
                state, after = after, state
            scores = [self._model.BaseScore(state, word, after) * _LOG10 for word in self._words]
            found = self._scores[history] = np.array(scores)
        return found


def _require_counts(path: Path) -> None:
    """Refuse an ARPA file whose numbers of n-grams cannot be: kenlm takes memory for them, or crashes."""
    with path.open("rb") as stream:
        line = stream.readline(100)
        if line.strip() != b"\\data\\":
            return  # kenlm's own format, or none
        while not line.startswith(b"\\1-grams:"):
            line = stream.readline(100)
            found = _COUNT.fullmatch(line.strip())
            if line.startswith(b"ngram") and not (found and int(found[1]) <= path.stat().st_size):
                raise InputError(f"a number of n-grams that cannot be: {line!r}", where=path)
            if not line:
                raise InputError("no n-grams", where=path)


def ngram_sentences(texts: Iterable[str], tokenizer: Tokenizer) -> list[list[str]]:
    """Sentences as the names of their units."""
    return [[tokenizer.units[number] for number in tokenizer.encode(text)] for text in texts]


def ngram_file(path: str | Path) -> Path:
    """The n-gram file that a path means: itself, or the one that train_lm left in an experiment."""
    return Path(path) / ARPA if Path(path).is_dir() else Path(path)


def is_ngram(path: str | Path) -> bool:
    """Whether a language model is an n-gram rather than an LSTM's experiment.

    Raises:
        InputError: there is nothing.
    """
    if not Path(path).exists():
        raise InputError("no such language model", where=path)
    return ngram_file(path).is_file() and not (Path(path) / INFO).exists()
