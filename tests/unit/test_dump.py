"""Dumping gives what the model gives, utterance by utterance, with its provenance, or nothing at all."""

import dataclasses
import os
import shutil
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from models import meta, model

import speechrep
from speechrep.bin import dump
from speechrep.data.features import open_features
from speechrep.data.identity import global_statistics, require_like
from speechrep.errors import InputError
from speechrep.frontend.cmvn import statistics
from speechrep.io.ark import ArkWriter, write_ark
from speechrep.io.feature_meta import write_meta
from speechrep.io.model_files import write_model
from speechrep.io.specifier import read_entries
from speechrep.io.store import Store, StoreWriter
from speechrep.io.store_export import export_ark, export_espnet
from speechrep.io.table import read_table
from speechrep.upstream import dumping
from speechrep.upstream.checkpoint import save_model
from speechrep.upstream.dumping import BATCH_FRAMES, Dump, DumpConfig, parse_layers
from speechrep.upstream.registry import CONFIGS, build
from tests.peak_memory import measured

LENGTHS = [7, 30, 12, 25, 3, 18]


def write_feats(path, **changes):
    rng = np.random.default_rng(0)
    with StoreWriter(path, meta(**changes), [f"u{i}" for i in range(len(LENGTHS))], LENGTHS) as writer:
        for i, length in enumerate(LENGTHS):
            writer.write(f"u{i}", rng.standard_normal((length, changes.get("dim", 6))).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def feats(tmp_path_factory):
    return write_feats(tmp_path_factory.mktemp("feats") / "feats.h5")


def run(feats, exp_dir, out, *more):
    dump.main(["--upstream", str(exp_dir), "--feats-dir", str(feats), "--out", str(out), *more])
    return open_features(out)


@pytest.mark.parametrize("name", ["apc", "mockingjay", "surface"])
@pytest.mark.parametrize("layers", ["last", "all", "1,0"])
def test_the_store_holds_the_models_vectors(feats, tmp_path, name, layers):
    if name == "surface" and layers == "1,0":
        return  # has one layer
    save_model(tmp_path / "exp", model(name))
    loaded = speechrep.load(tmp_path / "exp")
    store = run(feats, tmp_path / "exp", tmp_path / "x.h5", "--layers", layers, "--max-frames", "60")
    reader = open_features(feats)
    assert store.utt_ids == reader.utt_ids and store.num_frames.tolist() == LENGTHS
    for utt_id in reader.utt_ids:
        alone = loaded(torch.from_numpy(reader.read(utt_id))[None]).hiddens
        chosen = parse_layers(layers, len(alone))
        want = torch.stack([alone[layer][0] for layer in chosen], 1).numpy()
        want = want if len(chosen) > 1 else want[:, 0]
        np.testing.assert_allclose(store.read(utt_id), want, atol=2e-5)
    assert store.meta.upstream == name and store.meta.weights_sha256 == loaded.weights_sha256
    assert store.meta.layers == chosen and store.meta.dim == want.shape[-1]
    assert store.meta.config == reader.meta.config and store.meta.frame_shift_ms == 10.0


def test_a_down_sampling_model_gives_fewer_frames(feats, tmp_path):
    save_model(tmp_path / "exp", model("mockingjay", downsample=3))
    store = run(feats, tmp_path / "exp", tmp_path / "x.h5")
    assert store.num_frames.tolist() == [length // 3 for length in LENGTHS]
    assert store.meta.frame_shift_ms == 30.0


def test_float16(feats, tmp_path):
    save_model(tmp_path / "exp", model("apc"))
    full = run(feats, tmp_path / "exp", tmp_path / "x.h5")
    half = run(feats, tmp_path / "exp", tmp_path / "y.h5", "--dtype", "float16")
    assert half.meta.dtype == "float16"
    np.testing.assert_allclose(half.read("u1"), full.read("u1"), atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 4}, "dim is 4 but"),
        ({"frame_shift_ms": 12.5}, r"frame_shift_ms is 12\.5 but"),
        ({"cmvn": "none"}, "cmvn is 'none' but"),
        ({"upstream": "apc"}, "holds representations of apc"),
    ],
)
def test_refuses_features_of_another_make(tmp_path, changes, message):
    save_model(tmp_path / "exp", model("apc"))
    other = write_feats(tmp_path / "other.h5", **changes)
    with pytest.raises(InputError, match=message):
        run(other, tmp_path / "exp", tmp_path / "x.h5")
    assert not list(tmp_path.glob("*x.h5*"))


