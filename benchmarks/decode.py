"""Decoding speed: CPU seconds per second of audio for every search, utterances one by one and in batches.

python benchmarks/decode.py                                        a random model on random features
python benchmarks/decode.py --exp-dir exp/x/asr_fbank --data dump/x/dev.h5     a trained one
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from speechrep.data.features import open_features
from speechrep.downstream.asr_config import AsrConfig, AsrDecodeConfig
from speechrep.downstream.asr_decode import recognise
from speechrep.downstream.asr_input import InputLayer
from speechrep.downstream.asr_model import Recogniser
from speechrep.downstream.models import load_trained
from speechrep.io.feature_meta import FeatureMeta
from speechrep.text.registry import train_tokenizer


class Noise:
    """Random features of utterances of 2 to 16 s."""

    path = Path("noise")

    def __init__(self, count: int, dim: int):
        generator = np.random.default_rng(0)
        lengths = generator.integers(200, 1600, count)
        self.utt_ids = [f"u{number:03}" for number in range(count)]
        self.arrays = {
            utt_id: generator.normal(size=(length, dim)).astype(np.float32)
            for utt_id, length in zip(self.utt_ids, lengths, strict=True)
        }
        self.num_frames = lengths.astype(np.int64)
        self.meta = FeatureMeta("fbank", {}, dim, 10.0, 16000)

    def read(self, utt_id: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        return self.arrays[utt_id][start:stop]


def random_model(ctc_weight: float) -> Recogniser:
    """Untrained: its hypotheses are long, so this is the slow end."""
    torch.manual_seed(0)
    units = train_tokenizer("char", ["ABCDEFGHIJKLMNOPQRSTUVWXYZ' "], 0, "here")
    config = AsrConfig(ctc_weight=ctc_weight, stack=4, hidden_size=256, num_layers=3)
    return Recogniser(config, units, InputLayer(80, 0, 10.0)).eval()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exp-dir", help="trained recogniser")
    parser.add_argument("--data", help="its features")
    parser.add_argument("--utterances", type=int, default=16)
    parser.add_argument("--beam", type=int, default=10)
    parser.add_argument("--max-frames", type=int, default=16000)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.exp_dir:
        model, feats = load_trained(args.exp_dir).model, open_features(args.data)
    else:
        model, feats = random_model(0.5), Noise(args.utterances, 80)
    utt_ids = feats.utt_ids[: args.utterances]
    frames = dict(zip(feats.utt_ids, feats.num_frames.tolist(), strict=True))
    audio_s = sum(frames[utt_id] for utt_id in utt_ids) * feats.meta.frame_shift_ms / 1000
    methods = ["greedy"] if model.ctc is None else ["greedy", "ctc-beam"]
    print(f"{len(utt_ids)} utterances, {audio_s:.0f} s of audio, {args.threads} thread(s), beam {args.beam}")
    print("| search | one by one: CPU s per s | batched: CPU s per s | same text |\n|---|---|---|---|")
    for method in [*methods, "beam"]:
        rtf, texts = [], []
        for budget in (1, args.max_frames):
            options = AsrDecodeConfig(method=method, beam=args.beam, max_frames=budget)
            began = time.process_time()
            found = recognise(model, feats, utt_ids, options)
            rtf.append((time.process_time() - began) / audio_s)
            texts.append([found[utt_id][0].ids for utt_id in utt_ids])
        print(f"| {method} | {rtf[0]:.4f} | {rtf[1]:.4f} | {'yes' if texts[0] == texts[1] else 'no'} |")


if __name__ == "__main__":
    main()
