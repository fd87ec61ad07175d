"""The parsers, each with good files to damage; what they make of them is thrown away."""

import bz2
import contextlib
import dataclasses
import gzip
import importlib.util
import io
import json
import lzma
import math
import shutil
import tarfile
import tempfile
import types
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import seals
import slurm
import soundfile
import step
import torch
from fingerprint import fingerprint

from speechrep.bin import prepare_librispeech, verify
from speechrep.bin.download_librispeech import unpack
from speechrep.bin.import_blogmel import open_text, read_blogmel
from speechrep.compat import apc, mockingjay, s3prl
from speechrep.compat.convert import OURS, import_model
from speechrep.compat.unpickle import StoredTensor, read_checkpoint
from speechrep.config import make_parser
from speechrep.decode.ngram import NgramScorer, estimate, write_arpa
from speechrep.errors import InputError
from speechrep.frontend.ready import ReadyConfig, ReadySource
from speechrep.io import mosei, phone_labels
from speechrep.io.alignment import (
    Interval,
    read_ctm,
    read_phone_textgrid,
    read_textgrid,
    write_ctm,
    write_textgrid,
)
from speechrep.io.ark import ArkWriter, load_scp, matrix_shape, read_matrix, write_ark
from speechrep.io.audio import read_audio
from speechrep.io.csd import REQUIRED, Track, read_csd, write_csd
from speechrep.io.data_dir import DataDir
from speechrep.io.data_fix import fix
from speechrep.io.data_valid import validate
from speechrep.io.feature_meta import FeatureMeta, read_meta, write_meta
from speechrep.io.files import read_json, read_marker, read_train_log, write_marker
from speechrep.io.model_files import INFO, TRAIN_LOG, WEIGHTS, read_info, read_model, write_model
from speechrep.io.scp_index import numbers_beside, open_index
from speechrep.io.specifier import parse_reader, parse_writer, read_entries
from speechrep.io.store import Store, StoreWriter
from speechrep.io.table import read_table
from speechrep.report import mistakes
from speechrep.report.curves import read_log
from speechrep.report.table import read_results
from speechrep.score import sentiment
from speechrep.score.classification import count_correct
from speechrep.score.wer import read_text
from speechrep.text.registry import load_tokenizer, save_tokenizer, train_tokenizer
from speechrep.train.checkpoint import load_state, save_state
from speechrep.train.config import TrainConfig
from speechrep.upstream import card
from speechrep.upstream.checkpoint import describe, save_model
from speechrep.upstream.checkpoint import load as load_upstream
from speechrep.upstream.registry import CONFIGS, build

META = FeatureMeta("fbank", {}, 4, 10.0, 16000)
RNG = np.random.default_rng(0)
FEATS = RNG.standard_normal((12, 4)).astype(np.float32)
DEEP = b"[" * 200_000
CASE_S = 2  # of processor time that a parser may take; the files have some thousand bytes


@dataclasses.dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        prepare: makes what else it needs in a folder, and gives good files.
        parse: reads one file, given its bytes, in that folder.
        words: pieces of the format.
        hostile: files thought out to do harm.
        missing: why it cannot run here, or empty.
    """

    prepare: Callable[[Path], list[bytes]]
    parse: Callable[[Path, bytes], object]
    words: tuple[bytes, ...] = ()
    hostile: tuple[bytes, ...] = ()
    missing: Callable[[], str] = lambda: ""


def _put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _seeds(*files: str | bytes) -> Callable[[Path], list[bytes]]:
    return lambda _folder: [file.encode() if isinstance(file, str) else file for file in files]


def _each(*readers: Callable[[Path], object], name: str = "x") -> Callable[[Path, bytes], None]:
    """All readers on one file; the first that refuses it does not spare it the others."""

    def parse(folder: Path, data: bytes) -> None:
        path, refusal = _put(folder, name, data), None
        for reader in readers:
            try:
                reader(path)
            except InputError as error:
                refusal = error
        if refusal:
            raise refusal

    return parse


def _either(mark: bytes, one: Callable, other: Callable) -> Callable[[Path, bytes], None]:
    """One parser for files that hold a mark, another one for the rest."""
    return lambda folder, data: (one if mark in data else other)(folder, data)


def _speaker_seeds(folder: Path) -> list[bytes]:
    """Of the table of speakers, and of the transcripts of a chapter in LibriSpeech's layout."""
    (folder / "corpus/1/2").mkdir(parents=True)
    (folder / "corpus/1/2/1-2-0000.flac").touch()
    return [b"; comment\n1 | F | dev | 8 | A\n2 | M | dev | 8 | B | C\n", b"1-2-0000 A B\n1-2-0001 C\n"]


