"""S3PRL's states of Mockingjay, TERA, AALBERT and APC, in and out.

Transformers: ``{Transformer, SpecHead, Upstream_Config: {transformer, task, audio}, Config, ...}``, in older
files with the upstream's configuration under ``Config``.
APC: ``{model, config: {model: {paras}, data: {audio}}, ...}``.
"""

import reprlib
from typing import Any

from speechrep.compat import apc, mockingjay
from speechrep.compat.foreign import Foreign, number, section, whole_number
from speechrep.compat.keys import Row, tensors, to_theirs
from speechrep.errors import InputError
from speechrep.upstream.apc import Apc
from speechrep.upstream.mockingjay import Mockingjay

_STFT = {"sample_rate": 16000, "win_ms": 25, "hop_ms": 10, "n_freq": 201, "target_level": -25}
_CHANNEL = {"log": True, "delta": 0, "cmvn": True}
# What S3PRL's configuration of the audio says where features are a preset's, as far as it says something.
USUAL: dict[str, dict[str, Any]] = {
    "s3-mel80": _STFT | {"n_mels": 80, "input": {"feat_type": "mel"} | _CHANNEL},
    "s3-linear201": _STFT | {"input": {"feat_type": "linear"} | _CHANNEL},
    "s3-fbank240": {
        "kaldi": {
            "feat_type": "fbank", "fbank": {"frame_length": 25.0, "frame_shift": 10.0, "num_mel_bins": 80}
        },
        "delta": {"order": 2, "win_length": 5},
        "cmvn": {"use_cmvn": True},
    },
    "fmllr40": {"input": {"feat_type": "fmllr"}},
    "s3-apc80": {
        "feat_type": "fbank", "feat_dim": 80, "frame_length": 25, "frame_shift": 10, "cmvn": True
    },
}  # fmt: skip
APC_TABLE = (
    *(
        Row(f"rnn_layers.{{i}}.{name}", f"rnns.{{i}}.{name}")
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    ),
    Row("postnet.weight", "postnet.weight"),
    Row("postnet.bias", "postnet.bias"),
)


def read(tree: Any, where: object) -> Foreign:
    """What the file holds, checked; see :class:`Foreign`."""
    if isinstance(tree, dict) and "Transformer" in tree:
        return _read_transformer(tree, where)
    if isinstance(tree, dict) and "model" in tree and "config" in tree:
        return _read_apc(tree, where)
    found = sorted(map(str, tree)) if isinstance(tree, dict) else type(tree).__name__
    raise InputError(
        f"it has neither Transformer nor model and config (found: {found})",
        where=where,
        mend="is it the kind of file that --from says?",
    )


def _read_transformer(tree: dict[str, Any], where: object) -> Foreign:
    old = isinstance(tree.get("Config"), dict) and "transformer" in tree["Config"]
    name = "Config" if old else "Upstream_Config"
    config = section(tree, name, "transformer", where=where)
    if config.get("pre_layer_norm"):
        raise InputError("pre_layer_norm is on: our Mockingjay normalises after each sub-layer", where=where)
    rate = whole_number(config, "downsample_rate", where, 1)
    state, has_head = mockingjay.encoder_state(tree, "Transformer", where)
    options, input_dim = mockingjay.encoder_options(state, "Transformer", config, rate, where)
    task = section(tree, name, where=where).get("task")
    task = task if isinstance(task, dict) else {}
    options |= mockingjay.masking(task, "mask_consecutive_min", where)
    length = task.get("sequence_length", 0)
    audio = section(tree, name, where=where).get("audio")
    preset, notes = _preset(input_dim, audio if isinstance(audio, dict) else {})
    notes += mockingjay.unlike_masking(task)
    notes += [] if has_head else [mockingjay.NO_HEAD]
    if config.get("share_layer"):
        notes.append("its layers share their weights; ours are equal copies, which training would pull apart")
    return Foreign(
        "mockingjay", options, input_dim, state, mockingjay.table("Transformer"),
        preset, has_head, length if isinstance(length, int) else 0, tuple(notes),
    )  # fmt: skip


def _preset(input_dim: int, audio: dict[str, Any]) -> tuple[str, list[str]]:
    """The features that an encoder of this width has by S3PRL's usual settings, unless it had others."""
    presets = {80: "s3-mel80", 201: "s3-linear201", 40: "fmllr40"}
    preset = ({240: "s3-fbank240"} if "kaldi" in audio else presets).get(input_dim, "")
    other = _unusual(USUAL[preset], audio) if preset else []
    return ("", [f"its features are not {preset}: {'; '.join(other)}"]) if other else (preset, [])


def _unusual(usual: dict[str, Any], given: Any) -> list[str]:
    """The settings that are given and are others than usual."""
    found = []
    for key, value in usual.items() if isinstance(given, dict) else ():
        if key in given and isinstance(value, dict):
            found += _unusual(value, given[key])
        elif key in given and given[key] != value:
            found.append(f"{key} {reprlib.repr(given[key])}, not {value!r}")
    return found


