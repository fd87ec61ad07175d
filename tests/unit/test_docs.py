"""The code that the documents show runs as it stands, what they name exists, and the site builds."""

import ast
import math
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch
from downstream_data import make_set
from models import meta, model

from speechrep.bin import decode, extract_feats, prepare_librispeech, train_downstream
from speechrep.config import to_dict
from speechrep.data.features import open_features
from speechrep.downstream.base import Kind, NoOptions
from speechrep.downstream.inside import with_upstream
from speechrep.downstream.registry import TASKS
from speechrep.errors import InputError
from speechrep.frontend.fbank import FbankConfig
from speechrep.frontend.registry import FRONTENDS
from speechrep.io.data_dir import DataDir
from speechrep.io.feature_meta import FeatureMeta
from speechrep.io.model_files import read_info
from speechrep.io.store import StoreWriter
from speechrep.io.table import read_table, write_table
from speechrep.upstream.apc import ApcConfig
from speechrep.upstream.checkpoint import save_model
from speechrep.upstream.registry import CONFIGS, build

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
ENVIRONMENT = os.environ | {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "PYTHONPATH": str(REPOSITORY),
}
sys.path.append(str(DOCS / "hooks"))
import pages  # noqa: E402 (they lie where MkDocs finds them)
import reference  # noqa: E402