def test_refuses_a_store_that_was_cut_short_or_a_model_of_another_kind(feats, tmp_path):
    """Each is told by name, and nothing is left behind."""
    save_model(tmp_path / "exp", model("apc"))
    whole = feats.read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) - 100])
    with pytest.raises(InputError, match=r"cut\.h5: not a readable HDF5 file, perhaps cut short"):
        run(tmp_path / "cut.h5", tmp_path / "exp", tmp_path / "x.h5")
    write_model(tmp_path / "phone", {"w": np.zeros(1)}, {"kind": "downstream", "task": "phone"})
    torch.save({"step": 3}, tmp_path / "step.pt")
    for source, message in [
        ("phone", "holds a downstream phone model, want an upstream"),
        ("step.pt", r"step\.pt.*of no known project"),
        ("absent", "absent: no such file or folder"),
    ]:
        with pytest.raises(InputError, match=message):
            run(feats, tmp_path / source, tmp_path / "x.h5")
    assert not list(tmp_path.glob("*x.h5*"))


@pytest.mark.parametrize("name", ["apc", "mockingjay"])
def test_bf16_is_near(feats, tmp_path, name):
    save_model(tmp_path / "exp", model(name))
    full = run(feats, tmp_path / "exp", tmp_path / "x.h5")
    half = run(feats, tmp_path / "exp", tmp_path / "y.h5", "--precision", "bf16")
    for utt_id in full.utt_ids:
        np.testing.assert_allclose(half.read(utt_id), full.read(utt_id), atol=0.06)
    assert (full.meta.precision, half.meta.precision) == ("fp32", "bf16")
    for words in (["--precision", "bf16"], []):  # asked for in either
        run(feats, tmp_path / "exp", tmp_path / "y.h5", *words, "--verify")


def test_refuses_unknown_layers(feats, tmp_path):
    save_model(tmp_path / "exp", model("apc"))
    for layers, message in [
        ("7", "the layers 0 to 1"),
        ("0,0", "the layers 0 to 1"),
        ("top", "layers is 'top'"),
    ]:
        with pytest.raises(InputError, match=message):
            run(feats, tmp_path / "exp", tmp_path / "x.h5", "--layers", layers)
    with pytest.raises(InputError, match=r"does not end in \.h5"):
        run(feats, tmp_path / "exp", tmp_path / "x.hdf")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nj", "0"], "--nj: want 1 or more"),
        (["--nj", "2", "--job", "3"], "--job: want one of 1 to 2"),
        (["--layers", "0", "--layer-weights-from", "{task}"], "sums all layers; --layers 0 says others"),
        (["--format", "espnet", "--verify"], "--verify: checks stores; leave out --format"),
    ],
)
def test_options_that_do_not_go_together_are_told(feats, tmp_path, words, message):
    save_model(tmp_path / "exp", model("apc"))
    weights = {"model.layer_weights": np.zeros(2, np.float32)}
    write_model(tmp_path / "task", weights, {"kind": "downstream", "task": "asr"})
    with pytest.raises(InputError, match=message):
        run(
            feats,
            tmp_path / "exp",
            tmp_path / "x.h5",
            *(word.format(task=tmp_path / "task") for word in words),
        )
    assert not list(tmp_path.glob("*x.h5*"))


