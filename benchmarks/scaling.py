"""Time, memory, disk and files of every stage for corpora of any size, from measured unit costs.

    python benchmarks/scaling.py [--hours "960 60000 1000000"]     # prints the tables of docs/scaling.md

Nothing here is estimated but by multiplication.
"""

import argparse
import math
from typing import NamedTuple


class Cost(NamedTuple):
    """A measured number and where it is from."""

    value: float
    unit: str
    source: str


UNIT = "benchmarks/unit_costs.py, 12 utterances of LibriSpeech, one core"
PHONES = "benchmarks/unit_costs.py --alignments, 50 utterances of LibriSpeech, one core"
TASKS = "benchmarks/task_costs.py, 50 utterances of LibriSpeech repeated, one core"
UNTRAINED, LEARNED = f"{TASKS}, recogniser untrained", f"{TASKS}, small recogniser, 13 texts learned"
H100 = "RESULTS.md, Pre-training, one H100, bf16, about 55,000 frames per step"
FEATURES = "RESULTS.md, Features and archives, 251 utterances of LibriSpeech"
INDEX = "benchmarks/index.py (RESULTS.md)"
SAMPLER = "benchmarks/sampler.py, 50 million utterances (RESULTS.md)"
COSTS = {
    "utt": Cost(12.5, "s of audio per utterance", "251 utterances last 3141 s (RESULTS.md)"),
    "frames": Cost(100, "frames per s of audio", "10 ms, conf/fbank80.yaml"),
    "flac": Cost(183.9, "bytes per frame of FLAC", UNIT),
    "prepare": Cost(1.103e-3, "CPU s per utterance, stage 0", UNIT),
    "data_dir": Cost(181.3, "bytes per utterance, stage 0", UNIT),
    "prepare_process": Cost(38.8e6, "bytes of memory of a process before it sees a set, stage 0", PHONES),
    "process": Cost(285e6, "bytes of memory of the same with torch, stages 2 and 3; without CUDA's", PHONES),
    "data_memory": Cost(467, "bytes of memory per utterance, wav.scp and utt2spk", INDEX),
    "extract": Cost(0.591e-3, "CPU s per s of audio, stage 1", FEATURES + ", compressed, with CMVN"),
    "feats": Cost(81.71, "bytes per frame, stage 1, compressed fbank80", UNIT),
    "tables": Cost(268.8, "bytes per utterance, stage 1, tables and CMVN", UNIT),
    "job": Cost(64e6, "bytes of memory of an extraction job", FEATURES + ", 10.5 hours"),
    "apc_gpu": Cost(301_120, "frames per s, stage 2, APC 3 x 512", H100),
    "mockingjay_gpu": Cost(337_142, "frames per s, stage 2, Mockingjay BASE", H100),
    "sampler": Cost(50, "bytes of memory per utterance at the peak, stage 2", SAMPLER),
    "order": Cost(23.4 / 50e6, "CPU s per utterance and epoch, stage 2", SAMPLER),
    "index": Cost(20, "bytes of memory per utterance, feats.scp on disk", INDEX),
    "apc_weights": Cost(16.42e6, "bytes of APC weights; a checkpoint: 3 times", UNIT),
    "mockingjay_weights": Cost(87.93e6, "bytes of Mockingjay weights; a checkpoint: 3 times", UNIT),
    "apc_dump": Cost(2618, "frames per CPU s, stage 3, APC", UNIT),
    "mockingjay_dump": Cost(1370, "frames per CPU s, stage 3, Mockingjay", UNIT),
    "apc_store": Cost(2049, "bytes per frame, stage 3, APC, float32", UNIT),
    "mockingjay_store": Cost(3073, "bytes per frame, stage 3, Mockingjay, float32", UNIT),
    "store_memory": Cost(315, "bytes of memory per utterance, stages 3 to 5", INDEX),
    "store_open": Cost(0.8e-6, "CPU s per utterance, opening a store", INDEX),
    "phone": Cost(27.4, "CPU s, stage 4, phone on fbank80, linear, solved on 500,000 frames", TASKS),
    "labels": Cost(0.4265e-6, "CPU s per frame, stage 4, reading labels", TASKS),
    "phone_memory": Cost(658e6, "bytes of memory, stage 4, the same", TASKS),
    "labels_memory": Cost(25.83, "bytes of memory per frame, stage 4, the same", TASKS),
    "phone_model": Cost(8.29e4, "bytes, stage 4, the same", PHONES),
    "decode": Cost(4.231e5, "frames per CPU s, stage 5, decoding it", PHONES),
    "decode_memory": Cost(278e6, "bytes of memory, stage 5, the same", TASKS),
    "hyp_memory": Cost(25.25, "bytes of memory per frame, stage 5, the same", TASKS),
    "score": Cost(2.215e6, "frames per CPU s, stage 5, its score", PHONES),
    "hyp": Cost(5.923, "bytes per frame, stage 5, hyp and ref", PHONES),
    "speaker": Cost(6.023e5, "frames per CPU s, stage 4, speaker on fbank80, reading", PHONES),
    "speaker_solve": Cost(1.987e-3, "CPU s per utterance, stage 4, 2000 speakers, linear, solved", TASKS),
    "speaker_memory": Cost(749e6, "bytes of memory, stage 4, the same", TASKS),
    "vector_memory": Cost(1730, "bytes of memory per utterance, stage 4, the same", TASKS),
    "speaker_model": Cost(2.0e6, "bytes, stage 4, the same", TASKS),
    "speaker_decode": Cost(3.113e6, "frames per CPU s, stage 5, decoding a tenth of the utterances", PHONES),
    "speaker_decode_memory": Cost(284e6, "bytes of memory, stage 5, the same", TASKS),
    "speaker_hyp_memory": Cost(503, "bytes of memory per utterance, stage 5, the same", TASKS),
    "speaker_score": Cost(9.003e6, "frames per CPU s, stage 5, its score", PHONES),
    "speaker_hyp": Cost(0.005727, "bytes per frame, stage 5, hyp and ref", PHONES),
    "asr_frames": Cost(60_000 * 40_000, "frames, stage 4, recognition, at most", "conf/asr.yaml"),
    "asr": Cost(1 / 547.5e-6, "frames per CPU s, stage 4, recognition on fbank80", TASKS),
    "asr_memory": Cost(2865e6, "bytes of memory, stage 4, the same", TASKS),
    "texts": Cost(0.0543e-6, "CPU s per frame, stage 4, texts and their units", TASKS),
    "texts_memory": Cost(3.402, "bytes of memory per frame, stage 4, the same", TASKS),
    "asr_weights": Cost(93.36e6, "bytes of weights of the recogniser; a checkpoint: 3 times", TASKS),
    "asr_decode": Cost(1 / 162.1e-6, "frames per CPU s, stage 5, decoding it, conf/decode.yaml", UNTRAINED),
    "asr_decode_memory": Cost(509e6, "bytes of memory, stage 5, the same", UNTRAINED),
    "nbest_memory": Cost(9.035, "bytes of memory per frame, stage 5, the same", LEARNED),
    "asr_score": Cost(1 / 0.0657e-6, "frames per CPU s, stage 5, its score", LEARNED),
    "nbest": Cost(1.001, "bytes per frame, stage 5, hyp, ref and 5 best", LEARNED),
    "verify": Cost(121.1, "CPU s, stage 5, verification on fbank80, all pairs of 6325 utterances", TASKS),
    "verify_memory": Cost(1559e6, "bytes of memory, stage 5, the same", TASKS),
    "verify_disk": Cost(877.0, "bytes, stage 5, the same", TASKS),
}  # fmt: skip
PART_FRAMES = 2_000_000  # of a job of stage 3, speechrep.upstream.dumping
CORES = 32  # of a node, for the columns of time