def _transcribed(folder: Path, data: bytes) -> None:
    _put(folder, "corpus/1/2/1-2.trans.txt", data)
    prepare_librispeech._collect(folder / "corpus", {"1": "f"})


def _trials(path: Path) -> None:
    verify._pairs(str(path), [("a-1", "a"), ("a-2", "a")])


def _aligned(folder: Path, data: bytes) -> None:
    _put(folder, "x.alignment.txt", data)
    phone_labels.read_word_alignments(folder)


def _scored_seeds(folder: Path) -> list[bytes]:
    good = b"a -1\nb 2\nc 0\n"
    _put(folder, "good", good)
    return [good, b"c 0.5\na -2.5\nb 3\n"]


def _parse_scored(path: Path) -> None:
    """As hypotheses and as references."""
    for ref, hyp in ((path.parent / "good", path), (path, path.parent / "good")):
        refs, hyps = read_table(ref), read_table(hyp)
        sentiment.score(*sentiment.pair(hyps, refs, hyp, ref), replications=2)
        count_correct(refs, hyps, ref, hyp)
        mistakes.most_confused(mistakes.confusion(ref, hyp), 5)
        mistakes.worst_utterances(ref, hyp, 5)


def _marker_seeds(folder: Path) -> list[bytes]:
    write_marker(folder / "x", {"digest": "abc", "bytes": 3, "utts": {"a": 1}, "lost": [], "retry": False})
    made = {"command": ["a", "--b"], "inputs": {"c": "d"}, "sealed": {"e": "3 bytes"}}
    return [(folder / "x").read_bytes(), json.dumps(made).encode(), b"123 x.log\n"]


def _parse_marker(folder: Path, data: bytes) -> None:
    """A damaged one is as good as none."""
    path = _put(folder, "x", data)
    job, done, launched = read_marker(path), step.read_marker(path), slurm.read_submitted(path)
    sums = seals._sums(path)
    if done:
        asked = types.SimpleNamespace(marker=path, outputs=())
        step.reason(asked, {"command": ["a"], "inputs": {"c": "x"}})
    if not (job or done or launched or sums):
        raise InputError("no marker")


DATA_DIR = {
    "utt2spk": "a-1 a\na-2 a\nb-1 b\n", "spk2utt": "a a-1 a-2\nb b-1\n",
    "text": "a-1 one two\na-2 three\nb-1 four\n", "wav.scp": "a-1 a1.wav\na-2 a2.wav\nb-1 b1.flac\n",
    "utt2dur": "a-1 1.5\na-2 2\nb-1 0.25\n", "utt2num_frames": "a-1 150\na-2 200\nb-1 25\n",
    "spk2gender": "a f\nb m\n", "phones.ctm": "a-1 1 0.0 0.5 AA\na-1 1 0.5 0.4 SIL\n",
    "segments": "a-1 a-1 0 1.5\na-2 a-2 0.5 -1\nb-1 b-1 0.0 0.25\n",
}  # fmt: skip


def _parse_data_dir(folder: Path, data: bytes) -> None:
    """The first byte says which file of a data directory the others are."""
    names = list(DATA_DIR)
    path = folder / "data"
    path.mkdir(exist_ok=True)
    for name, text in DATA_DIR.items():
        (path / name).write_text(text)
    (path / names[(data[0] if data else 0) % len(names)]).write_bytes(data[1:])
    for name in ("spk2gender", "utt2dur", "utt2num_frames", "segments"):
        getattr(DataDir(path), name, None)
    try:
        validate(path)
    except InputError:
        fix(path)
        raise


def _data_dir_seeds(folder: Path) -> list[bytes]:
    return [bytes([number]) + text.encode() for number, text in enumerate(DATA_DIR.values())]


