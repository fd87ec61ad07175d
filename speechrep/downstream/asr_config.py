"""Options of the recogniser and of decoding with it."""

from dataclasses import dataclass

from speechrep.config import opt
from speechrep.text.registry import TOKENIZERS


@dataclass(frozen=True)
class AsrConfig:
    """Model, text units and batches. Training options are the trainer's."""

    unit: str = opt("char", "text unit; trained on the training transcripts", sorted(TOKENIZERS))
    vocab_size: int = opt(0, "units, blank and unknown included; 0: all (char, word)")
    tokenizer: str = opt("", "directory of train_tokenizer to use instead of training units")
    stack: int = opt(0, "input frames per encoder frame, joined; 0: as many as make about 30 ms")
    num_layers: int = opt(2, "bidirectional LSTM layers")
    hidden: int = opt(192, "LSTM units per direction")
    dropout: float = opt(0.2, "dropout after every LSTM layer")
    time_masks: int = opt(0, "SpecAugment: spans of frames hidden per utterance")
    time_width: int = opt(20, "SpecAugment: longest span in input frames")
    freq_masks: int = opt(0, "SpecAugment: spans of feature dimensions hidden per utterance")
    freq_width: int = opt(10, "SpecAugment: longest span in dimensions")
    max_frames: int = opt(8000, "budget of a batch in input frames, padding included")
    max_utts: int = opt(32, "most utterances in a batch")
    too_long: str = opt("skip", "training transcripts longer than CTC can align", ("skip", "refuse"))


@dataclass(frozen=True)
class AsrDecodeConfig:
    """How to search."""

    method: str = opt("ctc-beam", "search", ("greedy", "ctc-beam"))
    beam: int = opt(10, "hypotheses kept")
    nbest: int = opt(1, "hypotheses written per utterance; at most the beam")
    length_bonus: float = opt(0.0, "added to the log probability per unit")
    batch_frames: int = opt(8000, "budget of a decoding batch in input frames, padding included")
