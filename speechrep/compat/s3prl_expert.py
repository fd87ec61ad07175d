"""Our models as S3PRL upstreams: a list of waveforms in, ``hidden_states`` out.

S3PRL finds upstreams by a ``hubconf`` module with functions that return an expert; ours is the repository's
``hubconf.py``. No code of S3PRL is needed or imported: the two methods below are what its tasks call.
"""

import dataclasses
import math
import os

import torch

from speechrep.compat.convert import load_any
from speechrep.errors import InputError
from speechrep.upstream.mockingjay import Mockingjay
from speechrep.upstream.waveform import features

SAMPLE_RATE = 16000
"""Of all audio in S3PRL, Hz."""


class UpstreamExpert(torch.nn.Module):
    """An upstream with S3PRL's interface.

    Its hidden states are those of S3PRL's own experts: of a Mockingjay N + 1, the first layer's input and N
    outputs; of an APC one per layer.

    Args:
        ckpt: an experiment directory of ours, its ``model.safetensors``, or another project's checkpoint.
        sequence_length: encode longer batches in equal pieces of at most so many frames, each on its own, as
            S3PRL's Mockingjay and TERA do; 0 never, -1 as an imported checkpoint says.
    """

    def __init__(self, ckpt: str | os.PathLike[str], sequence_length: int = -1):
        super().__init__()
        model = load_any(ckpt)
        stored = model.about.get("imported", {}).get("sequence_length", 0)
        if model.meta.sample_rate != SAMPLE_RATE:
            raise InputError(f"made for {model.meta.sample_rate} Hz, S3PRL has {SAMPLE_RATE} Hz", where=ckpt)
        if isinstance(model, Mockingjay):
            model.config = dataclasses.replace(model.config, embedding_layer=True)
        self.model = model.requires_grad_(True)  # S3PRL decides whether an upstream is trained
        self.sequence_length = stored if sequence_length < 0 else sequence_length

    def get_downsample_rates(self, key: str = "hidden_states") -> int:
        """Samples from one hidden vector to the next, the same for every key."""
        return round(self.model.meta.frame_shift_ms * self.model.downsample * SAMPLE_RATE / 1000)

    def forward(self, wavs: list[torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, ...]]:
        """Represent waveforms.

        Args:
            wavs: one tensor (N,) in [-1, 1] at 16 kHz per utterance.

        Returns:
            ``hidden_states``, a tuple of (B, T, D) that are 0 after an utterance's end;
            ``last_hidden_state``; ``hidden_state_0``, ``hidden_state_1`` and so on.
        """
        if not wavs:
            raise InputError("no waveforms", where="the batch")
        model, device, feats = self.model, self.model.device, []
        for index, wav in enumerate(wavs):
            samples = wav.detach().cpu().numpy()
            made = features(samples, SAMPLE_RATE, model.meta, model.cmvn_stats, f"waveform {index}")
            feats.append(torch.from_numpy(made))
        lens = torch.tensor([len(one) for one in feats], device=device)
        batch = torch.nn.utils.rnn.pad_sequence(feats, batch_first=True).to(device)
        hiddens = self._hiddens(batch, lens)
        result: dict[str, torch.Tensor | tuple[torch.Tensor, ...]] = {
            "hidden_states": tuple(hiddens), "last_hidden_state": hiddens[-1]
        }  # fmt: skip
        return result | {f"hidden_state_{layer}": hidden for layer, hidden in enumerate(hiddens)}

    def _hiddens(self, feats: torch.Tensor, lens: torch.Tensor) -> list[torch.Tensor]:
        T = feats.shape[1]
        if not self.sequence_length or self.sequence_length >= T:
            return self.model(feats, lens).hiddens
        pieces, start = [], 0
        for piece in feats.chunk(math.ceil(T / self.sequence_length), dim=1):
            size = piece.shape[1]
            pieces.append(self.model(piece, (lens - start).clamp(0, size)).hiddens)
            start += size
        return [torch.cat(layer, dim=1) for layer in zip(*pieces, strict=True)]


def speechrep_local(
    ckpt: str, model_config: str | None = None, refresh: bool = False, sequence_length: int = -1
) -> UpstreamExpert:
    """The expert of a local checkpoint, with the arguments that S3PRL gives.

    Args:
        ckpt: see :class:`UpstreamExpert`.
        model_config: must be None: a checkpoint of ours holds its configuration.
        refresh: without meaning; nothing is downloaded.
        sequence_length: see :class:`UpstreamExpert`.
    """
    if model_config:
        raise InputError("a model of ours holds its configuration; give no model_config", where=model_config)
    return UpstreamExpert(ckpt, sequence_length)