def _write_arks(folder: Path) -> list[bytes]:
    files = []
    for method, text in [(0, False), (2, False), (3, False), (5, False), (0, True)]:
        stream = io.BytesIO()
        writer = ArkWriter(stream, method, text=text)
        for utt_id, feats in [("a", FEATS), ("b", FEATS[:3])]:
            writer.write(utt_id, feats)
        if not method:
            writer.write("v", FEATS[0])
            writer.write("w", FEATS.astype(np.float64))
            writer.write("i", np.arange(3))
        files.append(stream.getvalue())
    _put(folder, "good.ark", files[0])
    _put(folder, "packed.ark", files[1])
    return files


def _read_ark(path: Path) -> None:
    list(read_entries(f"ark:{path}"))


def _read_at_two(path: Path) -> None:
    read_matrix(f"{path}:2", 1, 3)


def _shape_at_two(path: Path) -> None:
    matrix_shape(f"{path}:2")


def _sums_seeds(folder: Path) -> list[bytes]:
    write_ark(folder / "sealed.ark", [("a", FEATS), ("b", np.ones((3000, 4), np.float32))])
    return [(folder / "sealed.ark.crc32").read_bytes()]


def _parse_sums(folder: Path, data: bytes) -> None:
    _put(folder, "sealed.ark.crc32", data)
    _read_ark(folder / "sealed.ark")


def _scp_seeds(folder: Path) -> list[bytes]:
    _write_arks(folder)
    return [b"a good.ark:2\nb packed.ark:2\n", b"a good.ark:2[0:3]\nb good.ark:2[1:2,0:1]\n",
            b"ark:good.ark", b"ark,s,cs:good.ark", b"scp,p:x", b"ark,scp:a.ark,b.scp"]  # fmt: skip


def _parse_scp(folder: Path, data: bytes) -> None:
    path = _put(folder, "x", data)
    with contextlib.suppress(InputError):  # none of its recordings is there
        fingerprint(_put(folder, "wav.scp", data))
    text = data.decode("utf-8", "replace")
    for parse in (parse_reader, parse_writer):
        try:
            parse(text)
        except InputError:
            continue
        return
    table = load_scp(path)
    for place in table.values():
        if not place.startswith(("/", "..")):
            matrix_shape(place)
            read_matrix(place)


def _parse_index(folder: Path, data: bytes) -> None:
    """A big feature directory's tables stay on disk; what is not plainly in order is read as a small one."""
    path = _put(folder, "feats.scp", data)
    index = open_index(path)
    if index is None:
        raise InputError("no index of it")
    assert dict(index) == read_table(path)
    for name in ("same", "other"):
        (folder / name).write_bytes(data if name == "same" else b"a 7\nb 12\n")
        numbers_beside(folder / name, index)


def _audio_seeds(folder: Path) -> list[bytes]:
    samples = (0.1 * RNG.standard_normal(2000)).astype(np.float32)
    files = []
    for kind, subtype in [
        ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "ULAW"),
        ("OGG", "VORBIS"), ("NIST", "PCM_16"),
    ]:  # fmt: skip
        stream = io.BytesIO()
        soundfile.write(stream, samples, 16000, format=kind, subtype=subtype)
        files.append(stream.getvalue())
    return files


def _parse_audio(folder: Path, data: bytes) -> None:
    path = _put(folder, "x", data)
    try:
        read_audio(path)
    finally:
        for call in (
            lambda: read_audio(path, 16000, 0, 0.01, 0.05),
            lambda: read_audio(f"{path}:0"),
        ):
            try:
                call()
            except InputError:
                continue


class _Yaml:
    """The options of training, from a file."""

    def __init__(self) -> None:
        from speechrep.config import add_options, from_options

        self.parser = make_parser("x")
        add_options(self.parser, TrainConfig)
        self.parser.error = self._refuse  # type: ignore[method-assign]
        self._from = from_options

    def _refuse(self, message: str) -> None:
        raise InputError(message)

    def __call__(self, folder: Path, data: bytes) -> None:
        path = _put(folder, "x.yaml", data)
        self._from(TrainConfig, self.parser.parse_args(["--config", str(path)]))


YAML = _Yaml()


def _meta_seeds(folder: Path) -> list[bytes]:
    write_meta(folder / "m.json", META)
    return [(folder / "m.json").read_bytes()]


def _model_seeds(folder: Path) -> list[bytes]:
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIGS["apc"](), hidden_size=4, num_layers=1)
    save_model(folder / "good", build("apc", config, META))
    shutil.copytree(folder / "good", folder / "bad")
    return [(folder / "good" / INFO).read_bytes()]


