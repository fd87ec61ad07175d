"""Transformer encoder parts: post-norm layers as in BERT, on torch's fused attention."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from speechrep.config import at_least, opt, require_dropout, require_finite
from speechrep.errors import InputError
from speechrep.upstream.attention import Valid, attend

ACTIVATIONS = {"gelu": nn.functional.gelu, "relu": nn.functional.relu, "swish": nn.functional.silu}


@dataclass(frozen=True)
class TransformerConfig:
    """Size and regularisation of a stack of layers; the defaults are BERT's base width."""

    hidden_size: int = opt(768, "width H")
    num_layers: int = opt(3, "Transformer layers")
    num_heads: int = opt(12, "attention heads")
    ffn_size: int = opt(3072, "width of the feed-forward networks")
    activation: str = opt("gelu", "activation function", choices=sorted(ACTIVATIONS))
    dropout: float = opt(0.1, "dropout of embeddings and sub-layer outputs")
    attention_dropout: float = opt(0.1, "dropout of attention weights; 0 is faster on a CPU")
    layer_norm_eps: float = opt(1e-12, "epsilon of layer normalisation")
    init_std: float = opt(0.02, "standard deviation of initial weights")

    def __post_init__(self) -> None:
        at_least(1, self, "hidden_size", "num_layers", "num_heads", "ffn_size")
        at_least(0, self, "layer_norm_eps", "init_std")
        require_finite(self, "layer_norm_eps", "init_std")
        require_dropout(self, "dropout", "attention_dropout")
        if self.hidden_size % self.num_heads:
            raise InputError(f"hidden-size {self.hidden_size} is no multiple of num-heads {self.num_heads}")

    def layers(self) -> nn.ModuleList:
        """The stack, untrained."""
        return nn.ModuleList(
            TransformerLayer(
                self.hidden_size, self.num_heads, self.ffn_size, self.activation, self.dropout,
                self.attention_dropout, self.layer_norm_eps,
            )
            for _ in range(self.num_layers)
        )  # fmt: skip


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward network, each added to its input and normalised after.

    Args:
        hidden_size: H.
        num_heads: attention heads; divides H.
        ffn_size: width of the feed-forward network.
        activation: a key of :data:`ACTIVATIONS`.
        dropout: on both outputs.
        attention_dropout: on attention weights; 0 allows the fast kernels of a CPU.
        layer_norm_eps: epsilon of the normalisations.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        ffn_size: int,
        activation: str,
        dropout: float,
        attention_dropout: float,
        layer_norm_eps: float,
    ):
        super().__init__()
        H = hidden_size
        self.num_heads, self.dropout, self.attention_dropout = num_heads, dropout, attention_dropout
        self.activation = ACTIVATIONS[activation]
        self.attn = nn.ModuleDict({name: nn.Linear(H, H) for name in ("q", "k", "v", "out")})
        self.norm1 = nn.LayerNorm(H, layer_norm_eps)
        self.ffn = nn.ModuleDict({"in": nn.Linear(H, ffn_size), "out": nn.Linear(ffn_size, H)})
        self.norm2 = nn.LayerNorm(H, layer_norm_eps)

    def forward(
        self,
        hidden: torch.Tensor,
        valid: Valid | None = None,
        causal: bool = False,
        places: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(B, T, H) to (B, T, H), or to (B, M, H) at some places.

        Args:
            hidden: (B, T, H).
            valid: the frames that may be attended to; None for all.
            causal: whether a frame sees only itself and earlier ones; excludes ``valid`` and ``places``.
            places: (B, M) int64, the only frames whose output is wanted; what they attend to stays the same.
        """
        low = in_autocast(hidden)  # once, not for each of the three and back
        wanted = hidden if places is None else take(hidden, places)
        q, k, v = self._heads("q", in_autocast(wanted)), self._heads("k", low), self._heads("v", low)
        dropout = self.attention_dropout if self.training else 0.0
        context = self.attn["out"](attend(q, k, v, valid, dropout, causal).flatten(2))
        hidden = self.norm1(self._drop(context) + wanted)
        inner = self.ffn["out"](self.activation(self.ffn["in"](hidden)))
        return self.norm2(self._drop(inner) + hidden)

    def attention(self, hidden: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The attention weights (B, heads, T, T) of this layer's input, for looking at; rows sum to 1.

        Args:
            hidden: (B, T, H).
            mask: bool, of a shape that spreads to the weights', False where a frame may not look.
        """
        q, k = (self._heads(name, hidden).transpose(1, 2) for name in ("q", "k"))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(-1)

    def _heads(self, name: str, hidden: torch.Tensor) -> torch.Tensor:
        """(B, T, H) projected to (B, T, heads, H / heads)."""
        return self.attn[name](hidden).unflatten(-1, (self.num_heads, -1))

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x, self.dropout, self.training)


