"""Published figures, to be held against a table of results, and whether they may be.

Liu, Yang, Chi, Hsu and Lee, "Mockingjay", ICASSP 2020: table 2, and for phones the text of section 4.2, which
gives differences only; those that follow from its sums are marked.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from speechrep.report.runs import info_of

OTHER_UPSTREAMS = "Features and pre-training are those of each row's own model, not the paper's."
SOURCE = "Liu et al., Mockingjay, ICASSP 2020"


class Published(NamedTuple):
    """One task of a paper."""

    task: str
    metric: str
    what: str
    """The paper's protocol in a few words."""
    figures: tuple[tuple[str, str], ...]
    """Representation and figure."""


PUBLISHED = (
    Published(
        "phone", "accuracy",
        "LibriSpeech, 72 phones of the Montreal Forced Aligner, trained on train-clean-360, tested on "
        "test-clean, two hidden layers in the authors' code",
        (("Mel", "49.1"), ("APC", "74.1 (sum)"), ("BASE", "60.9 (sum)"), ("LARGE", "64.3 (sum)"),
         ("BASE-FT2", "84.3 (sum)")),
    ),
    Published(
        "speaker", "accuracy",
        "LibriSpeech, 63 speakers of train-clean-100, 9 : 1 split of their utterances, recurrent classifier",
        (("Mel", "70.06"), ("APC", "85.88"), ("BASE", "94.54"), ("LARGE", "96.26"), ("LARGE-WS", "96.40"),
         ("BASE-FT2", "98.05")),
    ),
    Published(
        "sentiment", "acc2",
        "CMU-MOSEI, clips of 1 to 20 s with a sentiment of at least 0.1 either way, 9 : 1 split of the "
        "videos, recurrent classifier",
        (("Mel", "64.63"), ("APC", "65.97"), ("BASE", "67.38"), ("LARGE", "70.07"), ("LARGE-WS", "71.05"),
         ("BASE-FT2", "68.45")),
    ),
)  # fmt: skip


# Our rows, and what the paper calls them.
ROWS = {
    "fbank": "Mel", "apc": "APC", "mockingjay": "BASE", "mockingjay_large": "LARGE",
    "mockingjay_large_layers": "LARGE-WS", "mockingjay_finetune": "BASE-FT2",
}  # fmt: skip


def figure(task: str, metric: str, upstream: str) -> str:
    """What the paper has for one of our rows; "" if nothing."""
    for item in PUBLISHED:
        if (item.task, item.metric) == (task, metric):
            return dict(item.figures).get(ROWS.get(upstream, ""), "")
    return ""


def comparable(task: str, sets: Sequence[str], checkpoints: Sequence[str] = ()) -> str:
    """Whether results of a task on these sets may be held against the paper's, and why.

    Args:
        task, sets: as in results.json.
        checkpoints: the models behind the results, whose options tell the rest: all must be the paper's, but
            for those that are gone.
    """
    infos = [info for info in map(info_of, checkpoints) if info]
    if any(info.get("config", {}).get("train_proportion", 1.0) != 1.0 for info in infos):
        return "no: trained on a part of the labels"
    if task == "sentiment":
        if set(sets) != {"mockingjay_test"}:
            return "no: other clips; --protocol mockingjay of egs/mosei has the paper's split"
        if not all(map(_is_papers_sentiment, infos)):  # the majority's answer has no model
            return (
                "no: the paper's clips, but another classifier than egs/mosei/conf/mockingjay/sentiment.yaml"
            )
        return f"yes, as far as the protocol goes: the same split, labels and metric. {OTHER_UPSTREAMS}"
    if task == "speaker":
        if set(sets) == {"train_clean_100:test"} and infos and all(map(_is_papers_speakers, infos)):
            return (
                "yes, but for the draw: the same speakers and classifier; another tenth of their utterances "
                "tests, and unless --speaker-split says otherwise one is kept for validation. "
                f"{OTHER_UPSTREAMS}"
            )
        return "no: other speakers and another split, a linear probe of the mean frame, other training data"
    if "test_clean" in sets and infos and all(map(_is_papers_phones, infos)):
        alone = "" if set(sets) == {"test_clean"} else ", test_clean alone"
        return (
            f"yes, but for the aligner's version{alone}: the same sets, classes and classifier. "
            f"{OTHER_UPSTREAMS}"
        )
    return "no: other labels and sets, a linear probe of single frames, other training data"


def _is_papers_sentiment(info: dict[str, Any]) -> bool:
    config = info.get("config", {})
    return [config.get(name) for name in ("mode", "join", "pooling")] == ["binary", "first", "last"]


def _is_papers_speakers(info: dict[str, Any]) -> bool:
    config = info.get("config", {})
    return config.get("model") == "gru" and config.get("min_utts") == 122


def _is_papers_phones(info: dict[str, Any]) -> bool:
    config, trained_on = info.get("config", {}), str(info.get("features_path", ""))
    two_hidden = config.get("classes") == "72" and config.get("hidden_layers") == 2
    return two_hidden and Path(trained_on).stem == "train_clean_360"