def text_of(name):
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(name, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", text_of(name), re.DOTALL)


def run_block(code, name, names=None):
    names = {} if names is None else names
    exec(compile(code, f"docs/{name}", "exec"), names)
    return names


def test_fine_tuning_by_hand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model("exp/apc", model("apc"))
    (code,) = (block for block in blocks("downstream.md") if "optimizer.step()" in block)
    before = model("apc").state_dict()
    names: dict = {}
    exec(compile(code, "docs/downstream.md", "exec"), names)
    assert names["loss"].isfinite() and names["vectors"].shape == (4, 300, 8)
    after = names["upstream"]
    assert not after.training and not any(p.requires_grad for p in after.parameters())
    changed = {name for name, value in after.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in changed} == {"rnns"}  # what only pre-training needs is left alone
    assert Path("phones/upstream/model.safetensors").exists()


def test_representations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frontend = FbankConfig(num_mel_bins=6)
    save_model("exp/apc", build("apc", ApcConfig(hidden_size=8), meta(config=to_dict(frontend), cmvn="none")))
    noise = np.random.default_rng(0).normal(0, 0.1, 16000 * 12)
    soundfile.write("speech.flac", noise, 16000)
    names: dict = {}
    exec(compile("".join(blocks("representations.md")), "docs/representations.md", "exec"), names)
    assert names["output"].hiddens[-1].shape == (1, 1198, 8) and names["output"].frame_shift_ms == 10.0
    assert names["piece"].hiddens[-1].shape == (1, 198, 8)


@pytest.mark.parametrize("layers", [0, 2])
def test_a_store_is_read_by_h5py_alone(tmp_path, monkeypatch, layers):
    monkeypatch.chdir(tmp_path)
    feats = torch.randn(5, *([layers] if layers else []), 6).numpy()
    with StoreWriter("dev.h5", model("apc").meta, ["x", "1272-128104-0000"], [5, 5], layers) as writer:
        writer.write("x", feats - 1)
        writer.write("1272-128104-0000", feats)
    (code,) = (block for block in blocks("downstream.md") if "h5py.File" in block)
    names: dict = {"h5py": h5py}
    exec(compile(code, "docs/downstream.md", "exec"), names)
    assert (names["feats"] == feats).all()


def test_adding_a_front_end_and_a_model(monkeypatch):
    energy, smooth, _ = blocks("adding.md")
    names = run_block(energy, "adding.md", {"__name__": "adding"})
    frontend = names["Energy"](names["EnergyConfig"]())
    feats = frontend(np.full(16000, 0.1, np.float32), 16000)
    assert feats.shape == (100, 1) and np.allclose(feats, np.log(0.01), atol=1e-4)
    click = np.zeros(16159, np.float32)  # as many frames, and nothing drifts
    click[160 * 50 - 70 : 160 * 50 + 70] = 1
    assert np.flatnonzero(frontend(click, 16000)[:, 0] > -1).tolist() == [50]

    monkeypatch.setitem(FRONTENDS, "energy", (names["EnergyConfig"], names["Energy"]))
    surface = build("surface", CONFIGS["surface"](), FeatureMeta("energy", {}, 1, 10.0, 16000))
    pieces = [piece.hiddens[0] for piece in surface.stream(click, 16000, window=30)]
    torch.testing.assert_close(torch.cat(pieces, 1), surface.extract(click, 16000).hiddens[0])
    with pytest.raises(InputError, match=r"want 16000 Hz \(resample the audio\)$"):
        surface.extract(click, 8000)

    names = run_block(smooth, "adding.md", {"__name__": "adding"})
    upstream = names["Smooth"](names["SmoothConfig"](), meta())
    feats, lens = torch.randn(2, 20, meta().dim), torch.tensor([20, 12])
    feats[1, 12:] = math.nan
    loss, stats = upstream.pretrain_loss(feats, lens)
    loss.backward()
    assert loss.isfinite() and stats["weight"] == 32 and upstream.filter.weight.grad.abs().sum() > 0
    alone = upstream(feats[1:, :12], lens[1:]).hiddens[-1]
    torch.testing.assert_close(upstream(feats, lens).hiddens[-1][1:, :12], alone)


def test_adding_a_task(tmp_path, monkeypatch):
    module = types.ModuleType("sex")
    monkeypatch.setitem(sys.modules, "sex", module)  # where dataclasses look for their types
    run_block(blocks("adding.md")[-1], "adding.md", module.__dict__)
    kind = with_upstream(Kind(module.SexConfig, module.build, module.load, module.decode, NoOptions))
    monkeypatch.setitem(TASKS, "sex", kind)
    sexes = {"100-7": "f", "101-7": "m", "102-7": "f", "103-7": "m"}
    store, data = make_set(tmp_path / "set", speakers=4, noise=0.1)
    write_table(data / "spk2gender", sexes)
    sets = ["--train", store, "--train-data", data, "--valid", store, "--valid-data", data]
    words = ["--task", "sex", *map(str, sets), "--exp-dir", str(tmp_path / "exp"), "--max-steps", "0"]
    train_downstream.main(words)
    words = ["--exp-dir", str(tmp_path / "exp"), "--data", str(store), "--data-dir", str(data)]
    decode.main([*words, "--out-dir", str(tmp_path / "out")])
    refs, hyps = read_table(tmp_path / "out/ref"), read_table(tmp_path / "out/hyp")
    assert refs == hyps == {utt_id: sexes[utt_id[:5]] for utt_id in refs} and len(refs) == 16
    decode.main([*words, "--out-dir", str(tmp_path / "part"), "--split", "test"])
    assert len(read_table(tmp_path / "part/ref")) == 4

    def sha(*options):
        words = ["--task", "sex", *map(str, sets), "--exp-dir", str(tmp_path / "other"), "--max-steps", "0"]
        train_downstream.main([*words, "--overwrite", *options])
        return read_info(tmp_path / "other")["weights_sha256"]

    assert len({sha(), sha("--train-proportion", "0.5"), sha("--train-split", "train")}) == 3
    write_table(data / "spk2gender", sexes | {"101-7": "M"})
    with pytest.raises(InputError, match="spk2gender: M is the sex of 101-7"):
        sha()


def test_adding_a_corpus(tmp_path):
    plan, stage_0 = blocks("adding.md", "bash")
    here = tmp_path / "egs/talk"
    (here / "local").mkdir(parents=True)
    (here / "recordings").mkdir()
    (here / "local/plan.sh").write_text(plan)
    (here / "utils").symlink_to(REPOSITORY / "utils")
    (tmp_path / "egs/librispeech").symlink_to(REPOSITORY / "egs/librispeech")
    script = """set -euo pipefail
        given_options=" " called_from=$PWD recordings=recordings feature_config=conf/x.yaml confdir=conf tag=t
        upstreams="fbank apc" controls=true targets= upstream_from= label_shares= expdir=exp dumpdir=dump
        datadir=data ngpu=0 nj=2 seed=1 dry_run=true verbose=1 stage=0 stop_stage=5
        . utils/recipe.sh
        . local/plan.sh
        conf apc; upstreams_of speaker; upstreams_of asr; labels_of asr; tests_of speaker; tests_of asr
        echo "$feats" "$reps"; cpu_cmd=utils/run.py array_cmd=
        STAGE_0
        if in_stage 1 features; then extract_features; fi
        recordings=none; . local/plan.sh""".replace("STAGE_0", stage_0)
    (here / "conf").mkdir()
    (here / "conf/x.yaml").write_text("feature: fbank\n")
    words = ["bash", "-c", script, "run.sh"]
    done = subprocess.run(words, cwd=here, env=ENVIRONMENT, capture_output=True, text=True)
    *steps, last = done.stderr.splitlines()
    assert last == "run.sh: error: --recordings: there is no folder none"
    assert re.findall(r"(\w+): would run", "\n".join(steps)) == ["sets", "train", "dev", "test"]
    assert done.stdout.splitlines() == [
        "../librispeech/conf/small/apc.yaml", "fbank apc fbank_ctx4 apc_untrained", "fbank apc", "text",
        "train", "test", "dump/x dump/t",
    ]  # fmt: skip


def test_features_are_read_by_numpy_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    samples = np.random.default_rng(0).normal(0, 0.1, 16000)
    soundfile.write("speech.flac", samples, 16000)
    Path("data").mkdir()
    Path("data/wav.scp").write_text("1272-128104-0000 speech.flac\n")
    Path("data/utt2spk").write_text("1272-128104-0000 1272-128104\n")
    (code,) = blocks("formats.md")
    for compress in ("true", "false"):
        words = "--feature fbank --num-mel-bins 20 --data-dir data --out-dir dump/fbank80/dev --compress"
        extract_feats.main([*words.split(), compress])
        names = run_block(code, "formats.md")
        ours = open_features("dump/fbank80/dev").read("1272-128104-0000")
        assert ours.shape == names["feats"].shape == (98, 20)
        np.testing.assert_allclose(names["feats"], ours, atol=1e-4)


def templates():
    """What the code may print, an ellipsis for every value that is put in."""
    found = []
    for path in sorted(REPOSITORY.glob("speechrep/**/*.py")) + sorted(REPOSITORY.glob("utils/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "\u2026" for v in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    for path in [*REPOSITORY.glob("utils/*.sh"), *REPOSITORY.glob("egs/*/local/*.sh")]:
        lines = path.read_text(encoding="utf-8").replace("\\\n", "").splitlines()
        found += [line for line in lines if "fail " in line]
    return found


def test_every_message_of_troubleshooting_is_one_of_the_codes():
    messages = re.findall(r"^### `(.+)`$", text_of("troubleshooting.md"), re.MULTILINE)
    assert len(messages) > 40 and text_of("troubleshooting.md").count("### ") == len(messages)
    known = "\n".join(template.replace("\n", " ") for template in templates())
    for message in messages:
        # A value that is put in may bring its own quotes.
        parts = [re.escape(part) for part in message.replace("'\u2026'", "\u2026").split("\u2026")]
        assert re.search(".*".join(parts), known.replace("'\u2026'", "\u2026")), message


def test_differences_name_tests_and_options_that_exist():
    text = text_of("differences.md")
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    assert len(named) > 40
    for file, test in named:
        path = REPOSITORY / "tests/unit" / file
        assert f"def {test}(" in path.read_text(encoding="utf-8"), f"{file}::{test}"
    import speechrep.bin.pretrain
    import speechrep.bin.train_downstream

    options = set()
    for module, option, choices in (
        (speechrep.bin.pretrain, "--upstream", ("apc", "mockingjay")),
        (speechrep.bin.train_downstream, "--task", ("phone", "speaker", "asr")),
        (extract_feats, "--feature", ("fbank", "mel", "linear")),
    ):
        for choice in choices:
            options |= set(reference.parser_of(module, option, choice)._option_string_actions)
    told = re.findall(r"`([a-z-]+): \S+`", text)
    assert len(told) > 15 and {f"--{name}" for name in told} <= options


@pytest.mark.parametrize("corpus", reference.recipes())
def test_the_reference_has_the_options_that_a_recipe_tells(corpus):
    done = subprocess.run(
        [REPOSITORY / "egs" / corpus / "run.sh", "--help"], capture_output=True, text=True, env=ENVIRONMENT
    )
    told = dict(re.findall(r"^  --(\S+) +(.*) \[.*\]$", done.stdout, re.MULTILINE))
    assert len(told) > 20
    assert {name: help for name, _, help in reference.recipe_options(corpus)} == told


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    """A folder as the tutorial has it, beside the checkout."""
    (tmp_path / "speechrep").symlink_to(REPOSITORY)
    folder = tmp_path / "talk/recordings"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder.parent)
    lines = []
    for i, which in enumerate(("train", "train", "dev", "test")):
        noise = np.random.default_rng(i).normal(0, 0.1, (44100, 2))
        soundfile.write(folder / f"take{i}.wav", noise, 44100)
        lines.append(f"{which}\t{7 + i // 2}\tF\ttake{i}.wav\tWe say {i}\n")
    (folder / "transcripts.tsv").write_text("".join(lines))
    return folder


def lay_out():
    code = next(block for block in blocks("tutorial.md") if "SPEAKERS.TXT" in block and "mini" not in block)
    run_block(code, "tutorial.md")


def test_own_recordings_are_laid_out(recordings):
    lay_out()
    prepare_librispeech.main(["--corpus", "corpus", "--sets", "train dev test", "--out-dir", "data"])
    train = DataDir("data/train")
    assert train.text == {"7-1-0000": "WE SAY 0", "7-1-0001": "WE SAY 1"}
    assert set(DataDir("data/dev").text) == {"8-1-0000"} and set(train.utt2dur.values()) == {1.0}


@pytest.mark.parametrize("line", ["train\t7\tF\ttake0.wav\t\n", "train\t7\tF\ttake0.wav\n"])
def test_a_recording_without_text_is_told(recordings, line):
    with open(recordings / "transcripts.tsv", "a") as stream:
        stream.write(line)
    with pytest.raises(SystemExit, match=r"transcripts\.tsv:5: want set, speaker, sex, file and text"):
        lay_out()


@pytest.mark.parametrize("line", ["train\tanna\tF\ttake0.wav\tHi\n", "train\t7\tF\tnone.wav\tHi\n"])
def test_a_mistake_in_the_table_of_recordings_is_told(recordings, line):
    (recordings / "transcripts.tsv").write_text(line)
    with pytest.raises(SystemExit, match=r"transcripts\.tsv:1: .* is no number, or there is no file"):
        lay_out()


def test_recordings_are_not_laid_out_over_others(recordings):
    lay_out()
    with pytest.raises(SystemExit, match="corpus/ is there: remove it"):
        lay_out()


def test_own_recordings_become_data_directories(recordings):
    (code,) = (block for block in blocks("tutorial.md", "bash") if "awk" in block)
    done = subprocess.run(["bash", "-e", "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0 and done.stdout.count("Successfully validated") == 3, done.stderr
    assert DataDir("kaldi/train").text == {"7-take0": "WE SAY 0", "7-take1": "WE SAY 1"}
    assert DataDir("kaldi/test").spk2utt == {"8": ["8-take3"]}


def test_links_lead_to_the_pages_that_files_become():
    text = "[a](../benchmarks/RESULTS.md#x) [b](apc.md) [c](https://x.y/z.md) [d](#e) [f](../setup.py)"
    moved = text.replace("../benchmarks/RESULTS.md#x", "results/benchmarks.md#x")
    assert pages.relink(text, "features.md") == moved
    text = "[a](../librispeech) [b](RESULTS.md) [c](../../docs/adding.md#a-task)"
    moved = "[a](librispeech.md) [b](../results/mosei.md) [c](../adding.md#a-task)"
    assert pages.relink(text, "recipes/mosei.md") == moved


def build_site(site, *options):
    # Not --quiet: warnings would be neither told nor counted.
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site), *options]
    return subprocess.run(words, cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True)


@pytest.mark.parametrize("link", ["nowhere.md", "../setup.py", "index.md#nothing", "/nowhere.md"])
def test_a_broken_link_is_an_error(tmp_path, link):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(f"[x]({link})\n")
    (tmp_path / "mkdocs.yml").write_text(
        f"INHERIT: {REPOSITORY}/mkdocs.yml\nnav: [index.md]\nhooks: []\nextra_css: []\n"
    )
    done = build_site(tmp_path / "site", "--config-file", str(tmp_path / "mkdocs.yml"))
    assert done.returncode == 1 and "Aborted with 1 warnings in strict mode" in done.stdout + done.stderr


def test_the_site_builds_without_a_warning_and_needs_no_network(tmp_path):
    done = build_site(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    html = sorted(tmp_path.rglob("*.html"))
    assert len(html) > 25 and (tmp_path / "reference/run_mosei.html").exists()
    for page in html:
        loaded = re.findall(
            r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"(//|https?:)",
            page.read_text(encoding="utf-8"),
        )
        assert not loaded, page
    styles = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.css"))
    assert not re.search(r"url\([\"']?(?:https?:)?//|@import", styles)
