"""What the first implementations of Mockingjay and APC do in training and extraction, written plainly.

Only for comparison: utterances masked one by one in Python, the position table rebuilt for every batch,
batches of a fixed number of utterances, attention as explicit matrices, GRU sequences packed, an Adam that
goes parameter by parameter, fp32 throughout.
"""

import math
import random

import numpy as np
import torch
from torch import nn


def plain_mask(feats: np.ndarray, lens: list[int], hidden_size: int) -> tuple[torch.Tensor, ...]:
    """Masked inputs, targets, loss mask, attention mask and positions of a padded batch (B, T, F)."""
    B, T, _ = feats.shape
    inputs, chosen, attend = feats.copy(), np.zeros((B, T), bool), np.zeros((B, T), np.float32)
    for i, length in enumerate(lens):
        attend[i, :length] = 1
        starts = random.sample(range(length - 7), int(length * 0.15 // 7))
        dice = random.random()
        for start in starts:
            for t in range(start, start + 7):
                if dice < 0.8:
                    inputs[i, t] = 0
                elif dice < 0.9:
                    inputs[i, t] = feats[i, random.randrange(length)]
                chosen[i, t] = True
    positions = np.repeat(plain_positions(T, hidden_size)[None], B, 0) * attend[..., None]
    return tuple(torch.from_numpy(x) for x in (inputs, feats, chosen, attend, positions))


def plain_positions(T: int, hidden_size: int) -> np.ndarray:
    """The position table (T, H), made anew, a function call per value."""

    def angle(t: int, j: int) -> float:
        return t / np.power(10000, 2 * (j // 2) / hidden_size)

    table = np.array([[angle(t, j) for j in range(hidden_size)] for t in range(T)])
    table[:, 0::2], table[:, 1::2] = np.sin(table[:, 0::2]), np.cos(table[:, 1::2])
    return table.astype(np.float32)


class PlainNorm(nn.Module):
    """Layer normalisation step by step, as on a machine without a fused kernel for it."""

    def __init__(self, hidden_size: int):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(make(hidden_size)) for make in (torch.ones, torch.zeros))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(-1, keepdim=True)
        variance = (x - mean).pow(2).mean(-1, keepdim=True)
        return self.weight * ((x - mean) / torch.sqrt(variance + 1e-12)) + self.bias


class PlainLayer(nn.Module):
    """A BERT layer with its attention matrices written out."""

    def __init__(self, hidden_size: int, num_heads: int, ffn_size: int):
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value, self.output = (
            nn.Linear(hidden_size, hidden_size) for _ in range(4)
        )
        self.inner, self.outer = nn.Linear(hidden_size, ffn_size), nn.Linear(ffn_size, hidden_size)
        self.norms = nn.ModuleList(PlainNorm(hidden_size) for _ in range(2))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        B, T, H = x.shape
        q, k, v = (
            f(x).view(B, T, self.num_heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(H // self.num_heads) + bias
        context = (self.dropout(scores.softmax(-1)) @ v).transpose(1, 2).reshape(B, T, H)
        x = self.norms[0](self.dropout(self.output(context)) + x)
        inner = self.inner(x)
        inner = inner * 0.5 * (1.0 + torch.erf(inner / math.sqrt(2.0)))
        return self.norms[1](self.dropout(self.outer(inner)) + x)


class PlainMockingjay(nn.Module):
    """BASE: 3 layers, the head on every frame."""

    def __init__(self, dim: int, hidden_size: int = 768, num_layers: int = 3):
        super().__init__()
        H = hidden_size
        self.input, self.norm, self.dropout = nn.Linear(dim, H), PlainNorm(H), nn.Dropout(0.1)
        self.layers = nn.ModuleList(PlainLayer(H, 12, 3072) for _ in range(num_layers))
        self.head = nn.Sequential(nn.Linear(H, H), nn.GELU(), PlainNorm(H), nn.Linear(H, dim))

    def forward(self, x: torch.Tensor, positions: torch.Tensor, attend: torch.Tensor) -> torch.Tensor:
        return self.head(self.hiddens(x, positions, attend)[-1])

    def hiddens(self, x: torch.Tensor, positions: torch.Tensor, attend: torch.Tensor) -> list[torch.Tensor]:
        """Every layer's output."""
        bias, outputs = (1.0 - attend[:, None, None]) * -10000.0, []
        x = self.dropout(self.norm(self.input(x) + positions))
        for layer in self.layers:
            x = layer(x, bias)
            outputs.append(x)
        return outputs

    def take_weights(self, ours: nn.Module) -> None:
        """The weights of one of our models of the same size."""
        theirs = {"input": "input.proj", "norm": "input.norm"}
        for i in range(len(self.layers)):
            parts = {
                "query": "attn.q", "key": "attn.k", "value": "attn.v", "output": "attn.out",
                "inner": "ffn.in", "outer": "ffn.out", "norms.0": "norm1", "norms.1": "norm2",
            }  # fmt: skip
            theirs |= {f"layers.{i}.{own}": f"layers.{i}.{their}" for own, their in parts.items()}
        theirs |= {"head.0": "head.dense", "head.2": "head.norm", "head.3": "head.out"}
        weights = ours.state_dict()
        self.load_state_dict({f"{own}.{kind}": weights[f"{their}.{kind}"]
                              for own, their in theirs.items() for kind in ("weight", "bias")})  # fmt: skip


@torch.no_grad()
def plain_extract(model: PlainMockingjay, feats: np.ndarray) -> torch.Tensor:
    """All layers (L, T, H) of one utterance (T, F): its length told by its zeros, its table built for it."""
    length = int(np.sum(np.sum(feats, -1) != 0))
    attend = np.zeros((1, len(feats)), np.float32)
    attend[:, :length] = 1
    positions = plain_positions(len(feats), 768)[None] * attend[..., None]
    x, positions, attend = (torch.from_numpy(value) for value in (feats[None], positions, attend))
    return torch.cat(model.hiddens(x, positions, attend))


class PlainApc(nn.Module):
    """Packed GRU layers, packed and unpacked around every layer."""

    def __init__(self, dim: int, hidden_size: int = 512, num_layers: int = 3):
        super().__init__()
        self.rnns = nn.ModuleList(
            nn.GRU(hidden_size if i else dim, hidden_size, batch_first=True) for i in range(num_layers)
        )
        self.out = nn.Conv1d(hidden_size, dim, 1)

    def forward(self, x: torch.Tensor, lens: list[int]) -> torch.Tensor:
        T = x.shape[1]
        for rnn in self.rnns:
            packed = nn.utils.rnn.pack_padded_sequence(x, lens, batch_first=True)
            y, _ = nn.utils.rnn.pad_packed_sequence(rnn(packed)[0], batch_first=True, total_length=T)
            x = y + x if y.shape == x.shape else y
        return self.out(x.transpose(1, 2)).transpose(1, 2)


class PlainAdam:
    """Adam, one parameter and one operation after the other."""

    def __init__(self, params: list[nn.Parameter], lr: float = 1e-4):
        self.params, self.lr = params, lr
        self.m = [torch.zeros_like(p) for p in params]
        self.v = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def step(self) -> None:
        nn.utils.clip_grad_norm_(self.params, 1.0, foreach=False)
        for p, m, v in zip(self.params, self.m, self.v, strict=True):
            nn.utils.clip_grad_norm_([p], 1.0, foreach=False)
            m.mul_(0.9).add_(p.grad, alpha=0.1)
            v.mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
            p.add_(m / (v.sqrt() + 1e-6) + 0.01 * p, alpha=-self.lr)
            p.grad = None


def plain_step(name: str, model: nn.Module, optimizer: PlainAdam, utts: list[np.ndarray]) -> float:
    """One training step on utterances (T_i, F), longest first, data preparation included."""
    device = next(model.parameters()).device
    lens = [len(utt) for utt in utts]
    width = max(lens)
    feats = np.stack([np.pad(utt, ((0, width - len(utt)), (0, 0))) for utt in utts])
    if name == "apc":
        x = torch.from_numpy(feats).to(device)
        loss = (model(x[:, :-3], [length - 3 for length in lens]) - x[:, 3:]).abs().mean()
    else:
        inputs, targets, chosen, attend, positions = (x.to(device) for x in plain_mask(feats, lens, 768))
        chosen = chosen[..., None].expand_as(targets)
        prediction = model(inputs, positions, attend)
        loss = (prediction.masked_select(chosen) - targets.masked_select(chosen)).abs().mean()
    loss.backward()
    optimizer.step()
    return loss.item()
