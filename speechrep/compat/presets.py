"""The features that published checkpoints were made for, by name.

A preset is stored with an imported model and compared whenever the model meets features. Sources: the
Mockingjay, APC and S3PRL repositories' feature code; ``docs/checkpoints.md`` tells each one's recipe.
"""

from typing import Any

from speechrep.config import to_dict
from speechrep.data.identity import require_equal
from speechrep.errors import InputError
from speechrep.frontend.ready import ReadyConfig
from speechrep.frontend.registry import FRONTENDS
from speechrep.io.feature_meta import FeatureMeta

_KALDI80 = {"num_mel_bins": 80, "window_type": "hamming"}
_DELTAS80 = {"num_mel_bins": 80, "delta_order": 2, "delta_chained": True}
# torchaudio gives its Kaldi features samples in [-1, 1]; S3PRL normalises with the deviation over T - 1
_S3 = {"sample_scale": 1.0, "unit_norm": "sample"}
_25MS = {"frame_length": 25.0, "frame_shift": 10.0, "fft_length": 400}
_S3_STFT = _25MS | {"target_level": -25.0, "log_offset": 1e-10, "unit_norm": "sample"}
# name: (front end, the options that differ from its defaults, CMVN when reading, whether it divides)
_PRESETS: dict[str, tuple[str, dict[str, Any], str, bool]] = {
    "mj-mel160": ("mel", {"delta_order": 1}, "utterance", True),
    "mj-linear1025": ("linear", {"preemphasis_coefficient": 0.97}, "utterance", True),
    "mj-fbank160": ("mel", _25MS | {"delta_order": 1}, "utterance", True),
    "apc-kaldi80": ("fbank", _KALDI80, "speaker", False),
    "s3-apc80": ("fbank", _KALDI80 | _S3, "none", True),
    "s3-fbank240": ("fbank", _DELTAS80 | _S3, "none", True),
    "s3-mel80": ("mel", {"mel_scale": "htk", "mel_norm": "none"} | _S3_STFT, "none", True),
    "s3-linear201": ("linear", {"scale": "log"} | _S3_STFT, "none", True),
}
PRESETS = (*_PRESETS, "fmllr40")


def preset_meta(name: str) -> FeatureMeta:
    """The features of a preset.

    Raises:
        InputError: there is no such preset.
    """
    if name == "fmllr40":  # comes from a recogniser, not from audio alone
        return FeatureMeta("kaldi", ReadyConfig(kind="fmllr").identity(), 40, 10.0, 16000)
    if name not in _PRESETS:
        raise InputError(f"no preset {name!r}; known are {', '.join(PRESETS)}")
    feature, options, cmvn, norm_vars = _PRESETS[name]
    config_class, frontend_class = FRONTENDS[feature]
    config = config_class(**options)
    made = frontend_class(config)
    return FeatureMeta(
        feature, to_dict(config), made.dim, made.frame_shift_ms, made.sample_rate, cmvn, norm_vars
    )


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
