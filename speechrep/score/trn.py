"""NIST's ``trn`` transcripts, as sclite takes them: ``words (speaker-utterance)``."""

import os
from collections.abc import Mapping, Sequence

from speechrep.errors import InputError
from speechrep.io.files import atomic_open

_SYNTAX = set("(){}/@;")  # alternatives, optional words and comments to sclite


def trn_id(utt_id: str, speaker: str) -> str:
    """The id in brackets. What comes before the first ``-`` is sclite's speaker, which so has none itself."""
    return f"{speaker.replace('-', '_')}-{utt_id}"


def write_trn(
    path: str | os.PathLike[str], texts: Mapping[str, Sequence[str]], utt2spk: Mapping[str, str]
) -> None:
    """Write words per utterance as trn.

    Args:
        path: the file.
        texts: utterance to words.
        utt2spk: utterance to speaker.

    Raises:
        InputError: an utterance without speaker, or a word that sclite would read as its own syntax.
    """
    with atomic_open(path) as stream:
        for utt_id, words in texts.items():
            if utt_id not in utt2spk:
                raise InputError(f"no speaker for utterance {utt_id}", where=path)
            odd = next((word for word in words if _SYNTAX.intersection(word)), None)
            if odd is not None:
                raise InputError(
                    f"utterance {utt_id}: {odd!r} has a character that sclite takes as syntax", where=path,
                    mend="filter it out of references and hypotheses alike",
                )  # fmt: skip
            stream.write(" ".join([*words, f"({trn_id(utt_id, utt2spk[utt_id])})"]) + "\n")