def test_features_are_not_written_over_on_the_way_to_another_format(tmp_path):
    """They have the name of the store that is exported, and would be gone at the end."""
    feats = write_feats(tmp_path / "x.store.h5")
    save_model(tmp_path / "exp", model("apc"))
    with pytest.raises(InputError, match=r"holds the features to represent"):
        run(feats, tmp_path / "exp", tmp_path / "x", "--format", "ark")
    assert open_features(feats).num_frames.tolist() == LENGTHS


@pytest.mark.parametrize(
    ("words", "ngpu", "on_gpu"),
    [([], 0, False), (["--ngpu", "1"], 1, True), (["--ngpu", "1", "--cmd", "run.pl"], 0, True),
     (["--ngpu", "1", "--cmd", "run.pl", "--job", "1"], 1, True)],
)  # fmt: skip
def test_who_waits_for_jobs_needs_no_gpu_and_foresees_their_batches(
    feats, tmp_path, monkeypatch, words, ngpu, on_gpu
):
    save_model(tmp_path / "exp", model("apc"))
    seen = []

    def planned(model, reader, out, config, *_):
        seen.append(config.max_frames)
        raise KeyboardInterrupt

    monkeypatch.setattr(
        dump.distributed, "choose_device", lambda count: seen.append(count) or torch.device("cpu")
    )
    monkeypatch.setattr(dump, "Dump", planned)
    with pytest.raises(KeyboardInterrupt):
        run(feats, tmp_path / "exp", tmp_path / "x.h5", *words)
    assert seen == [ngpu, BATCH_FRAMES[on_gpu]]


def test_layers_are_stored_in_the_models_order():
    assert parse_layers("2,0", 3) == (0, 2) and parse_layers("1 0", 2) == (0, 1)


def test_an_utterance_too_short_for_the_model_is_named(tmp_path, feats):
    save_model(tmp_path / "exp", model("mockingjay", downsample=4))
    with pytest.raises(InputError, match=r"feats\.h5: u4: 3 frames give no vector"):
        run(feats, tmp_path / "exp", tmp_path / "x.h5")
    assert not list(tmp_path.glob("*x.h5*"))


