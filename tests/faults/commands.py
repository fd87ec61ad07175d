"""The commands of each stage into which faults are injected, and the files that they read, by kind."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Target:
    """A step of a stage.

    Attributes:
        stage: its number.
        marker: of the step, below the working folder.
        files: kind of file to one (the first) of its inputs, a pattern below the working folder.
        state: the same for what a killed run left and the next one reads.
        more: words added to the command.
        part: more words, with which it does a part of its work: what a killed run left.
        workers: what ``more`` must be for it to have workers, and the shim's condition that meets one.
    """

    stage: int
    marker: str
    files: dict[str, str]
    state: dict[str, str] = dataclasses.field(default_factory=dict)
    more: tuple[str, ...] = ()
    part: tuple[str, ...] = ()
    workers: tuple[tuple[str, ...], dict[str, object]] | None = None


FORKED = {"kind": "kill", "child": 1, "at": 1}
JOB = {"kind": "kill", "in": "--job 1", "at": 2}
LOADER = {"kind": "killread", "child": 1, "at": 2}
LOADERS = ("--num-workers", "2")
SPAWNED = {"kind": "killread", "in": "spawn_main", "at": 2}


def feature_files(folder: str) -> dict[str, str]:
    """What is read of a feature directory."""
    names = {"ark": "feats.1.ark", "ark (CMVN)": "cmvn.ark", "scp": "feats.scp", "scp (CMVN)": "cmvn.scp",
             "JSON": "features.json", "text table": "utt2num_frames",
             "checksums": "feats.1.ark.crc32"}  # fmt: skip
    return {kind: f"{folder}/{name}" for kind, name in names.items()}


def trained(model: str) -> dict[str, str]:
    """What is read of an interrupted training."""
    return {
        "checkpoint .pt": f"{model}/checkpoints/step-3.pt",
        "JSON (checkpoint)": f"{model}/checkpoints/step-3.json",
        "YAML (of a run)": f"{model}/config.yaml",
        "JSON (log of a run)": f"{model}/train_log.jsonl",
    }


def model_files(model: str) -> dict[str, str]:
    """What is read of a model."""
    return {"safetensors": f"{model}/model.safetensors", "JSON (model)": f"{model}/model.json"}


def middle_stages(feature: str, train: str, test: str) -> list[Target]:
    """Stages 2 and 3, the same for both recipes."""
    return [
        Target(2, "exp/demo/.done/apc", {"YAML": "conf/apc.yaml"} | feature_files(f"dump/{feature}/{train}"),
               trained("exp/demo/apc"), workers=(LOADERS, LOADER)),
        Target(3, f"dump/demo/.done/apc_{test}",
               model_files("exp/demo/apc") | feature_files(f"dump/{feature}/{test}"),
               {"HDF5 (part)": f"dump/demo/apc/{test}.h5.parts/part-0000.*.h5"}, part=("--job", "1"),
               workers=(("--nj", "2"), JOB)),
    ]  # fmt: skip


def task_stages(task: str, kind: str, labels: str, train: str, test: str, steps: bool = True) -> list[Target]:
    """Stages 4 and 5 of a task.

    Args:
        task: its name.
        kind, labels: kind and name of the file of labels.
        train, test: the sets.
        steps: whether it is trained in steps, with checkpoints; the probes are solved at once.
    """
    model, decoded = f"exp/demo/{task}_apc", f"exp/demo/{task}_apc/decode_{test}"
    return [
        Target(4, f"exp/demo/.done/{task}_apc",
               {"YAML": f"conf/{task}.yaml", "HDF5": f"dump/demo/apc/{train}.h5",
                kind: f"data/{train}/{labels}"},
               trained(model) if steps else {}, workers=(LOADERS, LOADER) if steps else None),
        Target(5, f"exp/demo/.done/decode_{task}_apc_{test}",
               model_files(model) | {"YAML": "conf/decode.yaml", "HDF5": f"dump/demo/apc/{test}.h5",
                                     kind: f"data/{test}/{labels}"}),
        Target(5, f"exp/demo/.done/score_{task}_apc_{test}",
               {"text (hyp)": f"{decoded}/hyp", "text (ref)": f"{decoded}/ref",
                "JSON (model)": f"{model}/model.json"},
               {"JSON (results)": "exp/demo/results.json"}),
    ]  # fmt: skip


def decoding_by_jobs(task: str, test: str) -> Target:
    """The same step as two processes; the first of a killed run's was done."""
    left = f"exp/demo/{task}_apc/decode_{test}/jobs/1"
    return Target(5, f"exp/demo/.done/decode_{task}_apc_{test}", {},
                  {"JSON (job)": f"{left}/done.json", "text (job's hyp)": f"{left}/hyp"},
                  more=("--nj", "2"), part=("--job", "1"), workers=((), JOB))  # fmt: skip


