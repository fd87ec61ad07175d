"""One label per frame from labels in seconds, matched by time at any frame rate.

The rule: a frame carries the label that holds at the centre of its window. Kaldi's frame ``i`` (snip-edges)
lies at ``i * shift`` to ``i * shift + length``, its centre at ``i * shift + length / 2``; a centred frame's
(``mel``, ``linear``) is ``i * shift``. A representation that joins r frames has its centre in the middle of
theirs.

Recognisers write times as frame numbers times 10 ms, though frame i's centre lies 12.5 ms after that time:
their label cell ``[10 i, 10 i + 10)`` ms holds true around ``10 i + 12.5``. Such alignments are known by
their times, all multiples of 10 ms, and moved by 7.5 ms; ``label-offset-ms`` sets another offset. Leaving
this out costs 6 to 7 points of agreement with the recogniser's own frame labels (measured).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from speechrep.errors import InputError
from speechrep.io.alignment import Interval
from speechrep.io.feature_meta import FeatureMeta

IGNORE = -1  # a frame without a label
MAX_APART = 3  # frames by which labels and features may end apart
MAX_APART_S = 0.03  # and at any frame shift: recognisers leave out up to a window at the end
RECOGNISER_STEP_MS, RECOGNISER_OFFSET_MS = 10.0, 7.5


def frame_times_s(meta: FeatureMeta, num_frames: int) -> NDArray[np.float64]:
    """(T,) the centres of the windows of T frames, in seconds."""
    shift = float(meta.config.get("frame_shift", meta.frame_shift_ms))  # of the acoustic features
    joined = round(meta.frame_shift_ms / shift)  # acoustic frames per frame
    first = window_centre_ms(meta) + (joined - 1) / 2 * shift
    return (first + meta.frame_shift_ms * np.arange(num_frames)) / 1000


def window_centre_ms(meta: FeatureMeta) -> float:
    """The centre of the first acoustic frame's window, in ms from the start of the audio."""
    if "snip_edges" not in meta.config and meta.feature != "kaldi":
        return 0.0  # centred frames
    if not meta.config.get("snip_edges", True):
        return float(meta.config["frame_shift"]) / 2
    return float(meta.config.get("frame_length", 25.0)) / 2


def offset_ms(alignments: Mapping[str, Sequence[Interval]], option: str, where: object) -> float:
    """What to add to the alignments' times: the number in ``option``, or for ``auto`` the rule above."""
    if option != "auto":
        try:
            return float(option)
        except ValueError:
            raise InputError(f"label-offset-ms is {option!r}, want auto or a number", where=where) from None
    steps = np.array([end_s for intervals in alignments.values() for _, end_s, _ in intervals[:-1]])
    steps *= 1000 / RECOGNISER_STEP_MS
    in_steps = len(steps) > 0 and np.abs(steps - np.round(steps)).max() < 1e-3
    return RECOGNISER_OFFSET_MS if in_steps else 0.0


def label_frames(
    intervals: Sequence[Interval],
    ids: Mapping[str, int],
    times_s: NDArray,
    where: object,
    offset_ms: float = 0,
) -> NDArray[np.int64]:
    """The label ids of frames.

    Args:
        intervals: in order, not overlapping; a gap between them has no label.
        ids: label to id; :data:`IGNORE` for labels to leave out.
        times_s: (T,) centres of the frames.
        where: file and utterance, for messages.
        offset_ms: added to the intervals' times.

    Returns:
        (T,) ids, :data:`IGNORE` where a frame has none.

    Raises:
        InputError: a label not in ``ids``, or labels and features that end more than three frames, and more
            than 30 ms, apart: they belong to different audio, or one of their frame shifts is not what it is
            said to be.
    """
    unknown = next((label for _, _, label in intervals if label not in ids), None)
    if unknown is not None:
        some = ", ".join(sorted(ids)[:50]) + (", ..." if len(ids) > 50 else "")
        raise InputError(f"label {unknown!r} is not one of the {len(ids)} known: {some}", where=where)
    if not intervals or not len(times_s):
        raise InputError("no labels" if len(times_s) else "no frames", where=where)
    starts = np.array([start_s for start_s, _, _ in intervals]) + offset_ms / 1000
    ends = np.array([end_s for _, end_s, _ in intervals]) + offset_ms / 1000
    shift_s = times_s[1] - times_s[0] if len(times_s) > 1 else 0.01
    # The audio goes on behind the last centre for as long as before the first, or up to a frame longer.
    apart_s = max(times_s[-1] - ends[-1], ends[-1] - (times_s[-1] + times_s[0] + shift_s))
    if apart_s > max(MAX_APART * shift_s, MAX_APART_S) + 1e-6:
        raise InputError(
            f"labels end at {ends[-1]:.3f} s but the {len(times_s)} frames of {1000 * shift_s:g} ms at "
            f"{times_s[-1]:.3f} s, {apart_s / shift_s:.1f} frames apart",
            where=where,
            mend="labels and features must be of the same audio, silence too, with the right frame shift",
        )  # fmt: skip
    # A boundary on a frame's centre goes to the later label, whatever the rounding of its decimals.
    row = np.searchsorted(starts, times_s + 1e-6, side="right") - 1
    inside = (row >= 0) & (times_s + 1e-6 < ends[row])
    names = np.array([ids[label] for _, _, label in intervals], np.int64)
    return np.where(inside, names[row], IGNORE)