def test_parts_are_kept_and_merged(feats, tmp_path, monkeypatch):
    save_model(tmp_path / "exp", model("apc"))
    whole = run(feats, tmp_path / "exp", tmp_path / "whole.h5", "--layers", "all")
    out = tmp_path / "x.h5"
    more = ["--layers", "all", "--part-frames", "25"]
    calls = []
    write = Dump._write

    def killed(self, path, *more):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(path)
        write(self, path, *more)

    monkeypatch.setattr(Dump, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        run(feats, tmp_path / "exp", out, *more)
    assert not out.exists() and len(list(tmp_path.glob("x.h5.parts/*"))) == 2
    calls.clear()
    resumed = run(feats, tmp_path / "exp", out, *more)
    assert len(calls) == 2  # of four
    for utt_id in whole.utt_ids:
        np.testing.assert_allclose(resumed.read(utt_id), whole.read(utt_id), atol=2e-5)
    assert resumed.utt_ids == whole.utt_ids and not list(tmp_path.glob("x.h5.parts*"))


def dump_of_apc(feats, tmp_path):
    """What the command will run for ``x.h5``."""
    save_model(tmp_path / "exp", model("apc"))
    return Dump(speechrep.load(tmp_path / "exp"), open_features(feats), tmp_path / "x.h5", DumpConfig())


@pytest.mark.parametrize("place", [0, 2500, -1])
def test_a_damaged_part_is_dumped_again(feats, tmp_path, place):
    work = dump_of_apc(feats, tmp_path)
    whole = run(feats, tmp_path / "exp", tmp_path / "whole.h5")
    work.run([0])
    part = work.part_path(0)
    data = bytearray(part.read_bytes())
    data[place] ^= 1
    part.write_bytes(data)
    again = run(feats, tmp_path / "exp", tmp_path / "x.h5")
    for utt_id in whole.utt_ids:
        np.testing.assert_array_equal(again.read(utt_id), whole.read(utt_id))


def test_a_part_of_another_number_format_is_dumped_again(feats, tmp_path):
    dump_of_apc(feats, tmp_path).run([0])
    store = run(feats, tmp_path / "exp", tmp_path / "x.h5", "--dtype", "float16")
    assert store.meta.dtype == "float16"


@pytest.mark.parametrize(("more", "name"), [(1, "u"), (0, "v")])
def test_a_part_of_other_lengths_or_utterances_is_not_taken(feats, tmp_path, more, name):
    work = dump_of_apc(feats, tmp_path)
    lengths = [length + more for length in LENGTHS]
    utt_ids = [f"{name}{i}" for i in range(len(LENGTHS))]
    with StoreWriter(work.part_path(0), work.meta, utt_ids, lengths) as writer:
        for utt_id, length in zip(utt_ids, lengths, strict=True):
            writer.write(utt_id, np.zeros((length, 8), np.float32))
    with pytest.raises(InputError, match="was not dumped"):
        work.finish()


def test_parts_of_another_model_or_other_features_are_not_kept(feats, tmp_path):
    for seed in (0, 1):
        save_model(tmp_path / f"exp{seed}", model("apc", seed=seed))
    feats = shutil.copy2(feats, tmp_path)
    reader, out = open_features(feats), tmp_path / "x.h5"
    works = [Dump(speechrep.load(tmp_path / f"exp{seed}"), reader, out, DumpConfig()) for seed in (0, 1)]
    works[0].run([0])
    works[0].finish()
    (tmp_path / "x.h5.parts").mkdir()
    part = works[1].part_path(0)
    (tmp_path / "x.h5").rename(part)
    with pytest.raises(InputError, match=r"part-0000\.\w+\.h5: was not dumped"):
        works[1].finish()
    half = Dump(works[0].model, reader, out, DumpConfig(precision="bf16"))
    with pytest.raises(InputError, match=r"part-0000\.\w+\.h5: was not dumped"):
        half.finish()
    part.rename(works[0].part_path(0))
    os.utime(feats, (0, 0))  # of earlier features, which came back from where they were kept
    with pytest.raises(InputError, match="was not dumped"):
        Dump(works[0].model, open_features(feats), out, DumpConfig()).finish()


def test_jobs(feats, tmp_path):
    save_model(tmp_path / "exp", model("mockingjay"))
    words = ["--max-frames", "40"]
    whole = run(feats, tmp_path / "exp", tmp_path / "whole.h5", *words)
    store = run(feats, tmp_path / "exp", tmp_path / "x.h5", "--nj", "2", *words)
    assert store.utt_ids == whole.utt_ids
    for utt_id in whole.utt_ids:
        np.testing.assert_array_equal(store.read(utt_id), whole.read(utt_id))  # to the last bit


@pytest.mark.parametrize("part_frames", [60, 1000])
def test_batches_do_not_depend_on_the_number_of_jobs(feats, tmp_path, monkeypatch, part_frames):
    """Padding changes the last bits, so that only the same batches give the same store."""
    save_model(tmp_path / "exp", model("apc"))
    loaded, reader = speechrep.load(tmp_path / "exp"), open_features(feats)
    config = DumpConfig(max_frames=40, part_frames=part_frames)
    shapes, forward = [], Dump._vectors
    monkeypatch.setattr(Dump, "_vectors", lambda self, f, n: shapes.append(n.tolist()) or forward(self, f, n))
    stores, batches, parts = [], [], []
    for nj in (1, 2, 3, 100):
        work = Dump(loaded, reader, tmp_path / f"{nj}.h5", config, nj=nj)
        for job in range(nj):
            work.run(range(len(work.parts))[job::nj])
        work.finish()
        store = open_features(work.out)
        assert store.utt_ids == reader.utt_ids
        stores.append(np.concatenate([store.read(utt_id) for utt_id in store.utt_ids]))
        batches.append(sorted(shapes))
        parts.append(len(work.parts))
        shapes.clear()
    assert all(np.array_equal(stores[0], other) for other in stores)
    assert all(batches[0] == other for other in batches) and len(batches[0]) > 3
    assert parts == ([2, 2, 4, 4] if part_frames == 60 else [1, 2, 3, 4])


def test_verify_finds_every_fault(feats, tmp_path, capsys):
    save_model(tmp_path / "exp", model("apc"))
    out = tmp_path / "x.h5"
    good = run(feats, tmp_path / "exp", out)
    run(feats, tmp_path / "exp", out, "--verify")
    assert "6 utterances, whole and up to date" in capsys.readouterr().out

    vectors = {utt_id: good.read(utt_id) for utt_id in good.utt_ids}

    def spoil(changes, meta=good.meta):
        changed = {utt_id: value for utt_id, value in (vectors | changes).items() if value is not None}
        with StoreWriter(out, meta, list(changed), [len(value) for value in changed.values()]) as writer:
            for utt_id, value in changed.items():
                writer.write(utt_id, value)
        with pytest.raises(InputError, match="faults"):
            run(feats, tmp_path / "exp", out, "--verify")
        return capsys.readouterr().out

    assert "missing: u5" in spoil({"u5": None})
    assert "extra: v" in spoil({"v": vectors["u0"]})
    assert "length: u1 has 29 frames, want 30" in spoil({"u1": vectors["u1"][:29]})
    for utt_id, error in (("u0", 0.02), ("u3", 1.0)):  # a small one, and one behind the first utterance
        assert f"values: {utt_id} is not what" in spoil({utt_id: vectors[utt_id] + error})
    assert "stale: weights_sha256" in spoil({}, dataclasses.replace(good.meta, weights_sha256="2" * 64))
    with h5py.File(run(feats, tmp_path / "exp", out).path, "a") as file:
        file["feats"][0] = np.nan
    with pytest.raises(InputError, match="faults"):
        run(feats, tmp_path / "exp", out, "--verify")
    assert "damaged: frame 0 of u0" in capsys.readouterr().out
    with h5py.File(out, "a") as file:  # as stores of before the checksums were
        del file["crc32"], file.attrs["crc32"]
    with pytest.raises(InputError, match="faults"):
        run(feats, tmp_path / "exp", out, "--verify")
    assert "NaN: u0" in capsys.readouterr().out
    run(feats, tmp_path / "exp", out)
    os.utime(out, (0, 0))
    with pytest.raises(InputError, match="faults"):
        run(feats, tmp_path / "exp", out, "--verify")
    assert "stale: older than" in capsys.readouterr().out


def test_verify_computes_again_utterances_from_everywhere(feats, tmp_path, monkeypatch):
    """Not the first ones: a damaged machine may have come late."""
    work = dump_of_apc(feats, tmp_path)
    good = run(feats, tmp_path / "exp", tmp_path / "x.h5")
    vectors = {utt_id: good.read(utt_id) + (utt_id == "u3") for utt_id in good.utt_ids}
    with StoreWriter(tmp_path / "x.h5", good.meta, good.utt_ids, LENGTHS) as writer:
        for utt_id, value in vectors.items():
            writer.write(utt_id, value)
    monkeypatch.setattr(dumping, "COMPARED", 2)
    assert work.problems() == ["values: u3 is not what the model gives"]


@pytest.mark.parametrize("changed", ["feats.scp", "features.json"])
def test_a_store_older_than_a_directory_of_features_is_stale(tmp_path, changed):
    folder = tmp_path / "feats"
    export_ark(open_features(write_feats(tmp_path / "feats.h5", cmvn="none")), folder)
    save_model(tmp_path / "exp", build("apc", CONFIGS["apc"](hidden_size=8), meta(cmvn="none")))
    run(folder, tmp_path / "exp", tmp_path / "x.h5")
    work = Dump(speechrep.load(tmp_path / "exp"), open_features(folder), tmp_path / "x.h5", DumpConfig())
    assert not work.problems()
    later = time.time() + 10
    os.utime(folder / "feats.ark", (later, later))
    assert not work.problems()  # the archive alone may have been touched, or copied
    os.utime(folder / changed, (later, later))
    assert "stale: older than" in work.problems()[0]


def test_a_store_in_any_order_is_a_sorted_directory(tmp_path):
    """Kaldi's tools want it sorted; what said that another directory there was whole is taken away."""
    store_path, folder = tmp_path / "x.h5", tmp_path / "ark"
    with StoreWriter(store_path, meta(cmvn="none"), ["b", "a/1"], [3, 4]) as writer:
        for utt_id, length in (("b", 3), ("a/1", 4)):
            writer.write(utt_id, np.full((length, 6), length, np.float32))
    (folder / ".jobs").mkdir(parents=True)
    (folder / ".jobs/1.json").write_text("{}")
    export_ark(Store(store_path), folder)
    assert list(read_table(folder / "feats.scp")) == ["a/1", "b"]
    assert [key for key, _ in read_entries(f"ark:{folder}/feats.ark")] == ["a/1", "b"]
    assert not (folder / ".jobs").exists()
    with pytest.raises(InputError, match=r"x\.h5: utterance 'a/1' cannot name an HDF5 data set"):
        export_espnet(Store(store_path), tmp_path / "e.h5")


def test_an_archive_of_representations_has_no_statistics_of_its_own(feats, tmp_path):
    """Those that its features.json tells of were the input's."""
    folder, store = tmp_path / "feats", open_features(feats)
    write_ark(folder / "a.ark", ((u, store.read(u)) for u in store.utt_ids), folder / "feats.scp")
    write_meta(folder / "features.json", dataclasses.replace(store.meta, cmvn="global"))
    with open(folder / "cmvn.ark", "wb") as stream:
        ArkWriter(stream).write_alone(statistics(store.read(store.utt_ids[0])))
    upstream = build("apc", CONFIGS["apc"](hidden_size=4, num_layers=1), open_features(folder).meta)
    upstream.cmvn_stats = global_statistics(open_features(folder))
    save_model(tmp_path / "exp", upstream)
    ark = run(folder, tmp_path / "exp", tmp_path / "ark", "--format", "ark")
    assert ark.meta.cmvn == "global" and global_statistics(ark) is None
    require_like(ark, ark)


def test_other_toolkits_formats(feats, tmp_path):
    save_model(tmp_path / "exp", model("apc"))
    store = run(feats, tmp_path / "exp", tmp_path / "x.h5")
    options = ["--upstream", str(tmp_path / "exp"), "--feats-dir", str(feats)]
    dump.main([*options, "--out", str(tmp_path / "e.h5"), "--format", "espnet"])
    dump.main([*options, "--out", str(tmp_path / "ark"), "--format", "ark"])
    places = read_table(tmp_path / "e.scp")
    ark = open_features(tmp_path / "ark")
    assert ark.meta.identity() == store.meta.identity() and ark.meta.dtype == "float32"
    with h5py.File(tmp_path / "e.h5") as file:
        for utt_id in store.utt_ids:
            np.testing.assert_allclose(file[utt_id][:], store.read(utt_id), atol=1e-6)
            np.testing.assert_allclose(ark.read(utt_id), store.read(utt_id), atol=1e-6)
            assert places[utt_id] == f"{tmp_path / 'e.h5'}:{utt_id}"
    assert not list(tmp_path.glob("*.store.h5*"))
    for words in (["ark", "--out", str(feats)], ["hdf5", "--feats-dir", str(tmp_path / "x.h5")]):
        with pytest.raises(InputError, match="holds the features to represent"):
            dump.main([*options, "--out", str(tmp_path / "x.h5"), "--format", *words])
    dump.main([*options, "--out", str(tmp_path / "half"), "--format", "ark", "--dtype", "float16"])
    assert open_features(tmp_path / "half").meta.dtype == "float32"


def test_what_a_format_cannot_hold_is_refused_before_anything_is_computed(feats, tmp_path, monkeypatch):
    save_model(tmp_path / "exp", model("apc"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/spk2utt").touch()
    monkeypatch.setattr(dump.Dump, "run", None)
    options = ["--upstream", str(tmp_path / "exp"), "--feats-dir", str(feats), "--format", "ark"]
    with pytest.raises(InputError, match=r"ark2: 2 layers do not fit a Kaldi matrix"):
        dump.main([*options, "--out", str(tmp_path / "ark2"), "--layers", "all"])
    with pytest.raises(InputError, match=r"data: is a data directory"):
        dump.main([*options, "--out", str(tmp_path / "data")])


def test_one_job_of_a_launcher_runs_there(feats, tmp_path):
    save_model(tmp_path / "exp", model("mockingjay"))
    launcher = f"{sys.executable} {Path(__file__).parents[2] / 'utils/run.py'}"
    store = run(feats, tmp_path / "exp", tmp_path / "x.h5", "--cmd", launcher)
    whole = run(feats, tmp_path / "exp", tmp_path / "whole.h5")
    for utt_id in whole.utt_ids:
        np.testing.assert_array_equal(store.read(utt_id), whole.read(utt_id))
    words = ["--upstream", str(tmp_path / "exp"), "--feats-dir", str(feats), "--out", str(tmp_path / "y.h5")]
    with pytest.raises(InputError, match="the launcher ended with status 1"):
        dump.main([*words, "--cmd", "false"])


def test_a_weighted_sum_of_layers(feats, tmp_path):
    save_model(tmp_path / "exp", model("apc"))
    loaded, reader = speechrep.load(tmp_path / "exp"), open_features(feats)
    work = Dump(loaded, reader, tmp_path / "x.h5", DumpConfig(layers="all"), mix=[0.25, 0.75])
    work.run(range(len(work.parts)))
    work.finish()
    hiddens = loaded(torch.from_numpy(reader.read("u1"))[None]).hiddens
    want = (0.25 * hiddens[0] + 0.75 * hiddens[1])[0].numpy()
    store = open_features(tmp_path / "x.h5")
    np.testing.assert_allclose(store.read("u1"), want, atol=2e-5)
    other = Dump(loaded, reader, tmp_path / "x.h5", DumpConfig(layers="all"), mix=[0.75, 0.25])
    shas = {meta.weights_sha256 for meta in (store.meta, other.meta, reader.meta)}
    assert len(shas) == 3 and loaded.weights_sha256 not in shas
    with pytest.raises(InputError, match=r"3 weights for the layers \[0, 1\]"):
        Dump(loaded, reader, tmp_path / "x.h5", DumpConfig(layers="all"), mix=[1, 0, 0])


def test_meta_of_a_dump_is_not_that_of_its_input(feats, tmp_path):
    save_model(tmp_path / "exp", model("surface", context=1))
    store = run(feats, tmp_path / "exp", tmp_path / "x.h5")
    assert store.meta.dim == 18
    assert store.meta.identity() != dataclasses.replace(open_features(feats).meta, dim=18).identity()


MEMORY = """
import sys
from speechrep.bin.dump import main
from speechrep.data.features import open_features
main(sys.argv[1:])
store = open_features(sys.argv[-1])
print(sum(store.read(utt_id).size for utt_id in store.utt_ids))
"""


def test_memory_does_not_grow_with_the_utterances(tmp_path):
    """Ten times the utterances add what their names and places take, not what their frames do."""
    save_model(tmp_path / "exp", model("surface", context=20))
    used, stored = {}, {}
    for count in (500, 5000):
        feats = np.zeros((20, 6), np.float32)
        with StoreWriter(tmp_path / "f.h5", meta(), [f"u{i}" for i in range(count)], [20] * count) as writer:
            for i in range(count):
                writer.write(f"u{i}", feats)
        words = ["--upstream", tmp_path / "exp", "--feats-dir", tmp_path / "f.h5", "--out", tmp_path / "x.h5"]
        values, used[count] = measured(MEMORY, *words)
        stored[count] = 4 * int(values) / 1e6
    assert stored[5000] > stored[500] + 80
    assert used[5000] < used[500] + 20, used  # MB