def _parse_model_json(folder: Path, data: bytes) -> None:
    fingerprint(_put(folder / "bad", INFO, data))
    load_upstream(folder / "bad")


def _weights_seeds(folder: Path) -> list[bytes]:
    _model_seeds(folder)
    write_model(folder / "bad", {"a": FEATS, "b": np.arange(3)}, {"kind": "x"})
    return [(folder / "bad" / WEIGHTS).read_bytes(), (folder / "good" / WEIGHTS).read_bytes()]


def _parse_weights(folder: Path, data: bytes) -> None:
    path = _put(folder / "bad", WEIGHTS, data)
    if data == (folder / "good" / WEIGHTS).read_bytes():
        return
    read_model(path)


def _torch_seeds(folder: Path) -> list[bytes]:
    content = {"state_dict": {"w": torch.ones(3, 2), "b": torch.zeros(2, dtype=torch.int64)}, "step": 3,
               "list": [1.5, None, (1, "x")]}  # fmt: skip
    files = []
    for new in (True, False):
        stream = io.BytesIO()
        torch.save(content, stream, _use_new_zipfile_serialization=new)
        files.append(stream.getvalue())
    return files


def _parse_torch(folder: Path, data: bytes) -> None:
    def load(value: object) -> None:
        if isinstance(value, StoredTensor):
            if math.prod(value.shape) < 1 << 24:
                value.load()
        elif isinstance(value, dict):
            for item in value.values():
                load(item)

    load(read_checkpoint(_put(folder, "x.pt", data)))


def _import_seeds(folder: Path) -> list[bytes]:
    """Other projects' checkpoints as JSON, with the shapes of their tensors."""
    small = {"hidden_size": 4, "num_layers": 3}
    transformer = small | {"num_layers": 1, "num_heads": 2, "ffn_size": 8}
    mockingjay_model = build("mockingjay", CONFIGS["mockingjay"](**transformer), META)
    apc_model = build("apc", CONFIGS["apc"](**small, residual="inner"), META)
    plain_apc = build("apc", CONFIGS["apc"](**small, prenet_layers=1), META)
    trees = [
        mockingjay.write(mockingjay_model, True, 1)[0] | {OURS: describe(mockingjay_model)},
        mockingjay.write(mockingjay_model, False, 1)[0],
        apc.write(plain_apc)[0],
        s3prl.write_transformer(mockingjay_model, True, 1, "s3-mel80", 8)[0],
        s3prl.write_apc(apc_model, 1, "s3-apc80")[0],
    ]
    return [json.dumps(tree, default=_without_tensors).encode() for tree in trees]


def _without_tensors(value: object) -> dict:
    return {"shape": list(value.shape)} if isinstance(value, torch.Tensor) else vars(value)


def _with_tensors(value: dict) -> object:
    shape = value.get("shape")
    if value.keys() != {"shape"} or not isinstance(shape, list):
        return value
    if not all(isinstance(size, int) and 0 <= size <= 64 for size in shape) or len(shape) > 4:
        raise InputError("no tensor of this shape is made here")
    return torch.ones(shape)


def _parse_import(folder: Path, data: bytes) -> None:
    """The checkpoint's content is damaged, not its bytes: these would seldom get beyond their reader."""
    try:
        tree = json.loads(data, object_hook=_with_tensors)
    except (ValueError, RecursionError) as error:
        raise InputError(f"no JSON: {error}") from error
    torch.save(tree, folder / "x.pt")
    imported = import_model(folder / "x.pt")
    json.dumps(describe(imported.model) | imported.about, allow_nan=False)


def _state_seeds(folder: Path) -> list[bytes]:
    save_state(folder, 1, {"w": torch.ones(2)}, 1)
    return [(folder / "step-1.pt").read_bytes()]


def _parse_state(folder: Path, data: bytes) -> None:
    load_state(_put(folder, "step-1.pt", data))


def _store_seeds(folder: Path) -> list[bytes]:
    for name, layers in (("one", 0), ("two", 2)):
        with StoreWriter(folder / f"{name}.h5", META, ["a", "b"], [12, 3], layers) as writer:
            for utt_id, length in (("a", 12), ("b", 3)):
                feats = FEATS[:length]
                writer.write(utt_id, np.stack([feats] * layers, 1) if layers else feats)
    shutil.copy(folder / "one.h5", folder / "old.h5")
    with h5py.File(folder / "old.h5", "a") as file:  # without what would refuse most damage at once
        del file["crc32"], file.attrs["crc32"]
    return [(folder / f"{name}.h5").read_bytes() for name in ("one", "two", "old")]


