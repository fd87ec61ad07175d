"""A recipe on a tiny corpus, its state before every stage, and means to disturb a stage and compare."""

import dataclasses
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

REPOSITORY = Path(__file__).parents[2]
SHIM = Path(__file__).with_name("shim.c")
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("FAULT_")} | {
    "VIRTUAL_ENV": sys.prefix,
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# What tells when, where and how fast, and differs from run to run.
TRANSIENT = {"created", "commit", "started", "seconds", "host", "valid_seconds", "real_time_factor"}
NO_RESULT = ("/logs/", "/log/", "/tensorboard/", "/checkpoints/", "/.done/")
OWNED = {"model.json", "features.json", "hyp", "wav.scp", "utt2sentiment"}  # their folders are a step's own
LOG = "train_log.jsonl"
ALSO = "also"
NO_RESULT_NAMES = (LOG, "README.md", "RESULTS.md", "report.html")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe and the words with which it is run."""

    name: str
    words: tuple[str, ...]
    confs: tuple[str, ...]  # folders below the repository; the later ones win
    changes: dict[str, str]  # configuration to its whole content
    also: tuple[str, ...] = ()  # stage 0 is run once more with these, into ALSO, for more commands


LIBRISPEECH = Recipe(
    "librispeech",
    ("--corpus", "mini", "--pretrain-sets", "mini-train mini-dev", "--upstreams", "apc",
     "--controls", "false", "--tasks", "phone speaker verification asr",
     "--feature-config", "conf/fbank80.yaml"),
    ("egs/librispeech/conf", "egs/librispeech/conf/small", "tests/recipe/conf"),
    {"mini_corpus.yaml": "speakers: 2 1 2\nsentences: 4\nmin-words: 4\nmax-words: 5\n"},
    ("--corpus", "corpus", "--corpus-dir", "", "--train-sets", "mini-train", "--dev-sets", "mini-dev",
     "--test-sets", "mini-test", "--pretrain-sets", "mini-train:2001", "--tasks", "phone",
     "--aligner", "pocketsphinx", "--datadir", "also"),
)  # fmt: skip
MOSEI = Recipe(
    "mosei",
    ("--mosei-dir", "mini", "--upstreams", "apc apc_finetune",
     "--feature-config", "conf/fbank80_video.yaml"),
    ("egs/librispeech/conf", "egs/librispeech/conf/small", "egs/mosei/conf", "egs/mosei/conf/small",
     "tests/recipe/conf"),
    {},
)  # fmt: skip
RECIPES = {recipe.name: recipe for recipe in (LIBRISPEECH, MOSEI)}


@dataclasses.dataclass(frozen=True)
class Done:
    """How something ended."""

    status: int | None  # None: it hung
    text: str  # what it said
    fired: int  # how often the fault happened, in the process where it did most often

    def is_clear(self, culprits: Sequence[str]) -> bool:
        """Whether it failed as a program should: by itself, with words that name one of ``culprits``."""
        _, found, words = self.text.partition("error")
        named = any(name in words for name in culprits)
        # A worker's death may meet torch in an import, which it logs, traceback and all, and goes on.
        traceback = re.search(r"^\s*Traceback", self.text, re.MULTILINE)
        return (self.status or 0) > 0 and bool(found) and not traceback and named


class Lab:
    """Always works in the same folder, so that absolute paths in data directories stay true.

    ``light``: no torch is imported for the forks, and there is no ALSO.
    """

    def __init__(self, recipe: Recipe, base: Path, light: bool = False):
        self.recipe, self.base, self.light = recipe, base, light
        self.work, self.fired = base / "work", base / "fired"
        self.shim = base / "shim.so"
        self.server: subprocess.Popen | None = None
        base.mkdir(parents=True, exist_ok=True)
        build = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(self.shim), str(SHIM), "-ldl"]
        subprocess.run(build, check=True, capture_output=True)
        conf = self.work / "conf"
        conf.mkdir(parents=True)
        for folder in recipe.confs:
            for path in (REPOSITORY / folder).glob("*.yaml"):
                shutil.copy(path, conf)
        for name, text in recipe.changes.items():
            (conf / name).write_text(text)
        self._keep(0)

    # States

    def state(self, stage: int) -> Path:
        """The undisturbed state before a stage; of 6, the end."""
        if not (self.base / f"before-{stage}").exists():
            self.restore(stage - 1)
            more = self.recipe.also if stage == 1 and not self.light else ()
            for words in ((), more) if more else ((),):
                done = self.run(stage - 1, *words)
                assert done.status == 0, done.text
            self._keep(stage)
        return self.base / f"before-{stage}"

    def restore(self, stage: int) -> None:
        """Put the working folder into the state before a stage."""
        before = self.state(stage)
        for path in self.work.iterdir() if self.work.exists() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(before, self.work, dirs_exist_ok=True, symlinks=True)

    def _keep(self, stage: int) -> None:
        shutil.copytree(self.work, self.base / f"before-{stage}", symlinks=True)

    def differences(self, stage: int) -> list[str]:
        """Results that differ from those of an undisturbed run of a stage."""
        reference, now = digests(self.state(stage + 1)), digests(self.work)
        if not (self.work / ALSO).exists():  # it was the stage as users run it
            reference = {path: value for path, value in reference.items() if not path.startswith(f"/{ALSO}/")}
        return sorted(path for path in reference.keys() | now.keys() if reference.get(path) != now.get(path))

    def has_all_scores(self, stage: int, name: str) -> bool:
        """Whether a file of scores that differs has as many, all but one right; True of other files."""
        if not name.endswith("/results.json"):
            return True
        files = [Path(f"{root}{name}") for root in (self.work, self.state(stage + 1))]
        found, wanted = (
            [json.dumps(_lasting(score), sort_keys=True) for score in json.loads(path.read_text())]
            for path in files
        )
        return len(found) == len(wanted) and len(set(found) - set(wanted)) == 1

    # Whole stages, as users run them

    def run_words(self, stage: int, *more: str) -> list[str]:
        """The command of one stage."""
        folders = ["--corpus-dir", "corpus", "--expdir", "exp", "--dumpdir", "dump", "--datadir", "data"]
        return [
            str(REPOSITORY / f"egs/{self.recipe.name}/run.sh"), *self.recipe.words, *folders,
            "--confdir", "conf", "--nj", "2" if stage < 2 else "1", "--stage", str(stage),
            "--stop-stage", str(stage), *more,
        ]  # fmt: skip

    def start(self, stage: int, *more: str, **fault: object) -> subprocess.Popen:
        """Start a stage, disturbed as the shim's variables say (``kind="kill", at=3``...)."""
        self.fired.unlink(missing_ok=True)
        self.marker = f"{self.base}-{random.random()}"  # tells our processes from all others
        return subprocess.Popen(
            self.run_words(stage, *more), cwd=self.work, text=True, stdin=subprocess.DEVNULL,
            env=ENVIRONMENT | self._fault(fault) | {"FAULTS_RUN": self.marker},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def finish(self, process: subprocess.Popen, limit_s: float = 1500) -> Done:
        """Wait for a stage."""
        try:
            text = process.communicate(timeout=limit_s)[0]
        except subprocess.TimeoutExpired:
            self.kill_everything()
            return Done(None, process.communicate()[0], self._times())
        return Done(process.returncode, text, self._times())

    def run(self, stage: int, *more: str, **fault: object) -> Done:
        """Run a stage to its end."""
        return self.finish(self.start(stage, *more, **fault))

    def rerun(self, stage: int) -> Done:
        """Run a stage again, as soon as what is left of the one before lets go."""
        for _ in range(100):
            done = self.run(stage)
            if "another run is at work" not in done.text:
                break
            time.sleep(0.2)
        return done

    def kill_everything(self) -> None:
        """SIGKILL to all processes of the last start, as when the machine goes down."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for entry in Path("/proc").iterdir():
                try:
                    if entry.name.isdigit() and self.marker.encode() in (entry / "environ").read_bytes():
                        os.kill(int(entry.name), number)
                except OSError:  # it ended meanwhile, or is another user's
                    continue

    def _fault(self, fault: dict[str, object]) -> dict[str, str]:
        if not fault:
            return {}
        values = {"root": self.work, "fired": self.fired} | fault
        return {f"FAULT_{key.upper()}": str(value) for key, value in values.items()} | {
            "LD_PRELOAD": str(self.shim)
        }

    def _times(self) -> int:
        pids = self.fired.read_text().split() if self.fired.exists() else []
        return max((pids.count(pid) for pid in set(pids)), default=0)

    # Single commands, in forks

    def step(self, stage: int, marker: str) -> "Step":
        """A step that a stage has run, by its marker's relative path."""
        return Step.read(self.state(stage + 1) / marker, self)

    def restore_before(self, stage: int, step: "Step") -> None:
        """The state in which a step's inputs are there and its outputs are not."""
        self.restore(stage + 1)
        for path in step.products:
            if path.name == "results.json":  # other steps' scores are there too
                _drop_scores(path, step.name)
            else:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        step.marker.unlink()

    def fork(
        self,
        step: "Step",
        limit_s: float = 400,  # some hundred times what one takes
        more: Sequence[str] = (),
        sealed: bool = True,
        **fault: object,
    ) -> Done:
        """Run a step's command in a fork of the server; ``sealed``: its inputs are compared first."""
        if self.server is None:
            path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "utils")])
            self.server = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("server.py")), *["light"] * self.light],
                env=ENVIRONMENT | {"LD_PRELOAD": str(self.shim), "PYTHONPATH": path, "LC_ALL": "C",
                                   "PYTHONIOENCODING": "UTF-8"},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self.server.stdin and self.server.stdout
        self.fired.unlink(missing_ok=True)
        log = self.base / "fork.log"
        job = {
            "folder": str(REPOSITORY / f"egs/{self.recipe.name}"), "log": str(log), "limit_s": limit_s,
            "command": [*step.command, *more], "inputs": step.inputs if sealed else (),
            "environment": self._fault(fault),
        }  # fmt: skip
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        answer = json.loads(self.server.stdout.readline())
        return Done(answer["status"], log.read_text(errors="replace"), self._times())

    def close(self) -> None:
        """End the server."""
        if self.server:
            self.server.kill()  # the end of its input may not reach it: other tests' forks may hold the pipe
            self.server.wait()


