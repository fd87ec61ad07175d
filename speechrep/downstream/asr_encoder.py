"""Encoders of the recogniser: features (B, T, F) to fewer, wider frames (B, T', D).

No encoder lets padding reach a valid frame, so an utterance comes out the same alone and in a batch.
"""

import torch
from torch import nn


def stack_frames(
    feats: torch.Tensor, feat_lens: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Join every ``count`` neighbouring frames into one; a rest shorter than that is dropped.

    Args:
        feats: (B, T, F).
        feat_lens: (B,) frames.

    Returns:
        (B, T // count, count * F) and its lengths.
    """
    B, T, F = feats.shape
    kept = T // count
    return feats[:, : kept * count].reshape(B, kept, count * F), feat_lens // count


def reverse_frames(feats: torch.Tensor, feat_lens: torch.Tensor) -> torch.Tensor:
    """Each utterance back to front within its own length; its padding stays at the end."""
    frames = torch.arange(feats.shape[1], device=feats.device)
    index = feat_lens[:, None] - 1 - frames  # (B, T)
    index = torch.where(index >= 0, index, frames)
    return feats.gather(1, index[..., None].expand_as(feats))


class BiLstmLayer(nn.Module):
    """One bidirectional LSTM layer on padded batches.

    Packed sequences train several times slower on CPU than padded ones. To keep padding out of the
    backward direction all the same, that direction reads every utterance reversed within its length.
    """

    def __init__(self, input_dim: int, hidden: int):
        super().__init__()
        self.forward_lstm = nn.LSTM(input_dim, hidden, batch_first=True)
        self.backward_lstm = nn.LSTM(input_dim, hidden, batch_first=True)

    def forward(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> torch.Tensor:
        """(B, T, F) to (B, T, 2 * hidden)."""
        there, _ = self.forward_lstm(feats)
        back, _ = self.backward_lstm(reverse_frames(feats, feat_lens))
        return torch.cat([there, reverse_frames(back, feat_lens)], dim=-1)


class BiLstmEncoder(nn.Module):
    """Stacked frames, then bidirectional LSTM layers with dropout between them.

    Args:
        input_dim: F of the features.
        hidden: units per direction.
        num_layers: LSTM layers.
        stack: input frames per encoder frame.
        dropout: on the input of every layer but the first and on the output.
    """

    def __init__(self, input_dim: int, hidden: int, num_layers: int, stack: int, dropout: float):
        super().__init__()
        self.stack = stack
        dims = [input_dim * stack] + [2 * hidden] * num_layers
        self.layers = nn.ModuleList(BiLstmLayer(dim, hidden) for dim in dims[:-1])
        self.dropout = nn.Dropout(dropout)
        self.dim = dims[-1]

    def out_lens(self, feat_lens: torch.Tensor) -> torch.Tensor:
        """Encoder frames of utterances of ``feat_lens`` (B,) input frames."""
        return feat_lens // self.stack

    def forward(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, F) and (B,) to (B, T', D) and (B,)."""
        hiddens, hidden_lens = stack_frames(feats, feat_lens, self.stack)
        for layer in self.layers:
            hiddens = self.dropout(layer(hiddens, hidden_lens))
        return hiddens, hidden_lens
