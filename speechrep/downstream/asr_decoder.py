"""The attention decoder: an LSTM that spells units one by one while looking at the encoder's frames.

Its classes are the text units without the blank, then the end of the sentence: class ``k`` is unit
``k + 1``, and the end, which also stands before the first unit, is class and embedding ``C - 1`` for C
units with the blank.
"""

from typing import NamedTuple

import torch
from torch import nn

from speechrep.data.padded import valid_mask
from speechrep.downstream.asr_attention import DotAttention, LocationAttention, Memory
from speechrep.downstream.asr_config import AsrConfig


class State(NamedTuple):
    """The decoder after some units; row n belongs to hypothesis n."""

    hidden: torch.Tensor  # (N, layers, H)
    cell: torch.Tensor  # (N, layers, H)
    context: torch.Tensor  # (N, D)
    weights: torch.Tensor  # (N, T') attention of the last step

    def select(self, rows: torch.Tensor) -> "State":
        """Rows (M,) of this state, in that order, possibly repeated."""
        return State(*(part[rows] for part in self))


class AttentionDecoder(nn.Module):
    """LSTM decoder with attention.

    Args:
        config: the recogniser's options.
        num_units: C, blank included; also the number of classes.
        encoder_dim: D.
    """

    def __init__(self, config: AsrConfig, num_units: int, encoder_dim: int):
        super().__init__()
        hidden, layers = config.decoder_hidden_size, config.decoder_layers
        self.hidden, self.end = hidden, num_units - 1
        self.embedding = nn.Embedding(num_units, config.embedding)
        inputs = [config.embedding + encoder_dim, *[hidden] * (layers - 1)]
        self.cells = nn.ModuleList(nn.LSTMCell(dim, hidden) for dim in inputs)
        self.attention: DotAttention | LocationAttention = (
            DotAttention(encoder_dim, hidden, config.attention_dim)
            if config.attention == "dot"
            else LocationAttention(
                encoder_dim, hidden, config.attention_dim, config.location_channels, config.location_width,
                config.sharpening,
            )
        )  # fmt: skip
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(hidden + encoder_dim, num_units)

    def memory(self, hiddens: torch.Tensor, lens: torch.Tensor) -> Memory:
        """Prepare the encoder's output (B, T', D), (B,) for the steps."""
        return Memory(hiddens, self.attention.key(hiddens), valid_mask(lens, hiddens.shape[1]))

    def initial(self, memory: Memory) -> State:
        """The state before the first unit: nothing seen, the attention spread over all valid frames."""
        N, _, D = memory.hiddens.shape
        zeros = memory.hiddens.new_zeros(N, len(self.cells), self.hidden)
        weights = memory.mask / memory.mask.sum(1, keepdim=True).clamp(min=1)
        return State(zeros, zeros, memory.hiddens.new_zeros(N, D), weights.to(memory.hiddens))

    def step(self, classes: torch.Tensor, state: State, memory: Memory) -> tuple[torch.Tensor, State]:
        """Read one class per hypothesis (N,); gives logits of the next (N, C) and the new state."""
        inputs = torch.cat([self.dropout(self.embedding(classes)), state.context], dim=-1)
        hiddens, cells = [], []
        for layer, cell in enumerate(self.cells):
            hidden, memory_cell = cell(inputs, (state.hidden[:, layer], state.cell[:, layer]))
            inputs = self.dropout(hidden)
            hiddens.append(hidden)
            cells.append(memory_cell)
        weights = self.attention(hiddens[-1], memory, state.weights)  # (N, T')
        context = torch.einsum("nt,ntd->nd", weights, memory.hiddens)
        logits = self.output(torch.cat([inputs, context], dim=-1))
        return logits, State(torch.stack(hiddens, 1), torch.stack(cells, 1), context, weights)

    def forward(
        self, hiddens: torch.Tensor, lens: torch.Tensor, labels: torch.Tensor, sampling: float = 0.0
    ) -> torch.Tensor:
        """Logits of every unit and of the end, each step told the true history.

        Args:
            hiddens, lens: the encoder's output (B, T', D), (B,).
            labels: (B, L) unit numbers, padded with 0.
            sampling: probability with which a step is told a draw from the last prediction instead
                (scheduled sampling, Bengio et al. 2015).

        Returns:
            (B, L + 1, C).
        """
        memory = self.memory(hiddens, lens)
        state = self.initial(memory)
        classes = labels.new_full((len(labels),), self.end)
        steps = []
        for position in range(labels.shape[1] + 1):
            logits, state = self.step(classes, state, memory)
            steps.append(logits)
            if position < labels.shape[1]:
                classes = (labels[:, position] - 1).clamp(min=0)
                if sampling:
                    drawn = torch.multinomial(logits.detach().float().softmax(-1), 1)[:, 0]
                    pick = torch.rand(len(classes), device=classes.device) < sampling
                    classes = torch.where(pick, drawn, classes)
        return torch.stack(steps, dim=1)


def decoder_targets(labels: torch.Tensor, label_lens: torch.Tensor, end: int, ignore: int) -> torch.Tensor:
    """Classes (B, L + 1) of unit numbers (B, L): the units, the end, then ``ignore``."""
    B, L = labels.shape
    targets = torch.full((B, L + 1), ignore, dtype=labels.dtype, device=labels.device)
    targets[:, :L] = labels - 1
    positions = torch.arange(L + 1, device=labels.device)
    targets = targets.masked_fill(positions > label_lens[:, None], ignore)
    return targets.masked_fill(positions == label_lens[:, None], end)


class DecoderScorer:
    """An :class:`AttentionDecoder` as a :class:`speechrep.decode.beam.Scorer` over one batch.

    Args:
        decoder: the decoder.
        hiddens, lens: the encoder's output (B, T', D) and (B,).
    """

    def __init__(self, decoder: AttentionDecoder, hiddens: torch.Tensor, lens: torch.Tensor):
        self._decoder, self._memory = decoder, decoder.memory(hiddens, lens)
        self._utts = torch.arange(len(lens), device=lens.device)
        self._rows = self._memory

    def initial(self, utts: torch.Tensor) -> State:
        """Nothing spelt yet."""
        return self._decoder.initial(self._memory.select(utts))

    def step(self, state: State, classes: torch.Tensor, utts: torch.Tensor) -> tuple[torch.Tensor, State]:
        """Read one class (N,) per hypothesis; log probabilities of the next (N, C)."""
        if not torch.equal(utts, self._utts):  # the frames are copied only when an utterance leaves
            self._rows, self._utts = self._memory.select(utts), utts
        logits, state = self._decoder.step(classes, state, self._rows)
        return logits.float().log_softmax(-1), state

    def select(self, state: State, rows: torch.Tensor) -> State:
        """Rows of the state."""
        return state.select(rows)
