"""Decode a set with a trained recogniser and write what was found."""

import logging
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from speechrep.data.batches import BatchSampler
from speechrep.data.features import FeatureReader
from speechrep.data.loader import Loader
from speechrep.decode.beam import Limits, Scorer, Weighted, beam_search
from speechrep.decode.ctc_prefix_beam import prefix_beam
from speechrep.decode.ctc_score import CtcScorer
from speechrep.decode.greedy import greedy
from speechrep.decode.hypothesis import Hypothesis
from speechrep.decode.lm import LstmScorer, load_lm
from speechrep.decode.ngram import NgramScorer, is_ngram
from speechrep.downstream.asr_config import AsrDecodeConfig
from speechrep.downstream.asr_data import TranscribedDataset, transcripts
from speechrep.downstream.asr_decoder import DecoderScorer
from speechrep.downstream.asr_model import Recogniser, attention_greedy
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
    searcher = Searcher(model.eval(), options)
    num_frames = dict(zip(feats.utt_ids, feats.num_frames.tolist(), strict=True))
    lens = model.out_lens(torch.tensor([num_frames[utt_id] for utt_id in utt_ids])).tolist()
    found: dict[str, list[Hypothesis]] = {
        utt_id: [Hypothesis([], 0.0)] for utt_id, n in zip(utt_ids, lens, strict=True) if n < 1
    }
    if found:
        log.warning("%s: too short, taken as silent: %s", feats.path, ", ".join(found))
    rest = [utt_id for utt_id in utt_ids if utt_id not in found]
    if options.nj > 1 and len(rest) > 1:
        return found | _in_processes(searcher, feats, rest, options.nj)
    return found | _search_all(searcher, feats, rest)


def _search_all(
    searcher: "Searcher", feats: FeatureReader, utt_ids: list[str]
) -> dict[str, list[Hypothesis]]:
    if not utt_ids:
        return {}
    dataset = TranscribedDataset(feats, dict.fromkeys(utt_ids, ()))
    sampler = BatchSampler(dataset.num_frames, searcher.options.batch_frames, seed=0, shuffle=False)
    device = next(searcher.model.parameters()).device
    found: dict[str, list[Hypothesis]] = {}
    with torch.inference_mode():
        for batch in Loader(dataset, sampler).epoch(0):
            results = searcher.search(batch["feats"].to(device), batch["feat_lens"].to(device))
            found.update(zip(batch["utt_ids"], results, strict=True))
    return found


def _in_processes(
    searcher: "Searcher", feats: FeatureReader, utt_ids: list[str], nj: int
) -> dict[str, list[Hypothesis]]:
    """Every ``nj``-th utterance to one process each, so that all get long and short ones."""
    parts = [utt_ids[number::nj] for number in range(min(nj, len(utt_ids)))]
    context = multiprocessing.get_context("spawn")  # threads of torch do not survive a fork
    with ProcessPoolExecutor(len(parts), context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        jobs = [pool.submit(_job, searcher.model, searcher.options, feats, part) for part in parts]
        results: dict[str, list[Hypothesis]] = {}
        for job in jobs:
            results |= job.result()
    return results


def _job(
    model: Recogniser, options: AsrDecodeConfig, feats: FeatureReader, utt_ids: list[str]
) -> dict[str, list[Hypothesis]]:
    return _search_all(Searcher(model, options), feats, utt_ids)


class Searcher:
    """A trained recogniser and how it is searched.

    Args:
        model: the recogniser, in evaluation mode.
        options: how.

    Raises:
        InputError: the model lacks what the search needs, or the language model does not fit it.
    """

    def __init__(self, model: Recogniser, options: AsrDecodeConfig):
        self.model, self.options = model, options
        if options.method == "ctc-beam" and model.ctc is None:
            raise InputError("the model has no CTC", where="--method ctc-beam", mend="use beam or greedy")
        share = options.ctc_share if options.ctc_share >= 0 else model.config.ctc_weight
        if model.decoder is None or model.ctc is None:
            share = float(model.decoder is None)  # there is only one of the two
        self.ctc_share = share
        self.lm: Weighted | None = None
        if options.method == "beam" and options.lm and options.lm_weight:
            device = next(model.parameters()).device
            scorer: Scorer = (
                NgramScorer(options.lm, model.tokenizer)
                if is_ngram(options.lm)
                else LstmScorer(load_lm(options.lm, model.tokenizer, device))
            )
            self.lm = Weighted(scorer, options.lm_weight)

    def search(self, feats: torch.Tensor, feat_lens: torch.Tensor) -> list[list[Hypothesis]]:
        """N-best lists of a batch: features (B, T, F) and lengths (B,)."""
        model, options = self.model, self.options
        hiddens, lens = model.encode(feats, feat_lens)
        if options.method == "beam":
            return self._one_pass(hiddens, lens)
        if options.method == "ctc-beam":
            rows = model.ctc_log_probs(hiddens).double().cpu().numpy()
            return [
                prefix_beam(row[:n], options.beam, options.nbest, options.length_bonus)
                for row, n in zip(rows, lens.tolist(), strict=True)
            ]
        if model.ctc is None:
            assert model.decoder is not None
            return [[Hypothesis(ids, 0.0)] for ids in attention_greedy(model.decoder, hiddens, lens)]
        log_probs = model.ctc_log_probs(hiddens)
        scores = [float(row[:n].sum()) for row, n in zip(log_probs.amax(-1), lens.tolist(), strict=True)]
        return [[Hypothesis(*pair)] for pair in zip(greedy(log_probs, lens), scores, strict=True)]

    def _one_pass(self, hiddens: torch.Tensor, lens: torch.Tensor) -> list[list[Hypothesis]]:
        model, options, share = self.model, self.options, self.ctc_share
        scorers = [self.lm] if self.lm else []
        if model.decoder is not None and share < 1:
            scorers.append(Weighted(DecoderScorer(model.decoder, hiddens, lens), 1 - share))
        ctc = CtcScorer(model.ctc_log_probs(hiddens), lens) if model.ctc is not None and share > 0 else None
        limits = Limits(options.beam, options.nbest, options.length_bonus, options.end_margin)
        return beam_search(scorers, ctc, share, lens, len(model.tokenizer.units), limits)


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
