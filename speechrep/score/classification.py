"""Accuracy of labels, one or many per utterance."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from speechrep.errors import InputError

IGNORED = "-"  # a reference label that is not scored


class Counts(NamedTuple):
    """Correct and scored labels per utterance, (N,) int64, in the order of the reference."""

    correct: NDArray[np.int64]
    scored: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Correct labels per 100 scored ones."""
        return 100.0 * float(self.correct.sum()) / float(self.scored.sum())


def require_same_utts(
    refs: Mapping[str, str], hyps: Mapping[str, str], ref_where: object, hyp_where: object
) -> None:
    """Refuse references and hypotheses one of which lacks an utterance of the other."""
    for utt_ids, others, where in ((refs, hyps, hyp_where), (hyps, refs, ref_where)):
        missing = [utt_id for utt_id in utt_ids if utt_id not in others]
        if missing:
            raise InputError(f"no utterance {missing[0]}, {len(missing)} missing in all", where=where)


def count_correct(
    refs: Mapping[str, str], hyps: Mapping[str, str], ref_where: object, hyp_where: object
) -> Counts:
    """Compare labels position by position.

    Args:
        refs, hyps: utterance to labels parted by blanks; as many in both. ``-`` in a reference is skipped.
        ref_where, hyp_where: their files, for messages.

    Raises:
        InputError: an utterance is in one of them only, the numbers of labels differ, or nothing to score.
    """
    require_same_utts(refs, hyps, ref_where, hyp_where)
    correct, scored = [], []
    for utt_id, ref in refs.items():
        ref_labels, hyp_labels = ref.split(), hyps[utt_id].split()
        if len(ref_labels) != len(hyp_labels):
            raise InputError(
                f"{utt_id}: {len(hyp_labels)} labels, but {len(ref_labels)} in {ref_where}", where=hyp_where
            )
        pairs = [pair for pair in zip(ref_labels, hyp_labels, strict=True) if pair[0] != IGNORED]
        correct.append(sum(ref == hyp for ref, hyp in pairs))
        scored.append(len(pairs))
    counts = Counts(np.array(correct, np.int64), np.array(scored, np.int64))
    if not counts.scored.sum():
        raise InputError("no label to score", where=ref_where)
    return counts