def main() -> None:
    """Print unit costs and tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", default="960 60000 1000000")
    args = parser.parse_args()
    print("| unit cost | value | source |\n| --- | --- | --- |")
    for cost in COSTS.values():
        print(f"| {cost.unit} | {cost.value:.4g} | {cost.source} |")
    for hours in map(float, args.hours.split()):
        table(hours)


def table(hours: float) -> None:
    """All stages for a corpus of so many hours."""
    c = {name: cost.value for name, cost in COSTS.items()}
    seconds = hours * 3600
    utts, frames = seconds / c["utt"], seconds * c["frames"]
    print(f"\n### {hours:,.0f} h: {count(utts)} utterances, {count(frames)} frames\n")
    print("| stage | time | memory of a process | disk | files |\n| --- | --- | --- | --- | --- |")
    row("corpus, FLAC", "", "", frames * c["flac"], count(utts))
    memory = c["prepare_process"] + utts * c["data_memory"]
    row("0 data directory", cores(utts * c["prepare"]), memory, utts * c["data_dir"], "5")
    disk = frames * c["feats"] + utts * c["tables"]
    row("1 features, fbank80", cores(seconds * c["extract"]), c["job"], disk, "7, and an archive per job")
    for name, title in (("apc", "APC"), ("mockingjay", "Mockingjay BASE")):
        epoch = duration(frames / c[f"{name}_gpu"]) + " of one H100 per epoch"
        disk = (1 + 4 * 3) * c[f"{name}_weights"]  # conf/mockingjay.yaml keeps 4 checkpoints
        memory = c["process"] + utts * (c["sampler"] + c["index"])
        row(f"2 pre-training, {title}", epoch, memory, disk, "about 15")
    print(f"| | of which the order of an epoch: {duration(utts * c['order'])} | | | |")
    memory = c["process"] + utts * c["store_memory"]
    for name, title in (("apc", "APC"), ("mockingjay", "Mockingjay BASE")):
        row(f"3 representations, {title}, float32", cores(frames / c[f"{name}_dump"]),
            memory, frames * c[f"{name}_store"],
            f"1; {count(math.ceil(frames / PART_FRAMES))} parts meanwhile")  # fmt: skip
    task_rows(c, utts, frames)


def task_rows(c: dict[str, float], utts: float, frames: float) -> None:
    """Stages 4 and 5; files are those of the demo, with its logs and markers of what is done."""
    memory = c["phone_memory"] + frames * c["labels_memory"]
    row("4 phone task on fbank80", core(c["phone"] + frames * c["labels"]), memory, c["phone_model"], "9")
    seconds = frames / c["decode"] + frames / c["score"]
    memory = c["decode_memory"] + frames * c["hyp_memory"]
    row("5 its decoding and score", core(seconds), memory, frames * c["hyp"], "8")
    seconds = frames / c["speaker"] + utts * c["speaker_solve"]
    memory = c["speaker_memory"] + utts * c["vector_memory"]
    row("4 speakers' task on fbank80", core(seconds), memory, c["speaker_model"], "9")
    seconds = frames / c["speaker_decode"] + frames / c["speaker_score"]
    memory = c["speaker_decode_memory"] + utts * c["speaker_hyp_memory"]
    row("5 its decoding and score", core(seconds), memory, frames * c["speaker_hyp"], "8")
    seconds = c["asr_frames"] / c["asr"] + frames * c["texts"]
    memory = c["asr_memory"] + frames * c["texts_memory"]
    disk = (1 + 2 * 3) * c["asr_weights"]  # two checkpoints are kept
    row("4 recognition on fbank80, 60,000 steps", core(seconds), memory, disk, "13")
    seconds = frames / c["asr_decode"] + frames / c["asr_score"]
    memory = c["asr_decode_memory"] + frames * c["nbest_memory"]
    row("5 its decoding and score", cores(seconds), memory, frames * c["nbest"], "10")
    memory = c["verify_memory"] + utts * c["store_memory"]  # of the training set, whose mean is subtracted
    row("5 verification on fbank80, 6325 utterances", core(c["verify"] + utts * c["store_open"]),
        memory, c["verify_disk"], "3")  # fmt: skip


def row(name: str, time: str, memory: float | str, disk: float | str, files: str) -> None:
    """A line of a table."""
    size = [bytes_(x) if isinstance(x, float) else x for x in (memory, disk)]
    print(f"| {name} | {time} | {size[0]} | {size[1]} | {files} |")


def core(cpu_s: float) -> str:
    """CPU seconds of a process that is not divided into jobs."""
    return f"{duration(cpu_s)} of CPU"


def cores(cpu_s: float) -> str:
    """CPU seconds as time on a node."""
    return f"{duration(cpu_s)} of CPU, {duration(cpu_s / CORES)} on {CORES} cores"


def duration(seconds: float) -> str:
    """Two digits in the unit that fits."""
    for unit, length in (("years", 365.25 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{two_digits(seconds / length)} {unit}"
    return f"{two_digits(seconds)} s"


def bytes_(value: float) -> str:
    """Two digits in the unit that fits."""
    for unit, length in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= length:
            return f"{two_digits(value / length)} {unit}"
    return f"{value:.0f} B"


def count(value: float) -> str:
    """Two digits and a word."""
    for unit, length in (("billion", 1e9), ("million", 1e6), ("thousand", 1e3)):
        if value >= length:
            return f"{two_digits(value / length)} {unit}"
    return f"{value:.0f}"


def two_digits(value: float) -> str:
    """A number to two digits, without exponent."""
    digits = max(0, 1 - math.floor(math.log10(value))) if value else 0
    return f"{round(value, 1 - math.floor(math.log10(value))) if value else 0:,.{digits}f}"


if __name__ == "__main__":
    main()
