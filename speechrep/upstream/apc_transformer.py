"""Transformer APC: causal self-attention layers that predict the frame n steps ahead.

Chung and Glass, "Generative pre-training for speech with autoregressive predictive coding", ICASSP 2020.
"""

from dataclasses import dataclass

import torch
from torch import nn

from speechrep.config import opt
from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta
from speechrep.upstream.base import valid_mask
from speechrep.upstream.predictive import Predictive
from speechrep.upstream.transformer import ACTIVATIONS, Positions, TransformerLayer, bert_init


@dataclass(frozen=True)
class ApcTransformerConfig:
    """Options of :class:`ApcTransformer`."""

    hidden_size: int = opt(512, "width H")
    num_layers: int = opt(4, "Transformer layers")
    num_heads: int = opt(8, "attention heads")
    ffn_size: int = opt(2048, "width of the feed-forward networks")
    activation: str = opt("relu", "activation function", choices=sorted(ACTIVATIONS))
    dropout: float = opt(0.1, "dropout of embeddings and sub-layer outputs")
    attention_dropout: float = opt(0.1, "dropout of attention weights; 0 is faster on a CPU")
    layer_norm_eps: float = opt(1e-5, "epsilon of layer normalisation")
    init_std: float = opt(0.02, "standard deviation of initial weights")
    time_shift: int = opt(3, "how many frames ahead to predict")

    def __post_init__(self) -> None:
        for name in ("hidden_size", "num_layers", "num_heads", "ffn_size", "time_shift"):
            if getattr(self, name) < 1:
                raise InputError(f"{name.replace('_', '-')} is {getattr(self, name)}, want at least 1")
        if self.hidden_size % self.num_heads:
            raise InputError(f"hidden-size {self.hidden_size} is no multiple of num-heads {self.num_heads}")


class ApcTransformer(Predictive):
    """As :class:`speechrep.upstream.apc.Apc`, with attention to all earlier frames in place of recurrence."""

    name = "apc_transformer"
    config_class = ApcTransformerConfig

    def __init__(self, config: ApcTransformerConfig, meta: FeatureMeta):
        super().__init__(config, meta)
        H = config.hidden_size
        self.input = nn.ModuleDict(
            {"proj": nn.Linear(meta.dim, H), "norm": nn.LayerNorm(H, config.layer_norm_eps)}
        )
        self.positions = Positions(H)
        self.layers = nn.ModuleList(
            TransformerLayer(
                H,
                config.num_heads,
                config.ffn_size,
                config.activation,
                config.dropout,
                config.attention_dropout,
                config.layer_norm_eps,
            )
            for _ in range(config.num_layers)
        )
        self.postnet = nn.Linear(H, meta.dim)
        for module in self.modules():
            bert_init(module, config.init_std)

    def parts_to_compile(self) -> list[torch.nn.Module]:
        """Every layer."""
        return list(self.layers)

    def hidden_states(self, feats: torch.Tensor, feat_lens: torch.Tensor | None) -> list[torch.Tensor]:
        """(B, T, H) of every layer. No valid frame sees padding, which comes after it."""
        T = feats.shape[1]
        if feat_lens is not None:  # not even NaN may reach a valid frame through 0 * NaN
            feats = feats.masked_fill(~valid_mask(feat_lens, T)[..., None], 0.0)
        hidden = self.input["norm"](self.input["proj"](feats) + self.positions(T))
        hidden = nn.functional.dropout(hidden, self.config.dropout, self.training)
        hiddens = []
        for layer in self.layers:
            hidden = layer(hidden, causal=True)
            hiddens.append(hidden)
        return hiddens
