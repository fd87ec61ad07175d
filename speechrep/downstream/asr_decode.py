"""Decode a set with a trained recogniser and write what was found."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from speechrep.data.batches import BatchSampler
from speechrep.data.features import FeatureReader, frame_counts
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
from speechrep.downstream.split import part_of
from speechrep.errors import InputError, telling_of
from speechrep.io.data_dir import DataDir
from speechrep.io.files import atomic_open, read_json, write_json
from speechrep.io.table import write_table
from speechrep.progress import Progress
from speechrep.text.tokenizer import Tokenizer, words_of

log = logging.getLogger(__name__)


def decode(model: Recogniser, labelled: Labelled, out_dir: Path, options: AsrDecodeConfig) -> None:
    """Write ``hyp``, ``nbest``, ``scores.json`` and, where the set has transcripts, ``ref``.

    ``nbest`` has lines ``utterance-rank score words``, ranks from 1. ``scores.json`` has the log probability
    of every utterance's best hypothesis and the real-time factor. Of a share of the set they have that.
    """
    has_text = (labelled.data_dir / "text").is_file()
    texts = transcripts(labelled) if has_text else {}
    utt_ids = sorted(texts or _all_or_part(labelled))
    began = time.perf_counter()
    found = recognise(model, labelled.feats, utt_ids, options, labelled.share)
    seconds = time.perf_counter() - began
    utt_ids = [utt_id for utt_id in utt_ids if utt_id in found]
    write_results(out_dir, found, model.tokenizer)
    (out_dir / "ref").unlink(missing_ok=True)  # of a set that then had transcripts
    if texts:
        write_table(out_dir / "ref", {utt_id: texts[utt_id] for utt_id in utt_ids})
    frames = frame_counts(labelled.feats)
    audio_s = sum(frames[utt_id] for utt_id in utt_ids) * labelled.feats.meta.frame_shift_ms / 1000
    _write_scores(out_dir, seconds, audio_s, {utt_id: found[utt_id][0].score for utt_id in utt_ids})
    log.info("%d utterances, %.1f s for %.1f s of speech, in %s", len(utt_ids), seconds, audio_s, out_dir)


def _all_or_part(labelled: Labelled) -> list[str]:
    """The utterances of a set without transcripts, or of its part."""
    utt2spk = DataDir(labelled.data_dir).utt2spk
    picked = set(part_of(utt2spk, labelled.split, labelled.data_dir) if labelled.split else utt2spk)
    found = [utt_id for utt_id in labelled.feats.utt_ids if utt_id in picked]
    if not found:
        raise InputError(
            f"has no features of the utterances of {labelled.data_dir}", where=labelled.feats.path
        )
    return found


def merge(shares: Sequence[Path], out_dir: Path) -> None:
    """Write what :func:`decode` writes of a whole set, from the directories of its shares.

    The real-time factor adds up the seconds of all shares.
    """
    for name in ("nbest", "ref", "hyp"):
        if not (shares[0] / name).is_file():  # ref, of a set that has no transcripts any more
            (out_dir / name).unlink(missing_ok=True)
            continue
        lines: list[bytes] = []
        for share in shares:
            with telling_of(share / name):
                lines += (share / name).read_bytes().splitlines(keepends=True)
        with atomic_open(out_dir / name, "wb") as stream:
            stream.writelines(sorted(lines, key=_utterance if name == "nbest" else _first_word))
    scores = [read_json(share / "scores.json") for share in shares]
    audio_s = sum(score["audio_seconds"] for score in scores)
    seconds = sum(score["real_time_factor"] * score["audio_seconds"] for score in scores)
    found = {utt_id: value for score in scores for utt_id, value in score["utterances"].items()}
    _write_scores(out_dir, seconds, audio_s, dict(sorted(found.items())))


def _write_scores(out_dir: Path, seconds: float, audio_s: float, utterances: dict[str, float]) -> None:
    factor = seconds / max(audio_s, 1e-9)
    values = {"real_time_factor": factor, "audio_seconds": audio_s, "utterances": utterances}
    write_json(out_dir / "scores.json", values)


def _first_word(line: bytes) -> bytes:
    return line.split(maxsplit=1)[0]


def _utterance(line: bytes) -> bytes:
    """Of a line ``utterance-rank score words``; the lines of each are in order already."""
    return _first_word(line).rpartition(b"-")[0]


def recognise(
    model: Recogniser,
    feats: FeatureReader,
    utt_ids: list[str],
    options: AsrDecodeConfig,
    share: tuple[int, int] = (0, 1),
) -> dict[str, list[Hypothesis]]:
    """N-best lists of utterances, each at least one hypothesis, best first.

    Args:
        model: the recogniser.
        feats: features of all utterances.
        utt_ids: those that are wanted.
        options: how to search.
        share: (k, n) of the batches only k, k + n, ...; which utterances form one does not depend on it.
    """
    searcher = Searcher(model.eval(), options)
    num_frames = frame_counts(feats)
    lens = model.out_lens(torch.tensor([num_frames[utt_id] for utt_id in utt_ids])).tolist()
    found: dict[str, list[Hypothesis]] = {
        utt_id: [Hypothesis([], 0.0)] for utt_id, n in zip(utt_ids, lens, strict=True) if n < 1
    }
    if found:
        log.warning("%s: too short, taken as silent: %s", feats.path, ", ".join(found))
    rest = [utt_id for utt_id in utt_ids if utt_id not in found]
    found = found if share[0] == 0 else {}
    if not rest:
        return found
    dataset = TranscribedDataset(feats, dict.fromkeys(rest, ()))
    sampler = BatchSampler(
        dataset.num_frames, options.max_frames, seed=0, rank=share[0], world_size=share[1], shuffle=False
    )
    device = next(model.parameters()).device
    progress = Progress(sum(map(len, sampler.batches(0))), "utterances")
    with torch.inference_mode():
        for batch in filter(None, Loader(dataset, sampler).epoch(0)):  # the last may be an empty one
            results = searcher.search(batch["feats"].to(device), batch["feat_lens"].to(device))
            found.update(zip(batch["utt_ids"], results, strict=True))
            progress.update(progress.done + len(results))
    progress.show(end=True)
    return found


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
            self.lm = Weighted(scorer, options.lm_weight, heard=False)

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
            return [[Hypothesis(*pair)] for pair in attention_greedy(model.decoder, hiddens, lens)]
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
        utt_id: [" ".join(words_of(tokenizer.decode(hypothesis.ids))) for hypothesis in hypotheses]
        for utt_id, hypotheses in found.items()
    }
    write_table(out_dir / "hyp", {utt_id: ranked[0] for utt_id, ranked in texts.items()})
    with atomic_open(out_dir / "nbest") as stream:
        for utt_id in sorted(found):
            for rank, (hypothesis, text) in enumerate(zip(found[utt_id], texts[utt_id], strict=True), 1):
                stream.write(f"{utt_id}-{rank} {hypothesis.score:.6f} {text}".rstrip(" ") + "\n")
