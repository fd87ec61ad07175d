"""The pretrain command: from feature stores to a model that load takes; continued, repeated, refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import speechrep
from speechrep.bin import pretrain, untrained
from speechrep.bin.pretrain import main
from speechrep.compat.convert import export_model
from speechrep.data.features import open_features
from speechrep.errors import InputError
from speechrep.frontend.cmvn import statistics
from speechrep.io.ark import ArkWriter, write_ark
from speechrep.io.feature_meta import FeatureMeta, write_meta
from speechrep.io.files import read_train_log
from speechrep.io.model_files import read_info
from speechrep.io.store import StoreWriter
from speechrep.report.embedding import vectors_of
from speechrep.report.utterance import read_utterance
from speechrep.upstream.card import write_card
from speechrep.upstream.checkpoint import save_model
from speechrep.upstream.pretraining import PretrainData, Pretraining
from speechrep.upstream.registry import CONFIGS, build

SMALL = {
    "apc": ["--upstream", "apc", "--hidden-size", "16", "--lr", "1e-2"],
    "mockingjay": ["--upstream", "mockingjay", "--hidden-size", "16", "--num-heads", "2", "--ffn-size", "32",
                   "--lr", "1e-2", "--mask-span", "1", "--dropout", "0"],
    "surface": ["--upstream", "surface", "--context", "2"],
}  # fmt: skip
CONF = Path(__file__).parent.parent.parent / "egs"
UPSTREAM_CONFS = sorted(path for path in CONF.rglob("*.yaml") if "\nupstream:" in path.read_text())
STEPS = ["--max-steps", "30", "--max-frames", "300", "--crop-frames", "60", "--valid-interval", "10",
         "--num-pictures", "0"]  # fmt: skip


def write_store(path, dim=5, seed=0, **changes):
    rng = np.random.default_rng(seed)
    lens = rng.integers(1, 120, 12)  # some are shorter than the time shift or a mask
    meta = FeatureMeta("fbank", {"num_mel_bins": dim}, dim, 10.0, 16000, cmvn="utterance")
    meta = FeatureMeta(**({f: getattr(meta, f) for f in meta.__dataclass_fields__} | changes))
    names = [f"utt{i}" for i in range(len(lens))]
    with StoreWriter(path, meta, names, lens) as store:
        for name, length in zip(names, lens, strict=True):
            walk = np.cumsum(rng.normal(size=(length, dim)), 0)
            store.write(name, ((walk - walk.mean(0)) / (walk.std(0) + 1)).astype(np.float32))
    return str(path)


@pytest.fixture
def sets(tmp_path):
    train, valid = write_store(tmp_path / "train.h5"), write_store(tmp_path / "valid.h5", seed=1)
    return ["--train-dir", train, "--valid-dir", valid]


@pytest.mark.parametrize("name", SMALL)
def test_trains_and_loads(tmp_path, sets, name):
    exp = tmp_path / "exp"
    command = [*SMALL[name], *sets, *STEPS, "--exp-dir", str(exp)]
    main(command)
    model = speechrep.load(exp)
    assert model.name == name and model.meta.dim == 5
    assert f"`{sets[1]}`" in (exp / "README.md").read_text()  # the model card
    info = json.loads((exp / "model.json").read_text())
    lines = [json.loads(line) for line in (exp / "train_log.jsonl").read_text().splitlines()]
    valid = [line for line in lines if line["part"] == "valid"]
    if name == "surface":
        return
    if name == "apc":  # Mockingjay learns too slowly for this; test_upstreams shows that it does
        assert valid[-1]["loss"] < valid[0]["loss"]
    assert info["valid"]["loss"] == min(line["loss"] for line in valid)
    relative = {"apc": "loss_over_copy", "mockingjay": "loss_over_zero"}[name]
    assert relative in valid[0] and {"frames_per_s", "lr", "data_wait", "grad_norm"} < set(lines[-2])
    before = (exp / "train_log.jsonl").read_bytes(), (exp / "model.safetensors").stat().st_mtime_ns
    main(command)  # finished: nothing happens
    assert before == ((exp / "train_log.jsonl").read_bytes(), (exp / "model.safetensors").stat().st_mtime_ns)


def test_a_run_that_began_with_an_error_binds_nobody(tmp_path, sets):
    command = [*SMALL["apc"], *sets, "--exp-dir", str(tmp_path / "exp")]
    with pytest.raises(InputError, match="no such feature directory"):
        main([*command, "--max-steps", "1", "--valid-dir", str(tmp_path / "absent")])
    main([*command, "--max-steps", "0"])


def test_a_run_of_an_earlier_version_goes_on_by_the_names_of_now(tmp_path, sets):
    command = [*SMALL["apc"], *sets, "--exp-dir", str(tmp_path / "exp"), "--max-steps", "0"]
    main(command)
    path = tmp_path / "exp/config.yaml"
    path.write_text(path.read_text().replace("hidden-size:", "hidden:").replace("max-utts:", "batch-utts:"))
    main(command)


def test_a_run_that_was_killed_before_it_began_binds_nobody(tmp_path, sets):
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/config.yaml").write_text("max-steps: 7\n")
    main([*SMALL["apc"], *sets, "--exp-dir", str(tmp_path / "exp"), "--max-steps", "0"])
    assert "max-steps: 0\n" in (tmp_path / "exp/config.yaml").read_text()


def test_options_of_another_run_are_refused_unless_overwritten(tmp_path, sets):
    command = [*SMALL["apc"], *sets, "--exp-dir", str(tmp_path / "exp"), "--max-steps"]
    main([*command, "0"])
    with pytest.raises(InputError, match=r"max-steps was 0 and is now 2.*--overwrite"):
        main([*command, "2"])
    with pytest.raises(InputError, match="seed was 1 and is now 2"):
        main([*command, "0", "--seed", "2"])
    main([*command, "2", "--overwrite"])
    assert json.loads((tmp_path / "exp/checkpoints/finished.json").read_text())["step"] == 2
    main([*command, "2", "--num-workers", "1", "--log-interval", "7"])  # changes nothing that is trained


def test_a_run_from_before_an_option_existed_did_its_default(tmp_path, sets):
    command = [*SMALL["apc"], *sets, "--exp-dir", str(tmp_path / "exp"), "--max-steps", "0"]
    main(command)
    path = tmp_path / "exp/config.yaml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("residual:")))
    main(command)
    with pytest.raises(InputError, match="residual was 'all' and is now 'none'"):
        main([*command, "--residual", "none"])


@pytest.mark.parametrize("name", ["apc", "mockingjay"])
def test_begins_with_the_weights_of_another(tmp_path, sets, name):
    first, second = tmp_path / "first", tmp_path / "second"
    main([*SMALL[name], *sets, *STEPS, "--exp-dir", str(first)])
    command = [*SMALL[name], *sets, *STEPS, "--init-from", str(first), "--exp-dir"]
    main([*command, str(tmp_path / "copy"), "--max-steps", "0", "--dropout", "0.1"])
    begun, copy = (read_info(path) for path in (first, tmp_path / "copy"))
    assert copy["weights_sha256"] == begun["weights_sha256"]
    assert copy["begun_from"] == {"weights_sha256": begun["weights_sha256"]} and copy["step"] == 0
    main([*command, str(second), "--max-steps", "3", "--valid-interval", "1"])
    assert read_info(second)["begun_from"] == copy["begun_from"]
    before, *later = (
        line["loss"] for line in read_train_log(second / "train_log.jsonl") if line["part"] == "valid"
    )
    assert before == pytest.approx(begun["valid"]["loss"], rel=1e-5)  # goes on from the best
    assert before not in later
    assert f"begun with the weights | `{begun['weights_sha256'][:16]}`" in (second / "README.md").read_text()
    assert speechrep.load(second).about["begun_from"] == copy["begun_from"]


def test_begins_with_another_projects_checkpoint_and_tells_of_it(tmp_path, sets):
    command = [*SMALL["mockingjay"], *sets, "--max-steps", "0", "--exp-dir"]
    main([*command, str(tmp_path / "first"), "--seed", "5"])
    export_model(tmp_path / "first", "mockingjay", tmp_path / "released.ckpt")
    released = ["--init-from", str(tmp_path / "released.ckpt")]
    main([*command, str(tmp_path / "second"), *released])
    first, second = (read_info(tmp_path / name) for name in ("first", "second"))
    assert second["weights_sha256"] == first["weights_sha256"] == second["begun_from"]["weights_sha256"]
    imported = second["begun_from"]["imported"]
    assert imported["from"] == "mockingjay" and imported["file"] == "released.ckpt"
    assert "imported" not in second
    assert "`, imported from `released.ckpt` |" in (tmp_path / "second/README.md").read_text()
    with pytest.raises(InputError, match="another network: num_heads was 2 and is now 4"):
        main([*command, str(tmp_path / "third"), *released, "--num-heads", "4"])
    other = write_store(tmp_path / "other.h5", cmvn="none")
    with pytest.raises(InputError, match=r"cmvn is 'none' but .*import it first: import_checkpoint --preset"):
        main([*command, str(tmp_path / "third"), *released, "--train-dir", other, "--valid-dir", other])


def test_a_run_that_goes_on_tells_of_the_weights_that_it_began_with(tmp_path, sets):
    """Though another model has their place meanwhile; what is done tells, too."""
    command = [*SMALL["apc"], *sets, *STEPS, "--exp-dir"]
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    main([*command, first, "--seed", "5", "--max-steps", "1"])
    sha = read_info(first)["weights_sha256"]
    main([*command, second, "--init-from", first, "--max-steps", "20", "--save-interval", "10"])
    whole = read_info(second)
    for left in ("step-20.pt", "step-20.json", "finished.json"):
        (Path(second) / "checkpoints" / left).unlink()
    main([*command, first, "--seed", "6", "--max-steps", "1", "--overwrite"])
    main([*command, second, "--init-from", first, "--max-steps", "20", "--save-interval", "10"])
    assert read_info(second)["begun_from"] == {"weights_sha256": sha} == whole["begun_from"]
    assert read_info(second)["weights_sha256"] == whole["weights_sha256"]
    main([*command, second, "--init-from", f"{first}/./", "--max-steps", "20", "--save-interval", "10"])
    with pytest.raises(InputError, match=r"init-from was '\S*first' and is now None"):
        main([*command, second, "--max-steps", "20", "--save-interval", "10"])


def test_weights_that_do_not_fit_are_refused(tmp_path, sets):
    first = str(tmp_path / "first")
    main([*SMALL["apc"], *sets, "--max-steps", "0", "--exp-dir", first])
    other = write_store(tmp_path / "other.h5", cmvn="none")
    second = str(tmp_path / "second")
    same = [*SMALL["apc"], *sets]
    others = [*SMALL["apc"], "--train-dir", other, "--valid-dir", other]
    wrong = "first: weights of another network: "
    for words, source, exp_dir, told in [
        ([*same, "--hidden-size", "8"], first, second, f"{wrong}hidden_size was 16 and is now 8"),
        ([*same, "--residual", "none"], first, second, f"{wrong}residual was 'all' and is now 'none'"),
        ([*SMALL["mockingjay"], *sets], first, second, "first: holds apc, want mockingjay"),
        (others, first, second, r"cmvn is 'none' but .*first was made for .*extract features"),
        (same, str(tmp_path / "none"), second, "none: no such file or folder"),
        ([*same, "--overwrite"], first, first, "--init-from: is in --exp-dir"),
        ([*same, "--overwrite"], f"{first}/model.safetensors", first, "--init-from: is in --exp-dir"),
    ]:
        with pytest.raises(InputError, match=told):
            main([*words, "--max-steps", "0", "--init-from", source, "--exp-dir", exp_dir])
        assert not (tmp_path / "second/config.yaml").exists()
    assert speechrep.load(first)


def test_other_features_at_the_same_path_are_told(tmp_path, sets):
    command = [*SMALL["apc"], *sets, *STEPS, "--exp-dir", str(tmp_path / "exp")]
    main(command)
    main(command)  # finished: nothing to do
    for path, seed in ((sets[1], 0), (sets[3], 1)):
        Path(path).unlink()
        write_store(path, seed=seed, cmvn="none")
    with pytest.raises(InputError, match=r"cmvn is 'none' but .*exp was made for 'utterance'"):
        main(command)


def test_other_global_statistics_at_the_same_path_are_told(tmp_path, sets):
    """A run that went on with them would be trained on two kinds of features."""
    folders = []
    for path in sets[1::2]:
        store, folder = open_features(path), Path(path).with_suffix("")
        write_ark(folder / "a.ark", ((u, store.read(u)) for u in store.utt_ids), folder / "feats.scp")
        write_meta(folder / "features.json", dataclasses.replace(store.meta, cmvn="global"))
        folders.append(folder)

    def write_statistics(scale):
        for folder in folders:
            with open(folder / "cmvn.ark", "wb") as stream:
                ArkWriter(stream).write_alone(scale * statistics(np.eye(5)))

    exp = str(tmp_path / "exp")
    command = [*SMALL["apc"], "--train-dir", str(folders[0]), "--valid-dir", str(folders[1]), *STEPS]
    write_statistics(1.0)
    main([*command, "--exp-dir", exp])
    main([*command, "--exp-dir", exp])
    write_statistics(2.0)
    with pytest.raises(InputError, match=r"other global statistics than what .*exp was begun"):
        main([*command, "--exp-dir", exp])
    with pytest.raises(InputError, match="normalised by other global statistics than the model was made"):
        read_utterance(speechrep.load(exp), folders[0])
    with pytest.raises(InputError, match="normalised by other global statistics than x was made"):
        vectors_of(speechrep.load(exp), open_features(folders[0]), "last", 2, 0, "x")


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_finished_run_whose_model_is_gone_is_told(tmp_path, sets, name):
    command = [*SMALL["apc"], *sets, *STEPS, "--exp-dir", str(tmp_path / "exp")]
    main(command)
    (tmp_path / "exp" / name).unlink()
    with pytest.raises(InputError, match=f"exp: has come to its end, but {name} is gone"):
        main(command)


def test_variables_left_of_another_job(tmp_path, sets, monkeypatch):
    command = [*SMALL["apc"], *sets, *STEPS, "--exp-dir", str(tmp_path / "exp")]
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(InputError, match="environment: 1 processes for ngpu 0 and num-nodes 2"):
        main([*command, "--num-nodes", "2", "--master", "here:1"])
    for wrong in ("", "x"):
        monkeypatch.setenv("WORLD_SIZE", wrong)
        with pytest.raises(InputError, match=f"environment: WORLD_SIZE is '{wrong}', want a number"):
            main(command)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="environment: WORLD_SIZE is 2, but there is no RANK"):
        main(command)
    monkeypatch.setenv("WORLD_SIZE", "1")
    main(command)


def test_other_targets_at_the_same_path_are_told(tmp_path, sets):
    paths = [write_store(tmp_path / f"t{seed}.h5", dim=9, seed=seed, feature="linear") for seed in (0, 1)]
    command = [*SMALL["mockingjay"], *sets, "--max-steps", "1", "--exp-dir", str(tmp_path / "exp"),
               "--train-target-dir", paths[0], "--valid-target-dir", paths[1]]  # fmt: skip
    main(command)
    for seed, path in enumerate(paths):
        Path(path).unlink()
        write_store(path, dim=9, seed=seed, feature="mel")
    with pytest.raises(InputError, match=r"t0\.h5: feature is 'mel' but .*exp was made for 'linear'"):
        main(command)


def test_representations_are_no_input(tmp_path, sets):
    made = write_store(tmp_path / "made.h5", upstream="apc", layers=(2,))
    with pytest.raises(InputError, match=r"made\.h5: holds representations of apc"):
        main([*SMALL["apc"], "--train-dir", made, *sets[2:], "--exp-dir", str(tmp_path / "exp")])
    with pytest.raises(InputError, match=r"made\.h5: holds representations of apc"):
        main([*SMALL["mockingjay"], *sets, "--train-target-dir", made, "--valid-target-dir", sets[3],
              "--exp-dir", str(tmp_path / "exp")])  # fmt: skip


def test_config_yaml_is_taken_back(tmp_path, sets):
    main([*SMALL["mockingjay"], *sets, "--max-steps", "1", "--exp-dir", str(tmp_path / "a")])
    main(["--config", str(tmp_path / "a/config.yaml"), "--exp-dir", str(tmp_path / "b")])
    stores = [json.loads((tmp_path / name / "model.json").read_text())["weights_sha256"] for name in "ab"]
    assert stores[0] == stores[1]


def test_an_untrained_model_is_that_of_the_seed(tmp_path, sets):
    digests = []
    for exp, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        main([*SMALL["apc"], *sets, "--max-steps", "0", "--seed", seed, "--exp-dir", str(tmp_path / exp)])
        digests.append(json.loads((tmp_path / exp / "model.json").read_text())["weights_sha256"])
    assert digests[0] == digests[1] != digests[2]


def test_an_untrained_model_like_another_is_what_pretrain_began_with(tmp_path, sets):
    main([*SMALL["apc"], *sets, "--max-steps", "0", "--seed", "3", "--exp-dir", str(tmp_path / "a")])
    main([*SMALL["apc"], *sets, "--max-steps", "0", "--seed", "4", "--exp-dir", str(tmp_path / "like")])
    untrained.main(["--like", str(tmp_path / "like"), "--seed", "3", "--exp-dir", str(tmp_path / "b")])
    digests = [json.loads((tmp_path / name / "model.json").read_text())["weights_sha256"] for name in "ab"]
    assert digests[0] == digests[1]


def test_an_untrained_model_takes_no_trained_ones_place(tmp_path, sets):
    main([*SMALL["apc"], *sets, *STEPS, "--max-steps", "2", "--exp-dir", str(tmp_path / "apc")])
    weights = (tmp_path / "apc/model.safetensors").read_bytes()
    with pytest.raises(InputError, match="apc: there is a trained model"):
        untrained.main(["--like", str(tmp_path / "apc"), "--exp-dir", str(tmp_path / "apc")])
    assert (tmp_path / "apc/model.safetensors").read_bytes() == weights
    save_model(tmp_path / "imported", speechrep.load(tmp_path / "apc"), {"imported": {"file": "x.ckpt"}})
    with pytest.raises(InputError, match="imported: there is a trained model"):
        untrained.main(["--like", str(tmp_path / "apc"), "--exp-dir", str(tmp_path / "imported")])
    for _ in range(2):  # an untrained one may be made again
        untrained.main(["--like", str(tmp_path / "apc"), "--exp-dir", str(tmp_path / "untrained")])


def test_options_reach_what_is_trained(tmp_path, sets, monkeypatch):
    seen = {}

    def task(model, train, valid, data, seed, **more):
        seen.update(more, seed=seed)
        raise InputError("enough")

    monkeypatch.setattr(pretrain, "Pretraining", task)
    for count in (0, 3):
        words = ["--seed", "7", "--num-workers", "2", "--num-pictures", str(count)]
        with pytest.raises(InputError, match="enough"):
            main([*SMALL["apc"], *sets, *words, "--max-steps", "2", "--exp-dir", str(tmp_path / "apc")])
        assert (seen["seed"], seen["num_workers"]) == (7, 2)
        assert seen["draw"] is None if not count else seen["draw"].keywords["count"] == count


def test_a_licence_given_later_stays(tmp_path, sets):
    command = [*SMALL["apc"], *sets, *STEPS, "--max-steps", "2", "--exp-dir", str(tmp_path / "apc")]
    main([*command, "--licence", "mit"])
    assert "license: mit" in (tmp_path / "apc/README.md").read_text()
    write_card(tmp_path / "apc", "cc-by-4.0")
    main(command)  # finished: returns at once
    assert "license: cc-by-4.0" in (tmp_path / "apc/README.md").read_text()


def test_where_an_average_is_taken_the_interval_of_its_states_decides(tmp_path, sets):
    command = [*SMALL["apc"], *sets, *STEPS, "--exp-dir", str(tmp_path / "apc"), "--save-interval", "4"]
    main([*command, "--max-steps", "2"])
    main([*command, "--max-steps", "2", "--save-interval", "5"])
    command[-3] = str(tmp_path / "mean")
    main([*command, "--max-steps", "2", "--average-last", "2"])
    with pytest.raises(InputError, match="save-interval was 4 and is now 5"):
        main([*command, "--max-steps", "2", "--average-last", "2", "--save-interval", "5"])


def test_other_targets_want_their_features(tmp_path, sets):
    words = [*SMALL["mockingjay"], *sets, "--max-steps", "1", "--exp-dir", str(tmp_path / "exp")]
    with pytest.raises(InputError, match="target-dim is 1, the features have"):
        main([*words, "--target-dim", "1"])


def test_an_agents_restart_goes_on_in_spite_of_overwrite(tmp_path, sets, monkeypatch):
    words = [*SMALL["apc"], *sets, *STEPS, "--exp-dir", str(tmp_path / "exp"), "--overwrite"]
    main(words)
    before = (tmp_path / "exp/model.safetensors").stat().st_mtime_ns
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    main(words)
    assert (tmp_path / "exp/model.safetensors").stat().st_mtime_ns == before
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT")
    main(words)
    assert (tmp_path / "exp/model.safetensors").stat().st_mtime_ns != before


def test_sets_of_different_kind_are_refused(tmp_path, sets):
    other = write_store(tmp_path / "other.h5", frame_shift_ms=12.5)
    with pytest.raises(InputError, match=r"frame_shift_ms is 12.5 .* made for 10.0") as error:
        main([*SMALL["apc"], *sets[:2], "--valid-dir", other, "--exp-dir", str(tmp_path / "exp")])
    assert "other.h5" in str(error.value) and "train.h5" in str(error.value)


def test_utterances_without_a_run_of_the_original_choice_are_left_out(tmp_path, sets):
    """It leaves what is below 47 frames alone: a step on such a batch alone would move by momentum only."""
    words = [*SMALL["mockingjay"], *sets, "--mask-starts", "original", "--mask-span", "7", "--max-steps", "2"]
    with pytest.raises(InputError, match="crop-frames 40 is below the shortest usable length 47"):
        main([*words, "--crop-frames", "40", "--exp-dir", str(tmp_path / "exp")])
    with pytest.raises(InputError, match=r"train.h5: none of its 12 utterances has 141 frames"):
        main([*words, "--downsample", "3", "--exp-dir", str(tmp_path / "exp")])


def test_batches_padded_to_what_the_original_padded_to(sets):
    """All utterances count alike in the loss, whatever their length."""
    reader = open_features(sets[1])
    upstream = build("apc", CONFIGS["apc"](hidden_size=4, num_layers=1, loss_on="padded"), reader.meta)
    weights = {}
    for pad_to in (0, 150):
        data = PretrainData(max_frames=10**6, pad_to=pad_to)
        (batch,) = Pretraining(upstream, reader, reader, data, seed=1).train_loader().epoch(0)
        _, stats = upstream.pretrain_loss(batch["feats"], batch["feat_lens"])
        assert not batch["unpadded"] and len(batch["utt_ids"]) == (reader.num_frames > 3).sum()
        weights[pad_to] = int(stats["weight"]) / len(batch["utt_ids"])
    assert weights == {0: reader.num_frames.max() - 3, 150: 147}
    few = PretrainData(max_frames=300, pad_to=150)
    for batch in Pretraining(upstream, reader, reader, few, seed=1).train_loader().epoch(0):
        assert len(batch["utt_ids"]) <= 2  # within the budget


def test_pictures_of_the_original_choice_need_no_run(tmp_path, sets):
    """Those of TensorBoard are of four seconds, a run of 21 positions of 3 frames wants more."""
    words = [*SMALL["mockingjay"], *sets, "--mask-starts", "original", "--mask-span", "5", "--max-steps", "1"]
    main([*words, "--downsample", "3", "--exp-dir", str(tmp_path / "exp")])
    assert read_info(tmp_path / "exp")["config"]["mask_starts"] == "original"


def test_reconstructs_other_features_of_the_same_utterances(tmp_path, sets):
    linear = [
        write_store(tmp_path / f"linear{seed}.h5", dim=9, seed=seed, feature="linear") for seed in (0, 1)
    ]
    command = [
        *SMALL["mockingjay"],
        *sets,
        "--downsample",
        "3",
        "--max-steps",
        "2",
        "--train-target-dir",
        linear[0],
    ]
    main([*command, "--valid-target-dir", linear[1], "--exp-dir", str(tmp_path / "exp")])
    info = json.loads((tmp_path / "exp/model.json").read_text())
    assert info["config"]["target_dim"] == 9 and info["target"]["feature"] == "linear"
    assert speechrep.load(tmp_path / "exp").reconstruct(torch.zeros(1, 16)).shape == (1, 27)
    with pytest.raises(InputError, match=r"linear0.h5: utt0: \d+ frames, but .*valid.h5 has"):
        main([*command, "--valid-target-dir", linear[0], "--exp-dir", str(tmp_path / "other")])


@pytest.mark.parametrize("path", UPSTREAM_CONFS, ids=lambda path: str(path.relative_to(CONF)))
def test_every_shipped_configuration_starts(tmp_path, sets, path):
    small = ["--num-layers", "1", "--hidden-size", "24"] * ("surface" not in path.read_text())
    small += ["--num-heads", "2", "--ffn-size", "8"] * ("num-heads" in path.read_text())
    options = ["--max-steps", "0" if "surface" in path.read_text() else "1", "--precision", "fp32", *small]
    main(["--config", str(path), *sets, *options, "--exp-dir", str(tmp_path / "exp")])
    assert speechrep.load(tmp_path / "exp").name in path.read_text()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--max-steps", "-1"], "no end"),
        (["--hidden-size", "0"], "hidden-size is 0"),
        (["--ngpu", "64"], "ngpu is 64"),
        (["--num-nodes", "2"], "master"),
        (["--num-nodes", "2", "--master", "here"], "--master: want HOST:PORT, got 'here'"),
        (["--crop-frames", "2"], "crop-frames 2"),
        (["--halve-above", "40"], "halve-above 40 halves max-utts"),
        (["--crop-frames", "-1"], "crop-frames is -1"),
        (["--grad-clip", "-1"], "grad-clip is -1"),
        (["--lr", "nan"], "lr is nan"),
        (["--patience", "-1"], "patience is -1"),
        (["--max-epochs", "-1"], "max-epochs is -1"),
        (["--dropout", "2"], "dropout is 2"),
        (["--num-workers", "-2"], "--num-workers: want 0 or more, got -2"),
        (["--train-target-dir", "x"], "go together"),
        (["--num-pictures", "-1"], "--num-pictures: want 0 or more, got -1"),
        (["--weight-decay", "inf"], "weight-decay is inf"),
        (["--seed", str(2**63)], r"seed is \d+, want less than 2\^63"),
    ],
)
def test_senseless_options_are_told(tmp_path, sets, options, complaint):
    with pytest.raises(InputError, match=complaint):
        main([*SMALL["apc"], *sets, "--exp-dir", str(tmp_path / "exp"), *options])
