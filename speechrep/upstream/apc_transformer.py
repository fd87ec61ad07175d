"""Transformer APC: causal self-attention layers that predict the frame n steps ahead.

Chung and Glass, "Generative pre-training for speech with autoregressive predictive coding", ICASSP 2020.
"""

from dataclasses import dataclass

import torch
from torch import nn

from speechrep.config import at_least, opt
from speechrep.data.padded import zero_padding
from speechrep.io.feature_meta import FeatureMeta
from speechrep.upstream.predictive import Predictive
from speechrep.upstream.transformer import ACTIVATIONS, Embedding, TransformerConfig, bert_init


@dataclass(frozen=True)
class ApcTransformerConfig(TransformerConfig):
    """Options of :class:`ApcTransformer`."""

    hidden_size: int = opt(512, "width H")
    num_layers: int = opt(4, "Transformer layers")
    num_heads: int = opt(8, "attention heads")
    ffn_size: int = opt(2048, "width of the feed-forward networks")
    activation: str = opt("relu", "activation function", choices=sorted(ACTIVATIONS))
    layer_norm_eps: float = opt(1e-5, "epsilon of layer normalisation")
    time_shift: int = opt(3, "how many frames ahead to predict")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "time_shift")


class ApcTransformer(Predictive):
    """As :class:`speechrep.upstream.apc.Apc`, with attention to all earlier frames in place of recurrence."""

    name = "apc_transformer"
    config_class = ApcTransformerConfig

    def __init__(self, config: ApcTransformerConfig, meta: FeatureMeta):
        super().__init__(config, meta)
        self.input = Embedding(meta.dim, config)
        self.layers = config.layers()
        self.postnet = nn.Linear(config.hidden_size, meta.dim)
        for module in self.modules():
            bert_init(module, config.init_std)

    def parts_to_compile(self) -> list[torch.nn.Module]:
        """Every layer."""
        return list(self.layers)

    def hidden_states(self, feats: torch.Tensor, feat_lens: torch.Tensor | None) -> list[torch.Tensor]:
        """(B, T, H) of every layer. No valid frame sees padding, which comes after it."""
        hidden = self.input(zero_padding(feats, feat_lens))
        hiddens = []
        for layer in self.layers:
            hidden = layer(hidden, causal=True)
            hiddens.append(hidden)
        return hiddens
