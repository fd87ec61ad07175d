"""What lies behind an error rate: alignments, speakers and confusions, laid out as Kaldi's reports.

These follow the alignment of ``align-text``, so their split into insertions, deletions and substitutions
can differ from ``%WER``'s; their totals do not (see :mod:`speechrep.score.edit`).
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from speechrep.errors import InputError

GAP = "***"

Pairs = list[tuple[str | None, str | None]]
"""An alignment: reference and hypothesis unit, None for a gap."""


def operation(ref: str | None, hyp: str | None) -> str:
    """C correct, S substitution, I insertion, D deletion."""
    if ref is None:
        return "I"
    if hyp is None:
        return "D"
    return "C" if ref == hyp else "S"


def count_operations(pairs: Pairs) -> NDArray[np.int64]:
    """(4,): correct, substitutions, insertions, deletions."""
    counts = Counter(operation(*pair) for pair in pairs)
    return np.array([counts[key] for key in "CSID"], np.int64)


def per_utterance(alignments: Mapping[str, Pairs]) -> str:
    """``per_utt``: the lines ref, hyp, op and #csid of every utterance, columns aligned."""
    lines = []
    for utt_id, pairs in alignments.items():
        rows = [
            [GAP if ref is None else ref for ref, _ in pairs],
            [GAP if hyp is None else hyp for _, hyp in pairs],
            [operation(*pair) for pair in pairs],
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(pairs))]
        for name, row in zip(("ref", "hyp", "op"), rows, strict=True):
            cells = "".join(f"  {cell:<{width}}" for cell, width in zip(row, widths, strict=True))
            lines.append(f"{utt_id} {name:<3}{cells}".rstrip(" "))
        lines.append(f"{utt_id} #csid {' '.join(map(str, count_operations(pairs)))}")
    return "".join(f"{line}\n" for line in lines)


def per_speaker(alignments: Mapping[str, Pairs], utt2spk: Mapping[str, str], where: object) -> str:
    """``per_spk``: counts (raw) and percentages (sys) of every speaker, and of all.

    Args:
        alignments: utterance to alignment.
        utt2spk: utterance to speaker.
        where: its file, for messages.
    """
    sums: dict[str, NDArray[np.int64]] = {}
    for utt_id, pairs in alignments.items():
        if utt_id not in utt2spk:
            raise InputError(f"no speaker for utterance {utt_id}", where=where)
        counts = count_operations(pairs)  # correct, substitutions, insertions, deletions
        ref_units, errors = counts[0] + counts[1] + counts[3], counts[1:].sum()
        row = np.array([1, ref_units, *counts, errors, int(errors > 0)])
        speaker = utt2spk[utt_id]
        sums[speaker] = sums.get(speaker, np.zeros(8, np.int64)) + row
    names = ["SPEAKER", "id", "#SENT", "#WORD", "Corr", "Sub", "Ins", "Del", "Err", "S.Err"]
    rows = [names]
    for speaker, sum_ in [*sorted(sums.items()), ("SUM", np.sum(list(sums.values()), axis=0))]:
        rows.append([speaker, "raw", *map(str, sum_)])
        per_word = [f"{100 * value / max(1, sum_[1]):.2f}" for value in sum_[2:7]]
        rows.append([speaker, "sys", *map(str, sum_[:2]), *per_word, f"{100 * sum_[7] / sum_[0]:.2f}"])
    width = max(len(row[0]) for row in rows)
    return "".join(
        f"{row[0]:<{width}} {row[1]:<3}" + "".join(f"{c:>9}" for c in row[2:]) + "\n" for row in rows
    )


def operations(alignments: Mapping[str, Pairs]) -> str:
    """``ops``: every kind of error and correct unit with its count, most frequent first."""
    names = {"S": "substitution", "D": "deletion", "I": "insertion", "C": "correct"}
    counts = Counter(pair for pairs in alignments.values() for pair in pairs)
    lines = []
    for key, name in names.items():
        kind = [(pair, count) for pair, count in counts.items() if operation(*pair) == key]
        kind.sort(key=lambda item: (-item[1], item[0][0] or "", item[0][1] or ""))
        for (ref, hyp), count in kind:
            lines.append(
                f"{name:<12}  {GAP if ref is None else ref}  {GAP if hyp is None else hyp}  {count}\n"
            )
    return "".join(lines)