def _endless_store() -> bytes:
    """A store whose first heap of strings has an object of size 0, which libhdf5 reads for ever."""
    with tempfile.TemporaryDirectory() as folder:
        data = bytearray(_store_seeds(Path(folder))[0])
    place = data.index(b"GCOL") + 16
    data[place : place + 16] = bytes(16)
    return bytes(data)


def _odd_text(seeds: Callable[[Path], list[bytes]]) -> Iterator[bytes]:
    """Files with a type of varying length that is neither text nor sequence: libhdf5 dies of it."""
    with tempfile.TemporaryDirectory() as folder:
        data = seeds(Path(folder))[0]
    place = -1
    while (place := data.find(b"\x19\x01\x01\x00\x10\x00\x00\x00", place + 1)) >= 0:
        yield data[: place + 1] + b"\x0a" + data[place + 2 :]


def _parse_store(folder: Path, data: bytes) -> None:
    path = _put(folder, "x.h5", data)
    fingerprint(path)
    store = Store(path)
    for utt_id in store.utt_ids[:5]:
        store.read(utt_id)
        store.read(utt_id, 1, 3)


def _csd_seeds(folder: Path) -> list[bytes]:
    times = np.array([[0.0, 1.0], [1.0, 2.5]])
    tracks = {"v1": Track(FEATS[:2], times), "v2": Track(FEATS[:1], times[:1])}
    write_csd(folder / "x.csd", "Labels", tracks, METADATA)
    return [(folder / "x.csd").read_bytes()]


def _hdf5_seeds(folder: Path) -> list[bytes]:
    with h5py.File(folder / "y.h5", "w") as file:
        file["a"] = FEATS
        file.create_dataset("b", data=FEATS, compression="gzip")
    return [(folder / "y.h5").read_bytes()]


def _huge_hdf5() -> bytes:
    """A data set that claims 4 TB and holds nothing."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("a", (1 << 30, 1024), np.float32, chunks=(1 << 10, 1024))
    return stream.getvalue()


def _parse_ready(folder: Path, data: bytes) -> None:
    _put(folder, "x.h5", data)
    source = ReadySource(ReadyConfig(scp="x.h5"), folder)
    for utt_id in source.utt_ids[:5]:
        source.read(utt_id)


METADATA = dict.fromkeys(REQUIRED[1:], "x") | {"dimension names": list("abcd")}
MANIFEST = {"recording_id": "a", "storage_path": "good.h5", "storage_key": "a"}


def _lhotse_seeds(folder: Path) -> list[bytes]:
    with h5py.File(folder / "good.h5", "w") as file:
        file["a"] = FEATS
    lines = [json.dumps(MANIFEST).encode() + b"\n", json.dumps({"features": MANIFEST}).encode() + b"\n"]
    return [*lines, gzip.compress(lines[0], 1, mtime=0)]


def _parse_lhotse(folder: Path, data: bytes) -> None:
    path = _put(folder, "x.jsonl.gz" if _suffix(data) == ".gz" else "x.jsonl", data)
    ReadySource(ReadyConfig(scp=path.name), folder)


def _tokenizer_seeds(folder: Path) -> list[bytes]:
    texts = ["the cat sat", "on the mat", "a dog ran to the cat"] * 5
    files = []
    for kind, size in (("char", 0), ("word", 0), ("unigram", 18), ("bpe", 18)):
        save_tokenizer(folder, train_tokenizer(kind, texts, size, "x"))
        files.append((folder / "tokenizer.json").read_bytes())
    return files


def _parse_tokenizer(folder: Path, data: bytes) -> None:
    _put(folder, "tokenizer.json", data)
    tokenizer = load_tokenizer(folder)
    tokenizer.decode(tokenizer.encode("the cat"))


def _suffix(data: bytes) -> str:
    """What a compressed file's name ends with."""
    kinds = {b"\x1f\x8b": ".gz", b"\xfd7": ".xz", b"BZ": ".bz2"}
    return kinds.get(data[:2], "")