def _read_apc(tree: dict[str, Any], where: object) -> Foreign:
    paras = section(tree, "config", "model", "paras", where=where)
    if paras.get("vq"):
        raise InputError("it is a VQ-APC: our APC has no vector quantisation", where=where)
    state = tensors(tree["model"], "model", where)
    options, input_dim = apc.gru_options(state, "rnn_layers", where)
    for key in ("num_layers", "hidden_size"):
        if whole_number(paras, key, where) != options[key]:
            raise InputError(
                f"its configuration says {key} {paras[key]}, its weights have {options[key]}", where=where
            )
    residual = paras.get("residual")
    if not isinstance(residual, bool):
        raise InputError(
            f"its configuration has residual {reprlib.repr(residual)}, want true or false", where=where
        )
    task = tree["config"].get("task")
    shift = whole_number(task if isinstance(task, dict) else {}, "n_future", where, 5)
    options |= {
        "residual": "inner" if residual else "none", "time_shift": shift,
        "dropout": number(paras, "dropout", where, 0.0),
    }  # fmt: skip
    data = tree["config"].get("data")
    audio = data.get("audio") if isinstance(data, dict) else None
    audio = audio if isinstance(audio, dict) else {}
    other = _unusual(USUAL["s3-apc80"], audio)
    fits = "feat_type" in audio and input_dim == 80 and not other
    return Foreign(
        "apc", options, input_dim, state, APC_TABLE, "s3-apc80" if fits else "",
        notes=(f"its features are not s3-apc80: {'; '.join(other)}",) if other else (),
    )  # fmt: skip


def write_transformer(
    model: Mockingjay, has_head: bool, step: int, preset: str, sequence_length: int
) -> tuple[dict[str, Any], list[str]]:
    """The content of a Mockingjay file, and what its users should know.

    Raises:
        InputError: the model computes something that S3PRL's cannot.
    """
    if model.downsample != 1:
        raise InputError(
            f"the model stacks {model.downsample} frames, which S3PRL's Mockingjay cannot", where="the model"
        )
    config = mockingjay.transformer_config(model)
    config |= {"share_layer": False, "pre_layer_norm": False, "input_dim": model.meta.dim}
    task = {
        "sequence_length": sequence_length, "position_encoding_size": model.config.hidden_size,
        "mask_proportion": model.config.mask_share, "mask_consecutive_min": model.config.mask_span,
        "mask_consecutive_max": model.config.mask_span, "mask_allow_overlap": False,
        "mask_bucket_ratio": 1.5, "mask_frequency": 0.0, "noise_proportion": 0.0,
    }  # fmt: skip
    upstream: dict[str, Any] = {"transformer": config, "task": task}
    notes = mockingjay.window_notes(model)
    if preset in ("s3-mel80", "s3-linear201"):
        usual = USUAL[preset]
        target = {"feat_type": "mel" if model.target_dim == 80 else "linear"} | _CHANNEL
        upstream["audio"] = {"n_mels": 80, "n_mfcc": 13} | usual | {
            "input": usual["input"] | {"channel": 0}, "target": target | {"channel": 0},
        }  # fmt: skip
    elif preset == "s3-fbank240":
        upstream["audio"] = USUAL[preset]
    else:
        notes.append(foreign_features(model.meta.feature, model.meta.dim))
    content: dict[str, Any] = dict(mockingjay.parts(model, "Transformer", has_head))
    return content | {"Config": {}, "Upstream_Config": upstream, "Step": step}, notes


def write_apc(model: Apc, step: int, preset: str) -> tuple[dict[str, Any], list[str]]:
    """The content of an APC file, and what its users should know.

    Raises:
        InputError: the model computes something that S3PRL's cannot.
    """
    config = model.config
    if config.prenet_layers:
        raise InputError(f"it has {config.prenet_layers} pre-net layers, S3PRL's APC none", where="the model")
    if config.num_layers != 3:
        raise InputError(
            f"it has {config.num_layers} layers; S3PRL's APC gives the hidden states of exactly 3",
            where="the model",
        )
    residual = apc.equivalent_residual(model, ("inner", "none"), "S3PRL adds it in all layers but the first")
    notes = []
    audio = USUAL["s3-apc80"] | {"decode_wav": False}
    if preset != "s3-apc80":
        # A kind that S3PRL does not know, so that it stops instead of feeding the model other features.
        audio |= {"feat_type": f"speechrep-{model.meta.feature}", "feat_dim": model.meta.dim}
        notes.append(foreign_features(model.meta.feature, model.meta.dim))
    if config.dropout:
        notes.append("in training S3PRL also applies dropout after the last layer")
    weights = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    content = {
        "model": dict(to_theirs(weights, APC_TABLE, "the model")),
        "config": {
            "model": {"paras": {"num_layers": 3, "hidden_size": config.hidden_size, "dropout": config.dropout,
                                "residual": residual == "inner"}},
            "data": {"audio": audio}, "task": {"n_future": config.time_shift},
        },
        "Upstream_Config": {}, "Step": step,
    }  # fmt: skip
    return content, notes


def foreign_features(feature: str, dim: int) -> str:
    """What to tell where S3PRL cannot make the features a model was trained on."""
    return (
        f"S3PRL cannot make this model's features ({feature}, {dim} values) from audio: give it features, "
        "or use our S3PRL upstream (docs/checkpoints.md)"
    )