class Embedding(nn.Module):
    """The first layer's input: projected frames and their positions, normalised.

    Args:
        input_dim: F.
        config: of the layers that follow; H is its width.
    """

    def __init__(self, input_dim: int, config: TransformerConfig):
        super().__init__()
        self.proj = nn.Linear(input_dim, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.positions = Positions(config.hidden_size)
        self.dropout = config.dropout

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, T, F) to (B, T, H)."""
        places = self.positions(frames.shape[1], like=self.norm.weight)
        return nn.functional.dropout(self.norm(self.proj(frames) + places), self.dropout, self.training)


def in_autocast(frames: torch.Tensor) -> torch.Tensor:
    """Frames in the number format that autocast computes products in, where it is on."""
    kind = frames.device.type
    on = kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind)  # "meta" has no autocast to ask for
    # which leaves float64 as it is
    return frames.to(torch.get_autocast_dtype(kind)) if on and frames.dtype != torch.float64 else frames


def take(frames: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """(B, T, D) at (B, M) to (B, M, D)."""
    return frames.gather(1, places[..., None].expand(-1, -1, frames.shape[-1]))


def sinusoids(T: int, H: int) -> torch.Tensor:
    """Position table (T, H): sines of even columns, cosines of odd, wavelengths from 2 pi to 20000 pi."""
    column = torch.arange(H, dtype=torch.float64)
    angle = torch.arange(T, dtype=torch.float64)[:, None] / 10000 ** (2 * (column // 2) / H)
    return torch.where(column.long() % 2 == 0, angle.sin(), angle.cos()).float()


class Positions(nn.Module):
    """The position table, made once and lengthened when a longer batch comes.

    It is no buffer: copies of a model (in processes, or as a running mean) have seen other lengths, and what
    brings their buffers into line would mix the tables. Nor may it be rounded with the weights.

    Args:
        hidden_size: H.
        make: the table (T, H), float32, given both.
    """

    def __init__(self, hidden_size: int, make: Callable[[int, int], torch.Tensor] = sinusoids):
        super().__init__()
        self.make = make
        self.table = torch.empty(0, hidden_size, device="cpu")  # float32, also where a model is only outlined

    def forward(self, T: int, like: torch.Tensor) -> torch.Tensor:
        """(T, H), of the type of ``like`` and on its device."""
        table = self.table  # threads may share the model: another may put a shorter one here meanwhile
        if len(table) < T or table.device != like.device:
            table = self.make(max(T, 2 * len(table)), table.shape[1]).to(like.device)
            self.table = table
        return table[:T].to(like.dtype)


def bert_init(module: nn.Module, std: float) -> None:
    """Weights of linear layers from N(0, std), biases 0; for ``Module.apply``."""
    # Of weights without memory torch would draw nothing, but load its compiler for it.
    if isinstance(module, nn.Linear) and not module.weight.is_meta:
        nn.init.normal_(module.weight, std=std)
        nn.init.zeros_(module.bias)