@dataclasses.dataclass(frozen=True)
class Step:
    """A step, as its marker tells."""

    name: str
    marker: Path
    command: tuple[str, ...]  # module and words
    inputs: tuple[str, ...]
    products: tuple[Path, ...]

    @classmethod
    def read(cls, marker: Path, lab: Lab) -> "Step":
        """From a marker of a kept state."""
        value = json.loads(marker.read_text())
        outputs = [Path(path) for path in value["outputs"]]
        owned = {path.parent for path in outputs if path.name in OWNED}
        kept = next(parent for parent in marker.parents if parent.name.startswith("before-"))
        whole = [lab.work / "corpus"] if marker.name == "corpus_corpus" else []
        own = [path for path in outputs if path.name in ("results.json",)]
        assert all(path.is_relative_to(lab.work) for path in outputs), outputs
        return cls(
            marker.name, lab.work / marker.relative_to(kept), tuple(value["command"][2:]),
            tuple(value["inputs"]), (*(own or [*owned, *outputs]), *whole),
        )  # fmt: skip


def _drop_scores(path: Path, step: str) -> None:
    rest = [
        score for score in json.loads(path.read_text())
        if step != f"score_{score['task']}_{score['upstream']}_{score['set'].partition(':')[0]}"
        and step != score["upstream"]  # that of the majority has the name of its row
    ]  # fmt: skip
    path.write_text(json.dumps(rest)) if rest else path.unlink()


