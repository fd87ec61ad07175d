"""Decode a set with a trained recogniser and write what was found."""

import logging
import time
from pathlib import Path
from typing import Any

import torch

from speechrep.data.batches import BatchSampler
from speechrep.data.features import FeatureReader
from speechrep.data.loader import Loader
from speechrep.decode.ctc_prefix_beam import Hypothesis, prefix_beam
from speechrep.decode.greedy import greedy
from speechrep.downstream.asr_config import AsrDecodeConfig
from speechrep.downstream.asr_data import TranscribedDataset, transcripts
from speechrep.downstream.asr_model import Recogniser
from speechrep.downstream.base import Labelled
from speechrep.errors import InputError
from speechrep.io.files import atomic_open, write_json
from speechrep.io.table import write_table
from speechrep.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)


def decode(model: Recogniser, labelled: Labelled, out_dir: Path, options: AsrDecodeConfig) -> None:
    """Write ``hyp``, ``nbest``, ``scores.json`` and, where the set has transcripts, ``ref``.

    ``nbest`` has lines ``utterance-rank score words``, ranks from 1. ``scores.json`` has the log probability
    of every utterance's best hypothesis and the real-time factor.
    """
    if options.beam < 1 or options.nbest < 1:
        raise InputError(f"beam is {options.beam} and nbest {options.nbest}, want at least 1")
    has_text = (labelled.data_dir / "text").is_file()
    texts = transcripts(labelled) if has_text else {}
    utt_ids = sorted(texts or labelled.feats.utt_ids)
    began = time.perf_counter()
    found = recognise(model, labelled.feats, utt_ids, options)
    seconds = time.perf_counter() - began
    write_results(out_dir, {utt_id: found[utt_id] for utt_id in utt_ids}, model.tokenizer)
    if texts:
        write_table(out_dir / "ref", texts)
    frames = dict(zip(labelled.feats.utt_ids, labelled.feats.num_frames.tolist(), strict=True))
    audio_s = sum(frames[utt_id] for utt_id in utt_ids) * labelled.feats.meta.frame_shift_ms / 1000
    write_json(
        out_dir / "scores.json",
        {
            "real_time_factor": seconds / audio_s,
            "utterances": {utt_id: found[utt_id][0].score for utt_id in utt_ids},
        },
    )
    log.info("%d utterances, real-time factor %.4f, in %s", len(utt_ids), seconds / audio_s, out_dir)


def recognise(
    model: Recogniser, feats: FeatureReader, utt_ids: list[str], options: AsrDecodeConfig
) -> dict[str, list[Hypothesis]]:
    """N-best lists of utterances, each at least one hypothesis, best first."""
    dataset = TranscribedDataset(feats, dict.fromkeys(utt_ids, ()))
    sampler = BatchSampler(dataset.num_frames, options.batch_frames, seed=0, shuffle=False)
    device = next(model.parameters()).device
    model.eval()
    found: dict[str, list[Hypothesis]] = {}
    with torch.inference_mode():
        for batch in Loader(dataset, sampler).epoch(0):
            results = search(model, batch["feats"].to(device), batch["feat_lens"].to(device), options)
            found.update(zip(batch["utt_ids"], results, strict=True))
    for utt_id in utt_ids:  # the sampler leaves out utterances without frames
        found.setdefault(utt_id, [Hypothesis([], 0.0)])
    return found


def search(
    model: Recogniser, feats: torch.Tensor, feat_lens: torch.Tensor, options: AsrDecodeConfig
) -> list[list[Hypothesis]]:
    """N-best lists of a batch: features (B, T, F) and lengths (B,)."""
    log_probs, lens = model(feats, feat_lens)
    if options.method == "greedy":
        best = log_probs.amax(-1)  # (B, T')
        scores = [float(row[:n].sum()) for row, n in zip(best, lens.tolist(), strict=True)]
        return [[Hypothesis(*pair)] for pair in zip(greedy(log_probs, lens), scores, strict=True)]
    rows = log_probs.double().cpu().numpy()
    return [
        prefix_beam(row[:n], options.beam, options.nbest, options.length_bonus)
        for row, n in zip(rows, lens.tolist(), strict=True)
    ]


def write_results(out_dir: Path, found: dict[str, list[Hypothesis]], tokenizer: Tokenizer) -> None:
    """Write ``hyp`` and ``nbest``."""
    texts: dict[str, list[Any]] = {
        utt_id: [" ".join(tokenizer.decode(hypothesis.ids).split()) for hypothesis in hypotheses]
        for utt_id, hypotheses in found.items()
    }
    write_table(out_dir / "hyp", {utt_id: ranked[0] for utt_id, ranked in texts.items()})
    with atomic_open(out_dir / "nbest") as stream:
        for utt_id in sorted(found):
            for rank, (hypothesis, text) in enumerate(zip(found[utt_id], texts[utt_id], strict=True), 1):
                stream.write(f"{utt_id}-{rank} {hypothesis.score:.6f} {text}".rstrip() + "\n")
