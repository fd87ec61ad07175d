"""Options of the recogniser and of decoding with it."""

from dataclasses import dataclass

from speechrep.config import at_least, opt, require_choices, require_dropout, require_finite, require_shares
from speechrep.downstream.base import TaskConfig
from speechrep.errors import InputError
from speechrep.text.registry import TOKENIZERS

ENCODERS = ("blstm", "vgg-blstm", "transformer")


@dataclass(frozen=True)
class AsrConfig(TaskConfig):
    """Model, text units and batches. Training options are the trainer's."""

    unit: str = opt("char", "text unit; trained on the training transcripts", sorted(TOKENIZERS))
    vocab_size: int = opt(0, "units, blank and unknown included; 0: all (char, word)")
    tokenizer: str = opt("", "directory of train_tokenizer to use instead of training units")

    encoder: str = opt("blstm", "stacked frames or VGG, then BiLSTM; or Transformer", ENCODERS)
    stack: int = opt(0, "input frames per encoder frame, joined; 0: as many as make about 30 ms")
    num_layers: int = opt(2, "encoder layers")
    hidden_size: int = opt(192, "LSTM units per direction, or the Transformer's width")
    num_heads: int = opt(4, "Transformer's attention heads")
    projection: int = opt(0, "width of a linear layer with tanh after every LSTM layer; 0: none")
    subsample: tuple[int, ...] = opt((), "frames that become one after each LSTM layer, as '1 2 2'; empty: 1")
    subsample_by: str = opt("drop", "how: drop the others or concatenate them", ("drop", "concat"))
    dropout: float = opt(0.2, "dropout of encoder and decoder")

    ctc_weight: float = opt(1.0, "share of CTC in the loss; the rest is the attention decoder's")
    attention: str = opt("location", "what the decoder's attention sees", ("location", "dot"))
    attention_dim: int = opt(300, "width in which queries and keys are compared")
    location_channels: int = opt(10, "filters over the last attention weights")
    location_width: int = opt(100, "frames to each side that they cover")
    sharpening: float = opt(2.0, "factor on the location attention's scores")
    decoder_layers: int = opt(1, "LSTM layers of the decoder")
    decoder_hidden_size: int = opt(320, "LSTM units of the decoder")
    embedding: int = opt(128, "width of the decoder's input units")
    label_smoothing: float = opt(0.0, "share of the decoder's target spread over all units")
    sampling: float = opt(0.0, "scheduled sampling: share of decoder inputs drawn from its own prediction")

    time_masks: int = opt(0, "SpecAugment: spans of frames hidden per utterance")
    time_width: int = opt(20, "SpecAugment: longest span in input frames")
    freq_masks: int = opt(0, "SpecAugment: spans of feature dimensions hidden per utterance")
    freq_width: int = opt(10, "SpecAugment: longest span in dimensions")

    tempo_warp: float = opt(0.0, "training utterances are sped up or slowed down by up to this share")
    frequency_warp: float = opt(
        0.0, "their frequency axis is stretched by up to this share; filter banks only"
    )

    max_frames: int = opt(8000, "budget of a batch in input frames, padding included")
    max_utts: int = opt(32, "most utterances in a batch")
    too_long: str = opt("skip", "training transcripts longer than CTC can align", ("skip", "refuse"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocab_size in (1, 2) or self.vocab_size < 0:
            raise InputError(f"vocab-size is {self.vocab_size}, want 0 (all) or 3 and more")
        at_least(0, self, "time_masks", "time_width", "freq_masks", "freq_width")
        at_least(0, self, "stack", "projection")
        at_least(1, self, "num_layers", "hidden_size", "num_heads", "max_frames", "max_utts")
        require_dropout(self, "dropout")
        require_shares(self, "label_smoothing", "sampling", "ctc_weight")
        if self.ctc_weight < 1:
            self._check_decoder()
        if self.subsample and (len(self.subsample) != self.num_layers or min(self.subsample) < 1):
            raise InputError(
                f"subsample is {list(self.subsample)}, want {self.num_layers} numbers from 1, one per layer"
            )
        if self.encoder == "transformer" and (self.subsample or self.projection):
            raise InputError("subsample and projection are of LSTM layers; the Transformer has none")
        if self.encoder == "transformer" and self.hidden_size % (2 * self.num_heads):
            raise InputError(
                f"hidden-size is {self.hidden_size}, want a multiple of twice num-heads {self.num_heads}"
            )
        if not (0 <= self.tempo_warp < 1 and 0 <= self.frequency_warp < 1):
            raise InputError(
                f"tempo-warp {self.tempo_warp} or frequency-warp {self.frequency_warp} is no share"
            )
        if self.label_smoothing == 1:
            raise InputError("label-smoothing 1 is no share: nothing would be left of the target")

    def _check_decoder(self) -> None:
        at_least(1, self, "decoder_layers", "decoder_hidden_size", "embedding")
        at_least(1, self, "attention_dim", "location_channels")
        at_least(0, self, "location_width")
        require_finite(self, "sharpening")


@dataclass(frozen=True)
class AsrDecodeConfig:
    """How to search."""

    method: str = opt(
        "ctc-beam",
        "greedy: best path of CTC (or of the decoder without CTC); ctc-beam: prefixes, frame by frame; "
        "beam: decoder, CTC and language model together, unit by unit",
        ("greedy", "ctc-beam", "beam"),
    )
    beam: int = opt(10, "hypotheses kept")
    nbest: int = opt(1, "hypotheses written per utterance; ctc-beam: at most the beam")
    length_bonus: float = opt(0.0, "added to the log probability per unit")
    ctc_share: float = opt(-1.0, "beam: CTC's weight against the decoder's; -1: as in training")
    lm: str = opt("", "beam: experiment of train_lm, or an ARPA file, over the same units")
    lm_weight: float = opt(0.3, "beam: factor on the language model's log probabilities")
    end_margin: float = opt(
        10.0, "beam: give up an utterance's unfinished hypotheses this far below its best finished one"
    )
    max_frames: int = opt(8000, "budget of a decoding batch in input frames, padding included")

    def __post_init__(self) -> None:
        require_choices(self)
        at_least(1, self, "beam", "nbest", "max_frames")
        at_least(0, self, "end_margin")
        require_finite(self, "length_bonus", "lm_weight")
        if self.lm and self.method != "beam":
            raise InputError(f"{self.method} uses no language model", where="--lm", mend="--method beam does")
        if not (0 <= self.ctc_share <= 1 or self.ctc_share == -1):
            raise InputError(f"ctc-share is {self.ctc_share}, want 0 to 1, or -1")