def _parse_blogmel(folder: Path, data: bytes) -> None:
    path = _put(folder, "x" + _suffix(data), data)
    stream = open_text(str(path))
    with stream:
        list(read_blogmel(stream, str(path)))


def _blogmel_seeds(_folder: Path) -> list[bytes]:
    text = b"a\n1 2 3\n4 5 6\n.\nb\n1 2 3\n.\n"
    return [text, gzip.compress(text, 1, mtime=0), lzma.compress(text), bz2.compress(text)]


def _arpa_seeds(folder: Path) -> list[bytes]:
    tokenizer = train_tokenizer("char", ["ab", "ba"], 0, "x")
    save_tokenizer(folder, tokenizer)
    write_arpa(folder / "x.arpa", estimate([["a", "b"], ["b", "a", "a"]], 2, ["a", "b"]))
    return [(folder / "x.arpa").read_bytes()]


def _parse_arpa(folder: Path, data: bytes) -> None:
    NgramScorer(_put(folder, "x.arpa", data), load_tokenizer(folder))


def _no_kenlm() -> str:
    there = importlib.util.find_spec("kenlm")
    return "" if there else "kenlm is not installed: pip install -c constraints.txt -e '.[ngram]'"


def _tar(*members: tuple[str, bytes, bytes], mode: str = "w:gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content) if kind == tarfile.REGTYPE else 0
            info.linkname = content.decode() if kind != tarfile.REGTYPE else ""
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _parse_tar(folder: Path, data: bytes) -> None:
    """The archive is damaged behind its compression: else gzip's checksum would hide the tar parser."""
    inside = folder / "a/b/c"
    inside.mkdir(parents=True, exist_ok=True)
    packed = zlib.compressobj(1, wbits=31)
    path = _put(
        folder, "x.tar.gz", data if data[:2] == b"\x1f\x8b" else packed.compress(data) + packed.flush()
    )
    try:
        unpack(path, inside)
    except InputError:
        assert {str(p.relative_to(folder)) for p in folder.rglob("*") if "a/b/c" not in str(p)} <= {
            "a", "a/b", "x.tar.gz", "case", "files.json",
        }, "left its folder"  # fmt: skip
        raise


TEXTGRID = {
    "phones": [Interval(0, 0.5, "AA1"), Interval(0.5, 0.75, "sil")],
    "words": [Interval(0, 0.75, "a")],
}


def _ctm_seeds(folder: Path) -> list[bytes]:
    write_ctm(folder / "x.ctm", TEXTGRID)
    return [(folder / "x.ctm").read_bytes(), b"a 1 0.0 0.5 AA 0.9\n;; comment\nb 1 0 1 B\n"]


def _textgrid_seeds(folder: Path) -> list[bytes]:
    write_textgrid(folder / "x.TextGrid", TEXTGRID)
    text = (folder / "x.TextGrid").read_text()
    return [text.encode(), text.encode("utf-16")]


def _transcripts(folder: Path, data: bytes) -> None:
    (folder / "texts").mkdir(exist_ok=True)
    _put(folder / "texts", "v1.txt", data)
    mosei.read_transcripts(folder / "texts")


def _folds(folder: Path, data: bytes) -> None:
    for fold in mosei.FOLDS:
        _put(folder, f"{fold}.txt", data if fold == "train" else fold.encode())
    mosei.read_folds(folder)


def _card(folder: Path, name: str, data: bytes) -> None:
    """What the card of a model is made from."""
    good = _put(folder / "good", name, data).parent
    card.card(read_info(good), card._options(good), read_train_log(good / TRAIN_LOG), 1, "unknown")


def _logged(folder: Path, data: bytes) -> None:
    _put(folder, "train_log.jsonl", data)
    read_log(folder)
    _card(folder, "train_log.jsonl", data)


def _log_seeds(folder: Path) -> list[bytes]:
    _model_seeds(folder)
    lines = ('{"part": "train", "step": 1, "loss": 0.5}\n{"part": "valid", "step": 1, "loss": 0.4}\n',)
    return [line.encode() for line in lines]


def _config_seeds(folder: Path) -> list[bytes]:
    _model_seeds(folder)
    return [b"lr: 0.1\nmax-steps: 5\noptimizer: adam\n", b"seed: 2\nprecision: bf16 # x\n"]


def _configured(folder: Path, data: bytes) -> None:
    fingerprint(_put(folder, "input.yaml", data))
    _card(folder, "config.yaml", data)
    YAML(folder, data)


ENTRY = {
    "task": "phone", "upstream": "apc", "features": "fbank80", "set": "test", "metric": "accuracy",
    "value": 50.0, "ci95": [49.0, 51.0], "n": 20, "better": "higher", "checkpoint": "exp/x", "seed": 1,
    "commit": "abc", "created": "2026-01-01T00:00:00+00:00",
}  # fmt: skip
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + k)}: &{chr(98 + k)} [{', '.join(['*' + chr(97 + k)] * 10)}]\n" for k in range(12)
)