def digests(root: Path, damaged: Path | None = None) -> dict[str, str]:
    """What the results below a folder are, by relative path: nothing that tells when or how fast.

    Of a ``damaged`` file the bytes count: a library that reads it might hang.
    """
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            relative = f"/{path.relative_to(root)}"
            if name.startswith(".") or name in NO_RESULT_NAMES or any(part in relative for part in NO_RESULT):
                continue
            if not any(part.startswith(".") for part in Path(relative).parts):
                content = path.read_bytes() if path == damaged else _content(path)
                found[relative] = hashlib.sha256(content).hexdigest()[:16]
    return found


def kept(root: Path) -> dict[str, str]:
    """The bytes of what is no result and yet not to be lost: checkpoints and the log of a training."""
    found = [path for path in root.rglob("*") if path.parent.name == "checkpoints" or path.name == LOG]
    return {f"/{path.relative_to(root)}": hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def _content(path: Path) -> bytes:
    if path.suffix == ".json":
        return json.dumps(_lasting(json.loads(path.read_text())), sort_keys=True).encode()
    if path.suffix == ".h5":
        with h5py.File(path) as store:
            meta = json.dumps(_lasting(json.loads(store.attrs["meta"])), sort_keys=True)
            names = ("utt_ids", "start", "num_frames", "crc32")
            parts = [np.asarray(store[name][:]).tolist() for name in names]
            return store["feats"][:].tobytes() + f"{meta}{parts}".encode()
    return path.read_bytes()


def _lasting(value: object) -> object:
    if isinstance(value, dict):
        return {key: _lasting(item) for key, item in value.items() if key not in TRANSIENT}
    if isinstance(value, list):  # results.json is a set: which score was there first is chance
        items = [_lasting(item) for item in value]
        return sorted(items, key=str) if items and isinstance(items[0], dict) else items
    return value