def fine_tuning(task: str, kind: str, labels: str, feature: str, train: str, test: str) -> list[Target]:
    """Stages 4 and 5 of a task with its model inside."""
    model, features = f"exp/demo/{task}_apc_finetune", f"dump/{feature}"
    return [
        Target(4, f"exp/demo/.done/{task}_apc_finetune",
               {"YAML": f"conf/{task}_finetune.yaml", kind: f"data/{train}/{labels}"}
               | model_files("exp/demo/apc") | feature_files(f"{features}/{train}"), trained(model)),
        Target(5, f"exp/demo/.done/decode_{task}_apc_finetune_{test}",
               model_files(model) | feature_files(f"{features}/{test}")),
    ]  # fmt: skip


TARGETS = {
    "librispeech": [
        Target(0, ".done/corpus_corpus", {"YAML": "conf/mini_corpus.yaml"},
               workers=(("--nj", "2"), FORKED)),
        Target(0, "data/.done/mini_test",
               {"text (SPEAKERS.TXT)": "corpus/LibriSpeech/SPEAKERS.TXT",
                "text (trans.txt)": "corpus/LibriSpeech/mini-test/**/*.trans.txt",
                "FLAC": "corpus/LibriSpeech/mini-test/**/*.flac",
                "TextGrid": "corpus/alignments/mini-test/**/*.TextGrid"}),
        Target(1, "dump/fbank80/.done/mini_test",
               {"YAML": "conf/fbank80.yaml", "scp": "data/mini_test/wav.scp",
                "text table": "data/mini_test/utt2spk", "FLAC": "corpus/LibriSpeech/mini-test/**/*.flac"},
               {"JSON (job)": "dump/fbank80/mini_test/.jobs/1.json"},
               more=("--nj", "2"), part=("--job", "1"), workers=((), JOB)),
        Target(0, "data/.done/mini_train+mini_dev",
               {"scp": "data/mini_dev/wav.scp", "text table": "data/mini_dev/utt2spk",
                "text (transcripts)": "data/mini_dev/text"}),
        Target(0, "also/.done/mini_train_2001",
               {"text (speakers)": "also/mini_train_2001.speakers", "scp": "also/mini_train/wav.scp",
                "text table": "also/mini_train/utt2spk", "text (transcripts)": "also/mini_train/text"}),
        # Its workers write nothing and read recordings.
        Target(0, "also/.done/mini_test_phones",
               {"scp": "also/mini_test/wav.scp", "text (transcripts)": "also/mini_test/text",
                "FLAC": "corpus/LibriSpeech/mini-test/**/*.flac"}, workers=(("--nj", "2"), SPAWNED)),
        *middle_stages("fbank80", "mini_train+mini_dev", "mini_test"),
        *task_stages("phone", "CTM", "phones.ctm", "mini_train", "mini_test", steps=False),
        *task_stages("speaker", "text table", "utt2spk", "mini_train", "mini_train", steps=False),
        *task_stages("asr", "text (transcripts)", "text", "mini_train", "mini_test"),
        decoding_by_jobs("asr", "mini_test"),
        Target(5, "exp/demo/.done/score_verification_apc_mini_test",
               {"HDF5": "dump/demo/apc/mini_test.h5", "text table": "data/mini_test/utt2spk"},
               {"JSON (results)": "exp/demo/results.json"}),
    ],
    "mosei": [
        # Its workers, the same code as librispeech's, write outside of the working folder.
        Target(0, ".done/corpus_corpus", {"YAML": "conf/mini_mosei.yaml"}),
        Target(0, "data/.done/mini_sets",
               {".csd": "corpus/CMU_MOSEI_Labels.csd", "text (folds)": "corpus/folds/test.txt",
                "text (transcript)": "corpus/Raw/Transcript/Segmented/Combined/2*.txt",
                "WAV": "corpus/Raw/Audio/**/2*.wav"}),
        Target(1, "dump/fbank80_video/.done/mini_test",
               {"YAML": "conf/fbank80_video.yaml", "scp": "data/mini_test/wav.scp",
                "text table": "data/mini_test/segments", "WAV": "corpus/Raw/Audio/**/-djq*.wav"},
               {"JSON (job)": "dump/fbank80_video/mini_test/.jobs/1.json"},
               more=("--nj", "2"), part=("--job", "1"), workers=((), JOB)),
        *middle_stages("fbank80_video", "mini_train", "mini_test"),
        *task_stages("sentiment", "text table", "utt2sentiment", "mini_train", "mini_test"),
        *fine_tuning("sentiment", "text table", "utt2sentiment", "fbank80_video", "mini_train", "mini_test"),
        Target(5, "exp/demo/.done/majority", {"text table": "data/mini_train/utt2sentiment"},
               {"JSON (results)": "exp/demo/results.json"}),
    ],
}  # fmt: skip
# Where a changed value may go unnoticed: there is no checksum, and people may edit the file.
SILENT = {"YAML", "CTM", "TextGrid", "WAV", ".csd", "text table", "scp", "JSON (results)",
          "text (SPEAKERS.TXT)", "text (trans.txt)", "text (folds)", "text (transcript)",
          "text (transcripts)"}  # fmt: skip
# Kinds with checksums of their own, beside those of the recipe: a command run by itself notices, too.
CHECKED = {"ark", "ark (CMVN)", "HDF5", "safetensors"}
