"""Where the features of a set come from."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np

from speechrep.errors import InputError
from speechrep.frontend.base import FrontEnd
from speechrep.io.audio import Wavs, archive_of


class FeatureSource(Protocol):
    """Features by utterance, not yet normalised."""

    utt_ids: list[str]
    """The utterances, in the order of the data directory."""

    def identity(self, utt_id: str) -> list[object]:
        """Plain values that change when what lies under the utterance changes."""

    def read(self, utt_id: str) -> np.ndarray:
        """Features float32 (T, D); an InputError tells why there are none."""


class AudioSource:
    """Features made from audio.

    Args:
        wavs: the utterances.
        frontend: what makes the features.
        min_duration_s: an utterance that is shorter is refused.
        warps: utterance to vocal tract length warp factor, where it is not the front end's own.
    """

    def __init__(
        self,
        wavs: Wavs,
        frontend: FrontEnd,
        min_duration_s: float = 0.0,
        warps: Mapping[str, float] | None = None,
    ):
        self.wavs, self.frontend, self.min_duration_s = wavs, frontend, min_duration_s
        self.utt_ids = wavs.utt_ids
        self._warps = warps or {}
        self._warped: dict[float, FrontEnd] = {}

    def identity(self, utt_id: str) -> list[object]:
        """See :class:`FeatureSource`."""
        path, segment = self.wavs.source(utt_id)
        warp = self._warps.get(utt_id)
        return [utt_id, path, segment.start_s, segment.end_s, warp, *file_identity(path)]

    def read(self, utt_id: str) -> np.ndarray:
        """See :class:`FeatureSource`."""
        samples, rate = self.wavs.read(utt_id)
        if len(samples) < self.min_duration_s * rate:
            what = f"lasts {len(samples) / rate:.3f} s, less than --min-duration {self.min_duration_s}"
        else:
            try:
                feats = self._frontend_of(utt_id)(samples, rate)
                if np.isfinite(feats).all():
                    return feats
                what = "its features are not finite (the logarithm of silence, where nothing is added to it?)"
            except InputError as error:
                what = f"{error.what} ({error.mend})" if error.mend else error.what
        raise InputError(f"utterance {utt_id!r}: {what}", where=self.wavs.source(utt_id)[0])

    def _frontend_of(self, utt_id: str) -> FrontEnd:
        warp = self._warps.get(utt_id)
        if warp is None:
            return self.frontend
        if warp not in self._warped:
            self._warped[warp] = type(self.frontend)(replace(self.frontend.config, vtln_warp=warp))
        return self._warped[warp]


def file_identity(path: str) -> list[object]:
    """Size and time of a file, or of the archive of ``archive:offset``, as far as there is one."""
    try:
        place = archive_of(path)
        found = os.stat(place[0] if place else path)
    except (OSError, ValueError):  # a command, or nothing
        return []
    return [found.st_size, found.st_mtime_ns]
