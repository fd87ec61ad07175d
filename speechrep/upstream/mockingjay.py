"""Mockingjay: a Transformer encoder that reconstructs masked runs of frames from both sides.

Liu, Yang, Chi, Hsu and Lee, "Mockingjay: unsupervised speech representation learning with deep bidirectional
Transformer encoders", ICASSP 2020.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from speechrep.config import at_least, opt
from speechrep.data.padded import stack_frames, zero_padding
from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta
from speechrep.upstream.attention import valid_frames
from speechrep.upstream.base import Upstream
from speechrep.upstream.masking import Masked, least_original, mask_batch
from speechrep.upstream.transformer import ACTIVATIONS, Embedding, TransformerConfig, bert_init, take
from speechrep.upstream.windows import encode_in_windows


@dataclass(frozen=True)
class MockingjayConfig(TransformerConfig):
    """Options of :class:`Mockingjay`; the defaults are the paper's BASE."""

    downsample: int = opt(1, "frames stacked into one position")
    embedding_layer: bool = opt(False, "give the first layer's input as hidden layer 0, as S3PRL does")
    window: int = opt(
        0, "represent longer inputs in overlapping windows of so many positions, as trained on; 0 for whole"
    )
    target_dim: int = opt(0, "dimension of the features to reconstruct, 0 for that of the input")
    mask_share: float = opt(0.15, "share of positions to mask")
    mask_span: int = opt(7, "length of a masked run, in positions")
    mask_starts: str = opt(
        "separate",
        "runs that never overlap, or drawn as the original implementation did",
        choices=("separate", "original"),
    )
    lens_from: str = opt(
        "given",
        "where an utterance ends in training: as given, or, as in the original implementation, after as many "
        "positions as have a target whose sum is not 0",
        choices=("given", "nonzero"),
    )
    loss_on: str = opt(
        "masked",
        "positions in the loss: all masked ones, or the first of each run as in the original implementation",
        choices=("masked", "starts"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "downsample", "mask_span")
        at_least(0, self, "target_dim")
        if not 0 < self.mask_share <= 1:
            raise InputError(f"mask-share is {self.mask_share}, want more than 0 and at most 1")
        if self.window < 0 or self.window == 1:
            raise InputError(f"window is {self.window}, want 0 or at least 2")


class Mockingjay(Upstream):
    """A BERT encoder on frames.

    With ``downsample`` r, r consecutive frames make one position; the T % r frames that are left over at the
    end are dropped, from the hidden vectors too. The hidden vectors are the outputs of the N layers, with
    ``embedding_layer`` after the input of the first.
    """

    name = "mockingjay"
    config_class = MockingjayConfig

    def __init__(self, config: MockingjayConfig, meta: FeatureMeta):
        super().__init__(config, meta)
        self.downsample = config.downsample
        H, r = config.hidden_size, config.downsample
        self.target_dim = config.target_dim or meta.dim
        self.input = Embedding(meta.dim * r, config)
        self.layers = config.layers()
        self.head = nn.ModuleDict(
            {
                "dense": nn.Linear(H, H),
                "norm": nn.LayerNorm(H, config.layer_norm_eps),
                "out": nn.Linear(H, self.target_dim * r),
            }
        )
        for parameter_owner in self.modules():
            bert_init(parameter_owner, config.init_std)

    def shortest(self) -> int:
        """Two positions: one to mask, one to see."""
        return 2 * self.downsample

    def shortest_trained(self) -> int:
        """Of the original's runs, what is long enough for one."""
        if self.config.mask_starts != "original":
            return self.shortest()
        return self.downsample * least_original(self.config.mask_share, self.config.mask_span)

    def parts_to_compile(self) -> list[torch.nn.Module]:
        """Every layer."""
        return list(self.layers)

    def hidden_states(self, feats: torch.Tensor, feat_lens: torch.Tensor | None) -> list[torch.Tensor]:
        """(B, T // r, H) of every layer."""
        stacked = self.stack(feats)
        lens = None if feat_lens is None else feat_lens // self.downsample
        B, T, _ = stacked.shape
        if 0 < self.config.window < T:
            lens = torch.full((B,), T, device=feats.device) if lens is None else lens
            return encode_in_windows(self.encode, stacked, lens, self.config.window)
        return self.encode(stacked, lens)

    def stack(self, feats: torch.Tensor) -> torch.Tensor:
        """(B, T, F) to (B, T // r, r F): consecutive frames side by side."""
        return stack_frames(feats, self.downsample)

    def encode(
        self, stacked: torch.Tensor, lens: torch.Tensor | None, places: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """(B, T', H) of every layer, from stacked frames; None for ``lens`` where nothing is padding.

        With ``places`` (B, M) the last layer's output is (B, M, H), at these positions only.
        """
        valid = None
        if lens is not None:
            head_size = self.config.hidden_size // self.config.num_heads
            valid = valid_frames(lens, stacked.shape[1], head_size)
        hidden = self.input(zero_padding(stacked, lens))
        hiddens = [hidden] if self.config.embedding_layer else []
        for n, layer in enumerate(self.layers, start=1):
            hidden = layer(hidden, valid, places=places if n == len(self.layers) else None)
            hiddens.append(hidden)
        return hiddens

    def reconstruct(self, hidden: torch.Tensor) -> torch.Tensor:
        """The prediction head: the last layer (..., H) to frames (..., r target_dim)."""
        inner = ACTIVATIONS[self.config.activation](self.head["dense"](hidden))
        return self.head["out"](self.head["norm"](inner))

    def mask(self, stacked: torch.Tensor, lens: torch.Tensor) -> Masked:
        """A masked copy of a batch, drawn with the device's global random generator."""
        config = self.config
        return mask_batch(
            stacked,
            lens,
            config.mask_share,
            config.mask_span,
            original=config.mask_starts == "original",
            starts_only=config.loss_on == "starts",
        )

    def pretrain_loss(
        self, feats: torch.Tensor, feat_lens: torch.Tensor | None, targets: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """L1 on masked positions, mean over the r F values of a position, summed over positions.

        Also ``zero``, the same loss of predicting zeros: for normalised features, of knowing nothing.
        """
        stacked = self.stack(feats)
        aims = stacked if targets is None else self.stack(targets)
        B, T, _ = stacked.shape
        if T == 0:
            return self.head["out"].bias.sum() * 0, {"weight": 0.0, "zero": 0.0}
        lens = None if feat_lens is None else feat_lens // self.downsample
        if self.config.lens_from == "nonzero":
            lens = nonzero_lens(zero_padding(aims, lens))
        masked = self.mask(stacked, torch.full((B,), T, device=feats.device) if lens is None else lens)
        # the last layer and the head run on the chosen positions only; their number per utterance is bounded,
        # so no step waits for the device to count them: (B, M), the chosen first, the others are not summed
        places = masked.chosen.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices
        places = places[:, : masked.most]
        chosen = masked.chosen.gather(1, places)
        prediction = self.reconstruct(self.encode(masked.inputs, lens, places)[-1]).float()
        aim = take(aims, places).masked_fill(~chosen[..., None], 0.0)
        error = (prediction - aim).abs().mean(-1).masked_fill(~chosen, 0.0)
        return error.sum(), {"weight": chosen.sum(), "zero": aim.abs().mean(-1).sum()}


def nonzero_lens(stacked: torch.Tensor) -> torch.Tensor:
    """(B,) the number of positions whose sum is not 0: the original's way to tell padding. It also counts out
    silence inside an utterance, so give lengths where you have them."""
    return (stacked.sum(-1) != 0).sum(1)
