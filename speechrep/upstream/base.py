"""What every upstream is: features in, one hidden vector per frame and layer out."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch

from speechrep.config import require_choices
from speechrep.data.padded import valid_mask
from speechrep.errors import InputError
from speechrep.io.audio import read_audio
from speechrep.io.feature_meta import FeatureMeta
from speechrep.upstream.waveform import LongFeatures, ReadSamples, features, open_file, open_samples

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclasses.dataclass
class Output:
    """What a model makes of a batch."""

    hiddens: list[torch.Tensor]
    """(B, T', D) per layer, first to last; 0 on padding. T' = T // (down-sampling rate)."""
    hidden_lens: torch.Tensor
    """(B,) int64, valid frames of T'."""
    frame_shift_ms: float
    """From one of the T' frames to the next."""


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode in the block; then every part is in the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class Upstream(torch.nn.Module):
    """Base of all upstreams.

    Args:
        config: the model's options, an instance of :attr:`config_class`.
        meta: the features it takes.
    """

    name: ClassVar[str]
    config_class: ClassVar[type]
    downsample: int = 1
    weights_sha256: str = ""
    """Of the file it was loaded from; "" for a model that was not loaded."""
    cmvn_stats: np.ndarray | None = None
    """Of global normalisation, if the features have it: float64 (2, F + 1), for :meth:`extract`."""
    about: Mapping[str, Any] = MappingProxyType({})
    """What else its file tells of the weights: from where, of which step."""

    licence: str = ""
    """Of the weights, as the card beside its file tells; "" if it does not."""

    def __init__(self, config: Any, meta: FeatureMeta):
        super().__init__()
        require_choices(config)
        self.config, self.meta = config, meta

    def hidden_states(self, feats: torch.Tensor, feat_lens: torch.Tensor | None) -> list[torch.Tensor]:
        """Hidden vectors of every layer, (B, T', D) each; on padding they may be anything.

        Args:
            feats: (B, T, F).
            feat_lens: (B,) int64, or None where no frame is padding.
        """
        raise NotImplementedError

    def pretrain_loss(
        self, feats: torch.Tensor, feat_lens: torch.Tensor | None, targets: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """The summed loss and the sums that are reported with it, ``weight`` among them.

        Args:
            feats: (B, T, F).
            feat_lens: (B,) int64, or None where no frame is padding.
            targets: (B, T, F2) other features to predict, for models that can; None for ``feats`` itself.
        """
        raise InputError(f"{self.name} has nothing to train", mend="--max-steps 0")

    def training_loss(
        self, feats: torch.Tensor, feat_lens: torch.Tensor | None = None, targets: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """:meth:`pretrain_loss` for training of one's own: what is given is checked as in :meth:`forward`.

        The weight is 0 where nothing of a batch is long enough to learn from.

        Raises:
            InputError: shapes or lengths do not fit the model, or targets the batch.
        """
        checked, lens = self._checked(feats, feat_lens)
        dim = getattr(self, "target_dim", self.meta.dim)
        shape = checked.shape if targets is None else targets.shape
        if shape != (*checked.shape[:2], dim):
            want = f"want ({checked.shape[0]}, {checked.shape[1]}, {dim})"
            what = "feats, without targets," if targets is None else "targets"
            raise InputError(f"{what} has shape {tuple(shape)}", where=self.name, mend=want)
        return self.pretrain_loss(checked, None if feat_lens is None else lens, targets)

    def parts_to_compile(self) -> list[torch.nn.Module]:
        """The modules worth torch.compile: layers of one shape, not the paths of the data around them."""
        return []

    def shortest(self) -> int:
        """The least number of frames that the model has an answer to."""
        return 1

    def shortest_trained(self) -> int:
        """The least number of frames of an utterance of which something can be learned."""
        return self.shortest()

    def forward(self, feats: torch.Tensor, feat_lens: torch.Tensor | None = None) -> Output:
        """Represent a batch.

        Args:
            feats: (B, T, F) of any float type; what follows an utterance's end does not matter.
            feat_lens: (B,) int64 frames; None where every utterance has T.

        Raises:
            InputError: the shape does not fit the model.
        """
        feats, feat_lens = self._checked(feats, feat_lens)
        hidden_lens = feat_lens // self.downsample
        hiddens = self.hidden_states(feats, feat_lens)
        mask = valid_mask(hidden_lens, hiddens[0].shape[1])[..., None]
        return Output(
            [hidden.masked_fill(~mask, 0.0) for hidden in hiddens],
            hidden_lens,
            self.meta.frame_shift_ms * self.downsample,
        )

    def reps(
        self,
        feats: torch.Tensor,
        feat_lens: torch.Tensor | None = None,
        all_layers: bool = False,
        tile: bool = True,
    ) -> torch.Tensor:
        """Representations as one tensor.

        Args:
            feats: (B, T, F).
            feat_lens: (B,) int64, or None where every utterance has T.
            all_layers: (B, L, T', D) of all layers instead of (B, T', D) of the last.
            tile: repeat each vector of a down-sampling model, so that T' is r * (T // r), not T // r.
        """
        hiddens = self(feats, feat_lens).hiddens
        chosen = torch.stack(hiddens, dim=1) if all_layers else hiddens[-1]
        return chosen.repeat_interleave(self.downsample, dim=-2) if tile and self.downsample > 1 else chosen

    @property
    def device(self) -> torch.device:
        """Where the weights are; the CPU for a model without any."""
        return next(self.parameters(), torch.zeros(())).device

    @torch.no_grad()
    def layer_dims(self) -> list[int]:
        """D of every layer of the output, found by trying."""
        with evaluating(self):
            hiddens = self(self._batch(np.zeros((self.downsample, self.meta.dim), np.float32))).hiddens
        return [hidden.shape[-1] for hidden in hiddens]

    def extract(self, samples: np.ndarray, sample_rate: int) -> Output:
        """Represent a waveform, through the model's own stored feature configuration.

        Args:
            samples: float (N,) in [-1, 1], one channel.
            sample_rate: Hz.

        Returns:
            A batch of one.
        """
        return self(self._features(samples, sample_rate, "samples"))

    def extract_file(self, path: str | os.PathLike[str], channel: int | None = None) -> Output:
        """Represent an audio file.

        Args:
            path: the file.
            channel: of several, from 0.
        """
        return self(self._features(*read_audio(path, channel=channel), path))

    def stream(
        self, samples: np.ndarray, sample_rate: int, window: int = 1000, margin: int = 250
    ) -> Iterator[Output]:
        """Represent a long waveform piece by piece, holding one piece in memory.

        The pieces put together have the frames of :meth:`extract`. A recurrent model (APC) gives exactly its
        vectors; one that attends (Mockingjay, Transformer APC) sees ``margin`` frames on each side of a
        piece, and positions count from there.

        Args:
            samples: float (N,) in [-1, 1]; an hour at 16 kHz has 230 MB, or none as a ``numpy.memmap``.
            sample_rate: Hz.
            window: frames of a piece; a multiple of the down-sampling rate is made of it.
            margin: frames seen but not given on each side, likewise; 0 and more.
        """
        return self._pieces(open_samples(samples), len(samples), sample_rate, "samples", window, margin)

    def stream_file(
        self, path: str | os.PathLike[str], window: int = 1000, margin: int = 250, channel: int | None = None
    ) -> Iterator[Output]:
        """As :meth:`stream`, for a file of any length: it is read piece by piece; ``channel`` of several."""
        return self._pieces(*open_file(path, channel), path, window, margin)

    def _pieces(
        self, read: ReadSamples, num_samples: int, rate: int, where: object, window: int, margin: int
    ) -> Iterator[Output]:
        feats = LongFeatures(read, num_samples, rate, self.meta, self.cmvn_stats, where)
        self._require_a_vector(feats.num_frames, where)
        return self._stream(feats, max(1, window), margin)

    def _stream(self, feats: LongFeatures, window: int, margin: int) -> Iterator[Output]:
        r, T = self.downsample, feats.num_frames
        window, margin = (window // r or 1) * r, max(0, margin) // r * r
        for start in range(0, T // r * r, window):
            first, end = max(0, start - margin), min(T, start + window)
            output = self(self._batch(feats.read(first, min(T, end + margin))))
            keep = slice((start - first) // r, (end - first) // r)
            pieces = [hidden[:, keep] for hidden in output.hiddens]
            yield Output(pieces, torch.tensor([pieces[0].shape[1]]), output.frame_shift_ms)

    def _features(self, samples: np.ndarray, sample_rate: int, where: object) -> torch.Tensor:
        feats = features(samples, sample_rate, self.meta, self.cmvn_stats, where)
        self._require_a_vector(len(feats), where)
        return self._batch(feats)

    def _require_a_vector(self, num_frames: int, where: object) -> None:
        if num_frames < self.downsample:
            raise InputError(
                f"{num_frames} frames give no vector, which joins {self.downsample}", where=where
            )

    def _batch(self, feats: np.ndarray) -> torch.Tensor:
        """(T, F) to (1, T, F) as the model's weights are: on their device, of their type."""
        return torch.from_numpy(feats)[None].to(next(self.parameters(), torch.zeros(())))

    def _checked(
        self, feats: torch.Tensor, feat_lens: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch of the weights' type, and its lengths."""
        if not isinstance(feats, torch.Tensor):
            raise InputError(f"feats is a {type(feats).__name__}, want a torch.Tensor", where=self.name)
        if not feats.is_floating_point():
            raise InputError(f"feats is {feats.dtype}", where=self.name, mend="want torch.float32")
        if feats.ndim != 3 or feats.shape[-1] != self.meta.dim or not feats.numel():
            want = (
                f"want (B, T, {self.meta.dim}), {self.meta.feature} frames of {self.meta.frame_shift_ms} ms"
            )
            raise InputError(f"feats has shape {tuple(feats.shape)}", where=self.name, mend=want)
        B, T, _ = feats.shape
        feats = feats.to(next(self.parameters(), feats).dtype)  # numpy's are float64 as a rule
        if feat_lens is None:
            return feats, torch.full((B,), T, device=feats.device)
        try:
            feat_lens = torch.as_tensor(feat_lens)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"feat_lens: {error}", where=self.name, mend=f"want int64 ({B},)") from None
        if feat_lens.shape != (B,) or feat_lens.dtype not in _INTEGERS:
            shape, dtype = tuple(feat_lens.shape), feat_lens.dtype
            raise InputError(f"feat_lens is {dtype} {shape}", where=self.name, mend=f"want int64 ({B},)")
        least, most = int(feat_lens.min()), int(feat_lens.max())
        if least < 0 or most > T:
            raise InputError(f"feat_lens has {least if least < 0 else most} of {T} frames", where=self.name)
        return feats, feat_lens.to(feats.device, torch.int64)
