"""The features that published checkpoints were made for, by name.

A preset is stored with an imported model and compared whenever the model meets features. Sources: the
Mockingjay, APC and S3PRL repositories' feature code; ``docs/checkpoints.md`` tells each one's recipe.
"""

from typing import Any

from speechrep.config import to_dict
from speechrep.errors import InputError
from speechrep.frontend.registry import FRONTENDS
from speechrep.io.feature_meta import FeatureMeta, require_equal

_HAMMING80 = {"num_mel_bins": 80, "window_type": "hamming"}
_DELTAS80 = {"num_mel_bins": 80, "delta_order": 2}
_UNSCALED = {"sample_scale": 1.0}  # samples in [-1, 1], as torchaudio gives them to its Kaldi features
# name: (front end, the options that differ from its defaults, dimension, shift in ms, CMVN, its variance)
_PRESETS: dict[str, tuple[str, dict[str, Any], int, float, str, bool]] = {
    "mj-mel160": ("mel", {}, 160, 12.5, "utterance", True),
    "mj-linear1025": ("linear", {}, 1025, 12.5, "utterance", True),
    "mj-fbank160": ("mel", {}, 160, 10.0, "utterance", True),
    "apc-kaldi80": ("fbank", _HAMMING80 | {"htk_compat": True}, 80, 10.0, "speaker", False),
    "s3-apc80": ("fbank", _HAMMING80 | _UNSCALED, 80, 10.0, "utterance", True),
    "s3-fbank240": ("fbank", _DELTAS80 | _UNSCALED, 240, 10.0, "utterance", True),
    "s3-mel80": ("mel", {}, 80, 10.0, "utterance", True),
    "s3-linear201": ("linear", {}, 201, 10.0, "utterance", True),
    "fmllr40": ("kaldi", {}, 40, 10.0, "none", False),
}  # fmt: skip
PRESETS = tuple(_PRESETS)


def preset_meta(name: str) -> FeatureMeta:
    """The features of a preset.

    Raises:
        InputError: there is no such preset.
    """
    if name not in _PRESETS:
        raise InputError(f"no preset {name!r}; known are {', '.join(PRESETS)}")
    feature, options, dim, shift, cmvn, norm_vars = _PRESETS[name]
    config = to_dict(FRONTENDS[feature][0](**options)) if feature in FRONTENDS else {}
    return FeatureMeta(feature, config, dim, shift, 16000, cmvn, norm_vars)


def preset_name(meta: FeatureMeta) -> str:
    """The preset that features belong to, "" if none."""
    for name in PRESETS:
        try:
            require_equal(preset_meta(name).acoustic(), meta.acoustic(), "", "")
        except InputError:
            continue
        return name
    return ""


def unknown_meta(dim: int) -> FeatureMeta:
    """What stands for features that nobody named; no features equal it, so none are taken by accident."""
    return FeatureMeta("unknown", {}, dim, 0.0, 16000)