TARGETS = {
    "table": Target(
        _seeds("a-1 some words\na-2 more\n", "a\tb\n", "x é\n", "a-1 a-2 target\na-2 a-2 nontarget\n"),
        _either(
            b"target",
            _each(_trials),
            _each(read_table, lambda p: read_table(p, allow_empty=True), read_text),
        ),
        (b"0 a-1 a-2",),
    ),
    "scored": Target(_scored_seeds, _each(_parse_scored), (b"a ", b"-", b"nan")),
    "marker": Target(_marker_seeds, _parse_marker, (b"null", b"[]", b"{}", b'"command"'), (DEEP,)),
    "data_dir": Target(_data_dir_seeds, _parse_data_dir),
    "speakers": Target(_speaker_seeds, _either(b"|", _each(prepare_librispeech.read_genders), _transcribed)),
    "specifier": Target(
        _scp_seeds, _parse_scp, (b"ark:", b"scp,p:", b"good.ark:2", b"[0:1]", b"|"), (b"a 0\n",)
    ),
    "ark": Target(
        _write_arks,
        _each(_read_ark, _read_at_two, _shape_at_two),
        (b"\0B", b"FM ", b"CM ", b"CM2 ", b"DV ", b"\4\xff\xff\xff\x7f", b"[", b"]"),
        (
            b"a \0BFM \4\xff\xff\xff\x7f\4\xff\xff\xff\x7f",
            b"a \0BFM \4\0\0\0\0\4\xff\xff\xff\x7f",
            b"a \0BFM \4\xff\xff\xff\x7f\4\0\0\0\0" * 3,
            b"a \0BCM2 " + b"\0" * 8 + b"\xff\xff\xff\x7f" * 2,
        ),
    ),
    "checksums": Target(_sums_seeds, _parse_sums, (b"16384 ", b"00000000\n", b"ffffffff0\n")),
    "scp_index": Target(
        _seeds("a x.ark:2\nb x.ark:30\nc y.ark:2[0:3]\n", "a 7\nb 12\n"), _parse_index, (b"\tx", b"b x\n")
    ),
    "ctm": Target(_ctm_seeds, _each(read_ctm), (b"1e308", b"-0")),
    "textgrid": Target(
        _textgrid_seeds,
        _each(read_textgrid, read_phone_textgrid),
        (b"<exists>", b'"IntervalTier"', b"1e999"),
        (
            b'"ooTextFile" "TextGrid" 0 1 <exists> 999999999999',
            b'"ooTextFile" "TextGrid" 0 1 <exists> ' + b"9" * 9000,
        ),
    ),
    "labels": Target(
        _seeds("a 1 2 3\nb 0 0\n", 'a ",GO,,DO" "0.49,0.89,1.27,1.38"\n'),
        _either(b'"', _aligned, _each(phone_labels.read_frame_ids)),
        (b"-1",),
        (b"a " + b"9" * 9000,),
    ),
    "audio": Target(_audio_seeds, _parse_audio, (b"RIFF", b"WAVE", b"fmt ", b"data", b"fLaC", b"OggS")),
    "config": Target(
        _config_seeds,
        _configured,
        (b"!!python/object/apply:os.system [x]", b"&a ", b"*a", b"- ", b"<<: ", b"? ", b"lr: "),
        (
            BOMB.encode(),
            b"lr: !!python/object/apply:os.system ['touch hacked']\n",
            DEEP,
            b"lr: " + b"9" * 10_000,
            b"seed: " + b"9" * 10_000,
            BOMB.encode() + b"seed: *m\n",
        ),
    ),
    "features.json": Target(
        _meta_seeds,
        _each(read_meta, fingerprint, name="x.json"),
        (b"null", b"NaN", b"[]", b"{}"),
        (DEEP, b"9" * 9999),
    ),
    "model.json": Target(
        _model_seeds, _parse_model_json, (b"null", b"-1", b"[]", b"{}", b"1e99", b"99999999999"), (DEEP,)
    ),
    "results.json": Target(
        _seeds(json.dumps([ENTRY])), _each(read_results, read_json), (b"null", b"[]"), (DEEP,)
    ),
    "train_log": Target(
        _log_seeds,
        _logged,
        (b"null", b"NaN"),
        (DEEP,),
    ),
    "tokenizer": Target(_tokenizer_seeds, _parse_tokenizer, (b"null", b"[]"), (DEEP,)),
    "safetensors": Target(
        _weights_seeds,
        _parse_weights,
        (b'"dtype"', b'"F32"', b'"shape"', b"[4294967295]"),
        ((2**63).to_bytes(8, "little") + b"{}", (20).to_bytes(8, "little") + b"{" * 20),
    ),
    "torch": Target(
        _torch_seeds, _parse_torch, (b"cos\nsystem\n", b"R.", b"\x80\x02", b"PK\3\4", b"Q", b"\x8d")
    ),
    "import": Target(
        _import_seeds,
        _parse_import,
        (b"null", b"NaN", b"-1", b"1e99", b"[]", b"{}", b'"8"', b'{"shape": [4, 4]}', b'"shape"'),
        (DEEP,),
    ),
    "checkpoint": Target(_state_seeds, _parse_state),
    "store": Target(
        _store_seeds,
        _parse_store,
        (b"TREE", b"HEAP", b"SNOD", b"GCOL"),
        (_huge_hdf5(), _endless_store(), *_odd_text(_store_seeds)),
    ),
    "csd": Target(
        _csd_seeds,
        _each(lambda path: read_csd(path, cpu_s=CASE_S), name="x.csd"),
        (b"TREE", b"HEAP", b"SNOD"),
        (_huge_hdf5(), *_odd_text(_csd_seeds)),
    ),
    "hdf5": Target(_hdf5_seeds, _parse_ready, (b"TREE", b"HEAP", b"SNOD"), (_huge_hdf5(),)),
    "mosei.csv": Target(
        _seeds(
            "file,index,start,end,label7,split\nv1,0,0.5,2.0,-3,0\nv1,1,2.0,3.5,1,1\n",
            '"file","index","start","end","label7","split","x"\r\nv1,0,0.5,2.0,3,2,"a,b"\r\n',
        ),
        _each(mosei._read_label_csv),
        (b"split", b"label7"),
        (b"file,index,start,end,label7,split\n" + b"x" * 200_000 + b",0,0,1,1,0\n",),
    ),
    "mosei.txt": Target(
        _seeds("v1___0___0.5___2.0___some words\nv1___1___2___3.5___\n", "v1\nv2\n"),
        _either(b"___", _transcripts, _folds),
        (b"___",),
    ),
    "lhotse": Target(
        _lhotse_seeds, _parse_lhotse, (b"null", b"{}", b"[]", b'"features": '), (DEEP, b"9" * 9999)
    ),
    "arpa": Target(
        _arpa_seeds, _parse_arpa, (b"\\data\\", b"\\end\\", b"ngram 1=", b"99999999999"), missing=_no_kenlm
    ),
    "blogmel": Target(
        _blogmel_seeds,
        _parse_blogmel,
        (b".\n", b"1e999"),
        (gzip.compress(b"a\n" + b"1" * (64 << 20), mtime=0), bz2.compress(b"a\n" + b"1" * (64 << 20))),
    ),
    "tar": Target(
        lambda _f: [
            _tar(("LibriSpeech/a.txt", tarfile.REGTYPE, b"hello"), ("d", tarfile.DIRTYPE, b""), mode="w")
        ],
        _parse_tar,
        (b"../", b"/", b"ustar", b"2", b"1"),
        (
            _tar(("../x", tarfile.REGTYPE, b"x")),
            _tar(("/tmp/x", tarfile.REGTYPE, b"x")),
            _tar(("l", tarfile.SYMTYPE, b"/"), ("l/x", tarfile.REGTYPE, b"x")),
            _tar(("h", tarfile.LNKTYPE, b"/etc/passwd")),
        ),
    ),
}
