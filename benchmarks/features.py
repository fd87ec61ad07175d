"""Features and archives against their peers, side by side in one run: CPU seconds, speed, memory.

    PYTHONPATH=. python benchmarks/features.py [--data DIR] [--rounds 3] [--hours 10.5] [--write]

Each round runs every row once, in turn, so that a slow spell of the machine hits all; a row's figure is the
best of its rounds. ``--write`` puts the tables into benchmarks/RESULTS.md. Peers that are not installed are
left out: kaldi-native-io, and Kaldi's own binaries. Without the real speech, noise serves.
"""

import argparse
import gc
import importlib.util
import io
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import kaldi_native_fbank as knf
import kaldiio
import librosa
import numpy as np
import scipy.fft
import soundfile

from speechrep import provenance
from speechrep.bin.jobs import ONE_THREAD
from speechrep.frontend import cmvn, fourier
from speechrep.frontend.extraction import Extraction
from speechrep.frontend.mel import Mel, MelConfig
from speechrep.frontend.registry import make_frontend
from speechrep.frontend.sources import AudioSource
from speechrep.io.ark import ArkWriter, load_scp, read_matrix
from speechrep.io.audio import Wavs, read_audio

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared/data/librispeech-real"
RATE = 16000


def main() -> None:
    """Run all rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=REAL, help="folder of FLAC files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--utts", type=int, default=0, help="only so many files")
    parser.add_argument(
        "--hours", type=float, default=10.5, help="audio for the rows of 1 and 2 workers, 0: none"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/RESULTS.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        files = sorted(args.data.glob("**/*.flac")) or noise(work)
        files = files[: args.utts or None]
        seconds = sum(soundfile.info(path).duration for path in files)
        data = data_dir(work / "data", files, 1)
        text: list[str] = []

        def show(section: str) -> None:
            text.append(section)
            print(section, end="\n\n", flush=True)

        show(
            f"{len(files)} files of {'real speech' if args.data.is_dir() else 'noise'}, {seconds:.0f} s, "
            f"best of {args.rounds} rounds. {provenance.now()}, {provenance.machine()}, commit "
            f"`{provenance.commit()}`, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the start."
        )
        show(extraction(data, files, seconds, args.rounds, work))
        show(parts(files, args.rounds))
        show(mel160(files[:60], args.rounds))
        show(archives(files, args.rounds, work))
        if args.hours:
            show(workers(files, seconds, args.hours, work))
    if args.write:
        write(ROOT / "benchmarks/RESULTS.md", "Features and archives", "\n\n".join(text))


def best(rows: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of each row, the best of the rounds; children's time counts."""
    found: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for row, run in rows.items():
            gc.collect()
            wall, cpu = time.perf_counter(), cpu_seconds()
            run()
            took = time.perf_counter() - wall, cpu_seconds() - cpu
            found[row] = min(found.get(row, took), took, key=lambda pair: pair[1])
    return found


def cpu_seconds() -> float:
    """User and system time of this process and its ended children."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total


def table(head: str, rows: list[str]) -> str:
    """A Markdown table."""
    return "\n".join([f"| {head} |", "|" + " --- |" * (head.count("|") + 1), *(f"| {row} |" for row in rows)])


def noise(work: Path) -> list[Path]:
    """Ten minutes of noise, where there is no speech."""
    rng = np.random.default_rng(0)
    for number in range(40):
        soundfile.write(work / f"{number:03d}.flac", 0.1 * rng.standard_normal(15 * RATE), RATE)
    return sorted(work.glob("*.flac"))


def data_dir(path: Path, files: list[Path], copies: int) -> Path:
    """A data directory that has each file so many times."""
    path.mkdir(parents=True)
    lines = sorted(f"{copy:03d}-{file.stem} {file}\n" for copy in range(copies) for file in files)
    (path / "wav.scp").write_text("".join(lines))
    return path


def knf_fbank(samples: np.ndarray) -> np.ndarray:
    """kaldi-native-fbank's features of samples in [-1, 1]."""
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 80
    computer = knf.OnlineFbank(options)
    computer.accept_waveform(RATE, (samples * 32768).tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])


def extraction(data: Path, files: list[Path], seconds: float, rounds: int, work: Path) -> str:
    """FLAC to fbank80 to archives."""

    def peer(method: int) -> None:
        with kaldiio.WriteHelper(
            f"ark,scp:{work}/k.ark,{work}/k.scp", compression_method=method or None
        ) as writer:
            for path in files:
                writer(path.stem, knf_fbank(soundfile.read(path, dtype="float32")[0]))

    def ours(method: int) -> None:
        source = AudioSource(Wavs(data), make_frontend("fbank", {"num_mel_bins": 80}))
        job = Extraction(source, work / "ours", 1, {}, method, "utterance", data / "utt2spk")
        job.run_job(1)
        job.merge()

    def kaldi() -> None:
        subprocess.run(
            ["bash", "-c", f"compute-fbank-feats --num-mel-bins=80 --dither=0 scp:{work}/flac.scp ark:- | "
             f"copy-feats --compress=true --compression-method=2 ark:- ark,scp:{work}/c.ark,{work}/c.scp"],
            check=True, capture_output=True,
        )  # fmt: skip

    rows: dict[str, Callable[[], object]] = {
        "kaldi-native-fbank + kaldiio, compressed": lambda: peer(2),
        "ours, compressed (with CMVN statistics)": lambda: ours(2),
        "kaldi-native-fbank + kaldiio, float32": lambda: peer(0),
        "ours, float32 (with CMVN statistics)": lambda: ours(0),
        "decoding the FLAC files, nothing else": lambda: [soundfile.read(p, dtype="float32") for p in files],
    }
    if shutil.which("compute-fbank-feats") and shutil.which("copy-feats") and shutil.which("flac"):
        (work / "flac.scp").write_text("".join(f"{p.stem} flac -c -d -s {p} |\n" for p in files))
        rows["Kaldi's compute-fbank-feats and copy-feats"] = kaldi
    found = best(rows, rounds)
    base = found["kaldi-native-fbank + kaldiio, compressed"][1]
    lines = [f"{row} | {wall:.2f} | {cpu:.2f} | {1e3 * cpu / seconds:.3f} | {base / cpu:.2f}"
             for row, (wall, cpu) in found.items()]  # fmt: skip
    note = (
        ""
        if "Kaldi's compute-fbank-feats and copy-feats" in found
        else "\n\nKaldi's binaries are not installed."
    )
    return ("### FLAC to fbank80 to ark/scp, one process (target: 2.2x)\n\n"
            + table("row | wall s | CPU s | ms CPU per s of audio | x", lines) + note)  # fmt: skip


def parts(files: list[Path], rounds: int) -> str:
    """Where our time goes."""
    frontend = make_frontend("fbank", {"num_mel_bins": 80})
    samples = [read_audio(path)[0] for path in files]
    feats = [frontend(x, RATE) for x in samples]

    def write_all() -> None:
        writer = ArkWriter(io.BytesIO(), 2)
        for number, matrix in enumerate(feats):
            writer.write(str(number), matrix, read_back=True)

    found = best(
        {
            "read and decode FLAC": lambda: [read_audio(path) for path in files],
            "fbank": lambda: [frontend(x, RATE) for x in samples],
            "compress, write to memory and decode again for CMVN": write_all,
            "CMVN statistics": lambda: [cmvn.statistics(matrix) for matrix in feats],
        },
        rounds,
    )
    floor = found["read and decode FLAC"][1]
    lines = [f"{row} | {cpu:.2f} | {cpu / floor:.2f}" for row, (_, cpu) in found.items()]
    return "### Where it goes, and how far it is above decoding\n\n" + table(
        "part | CPU s | x decoding", lines
    )


def mel160(files: list[Path], rounds: int) -> str:
    """Mockingjay's features against librosa."""
    samples = [read_audio(path)[0] for path in files]
    frontend = make_frontend("mel", {"delta_order": 1})

    def peer(x: np.ndarray) -> np.ndarray:
        power = librosa.feature.melspectrogram(
            y=x, sr=RATE, n_fft=2048, hop_length=200, win_length=800, n_mels=80, pad_mode="reflect"
        )
        log_mel = np.log(power + 1e-6)
        return np.concatenate([log_mel, librosa.feature.delta(log_mel)]).T

    count = sum(frontend.num_frames(len(x)) for x in samples)
    block = np.zeros((128, 2048), np.float32)
    block[:, :800] = samples[0][: 128 * 800].reshape(-1, 800)[:128]
    room, blocks = np.empty_like(block), range(count // len(block))
    again: list[int] = []  # frames of each block that are transformed in float64 too
    counted = CountedMel(frontend.config, again)
    found = best({"librosa": lambda: [peer(x) for x in samples],
                  "ours": lambda: [frontend(x, RATE) for x in samples],
                  "as many transforms of zero-padded frames and squares, ours":
                      lambda: [fourier.squares(block, room) for _ in blocks],
                  "the same by scipy, float32":
                      lambda: [np.square(scipy.fft.rfft(block).view(np.float32)) for _ in blocks]},
                 rounds)  # fmt: skip
    base = found["librosa"][1]
    difference = max(np.abs(peer(x) - counted(x, RATE)).max() for x in samples)
    lines = [f"{row} | {cpu:.2f} | {base / cpu:.2f}" for row, (_, cpu) in found.items()]
    head = (
        f"### mel160 of {len(files)} files, from samples (target: 3x); greatest difference {difference:.1e}; "
        f"{100 * sum(again) / count:.1f} % of the frames are transformed in float64 too"
    )
    return f"{head}\n\n" + table("row | CPU s | x", lines)


class CountedMel(Mel):
    """The front end, noting how many frames of each block float32 is too coarse for."""

    def __init__(self, config: MelConfig, again: list[int]):
        super().__init__(config)
        self._again = again

    def _is_coarse(self, frames: np.ndarray, mel: np.ndarray) -> np.ndarray:
        found = super()._is_coarse(frames, mel)
        self._again.append(int(found.sum()))
        return found


def archives(files: list[Path], rounds: int, work: Path) -> str:
    """Compressed archives (CM), by MB of float32 per CPU second."""
    frontend = make_frontend("fbank", {"num_mel_bins": 80})
    feats = {path.stem: frontend(*read_audio(path)) for path in files}
    megabytes = sum(matrix.nbytes for matrix in feats.values()) / 1e6

    def write_peer() -> None:
        with kaldiio.WriteHelper(f"ark,scp:{work}/a.ark,{work}/a.scp", compression_method=2) as writer:
            for key, matrix in feats.items():
                writer(key, matrix)

    def write_ours() -> None:
        with open(work / "b.ark", "wb") as stream:
            writer = ArkWriter(stream, 2)
            for key, matrix in feats.items():
                writer.write(key, matrix)

    write_peer()
    scp = load_scp(work / "a.scp")
    rows: dict[str, Callable[[], object]] = {
        "write, kaldiio": write_peer,
        "write, ours": write_ours,
        "read by scp, kaldiio": lambda: [kaldiio.load_mat(spec) for spec in scp.values()],
        "read by scp, ours": lambda: [read_matrix(spec) for spec in scp.values()],
    }
    if importlib.util.find_spec("kaldi_native_io"):
        import kaldi_native_io

        def write_native() -> None:
            with kaldi_native_io.CompressedMatrixWriter(f"ark,scp:{work}/n.ark,{work}/n.scp") as writer:
                for key, matrix in feats.items():
                    writer.write(key, matrix, kaldi_native_io.CompressionMethod.kSpeechFeature)

        rows["write, kaldi-native-io"] = write_native
        rows["read by scp, kaldi-native-io"] = lambda: [
            kaldi_native_io.FloatMatrix.read(spec).numpy() for spec in scp.values()
        ]
    found = best(rows, rounds)
    lines = []
    for row, (_, cpu) in sorted(found.items(), key=lambda pair: pair[0].split(",")[0]):
        base = found[f"{row.split(',')[0]}, kaldiio"][1]
        lines.append(f"{row} | {megabytes / cpu:.0f} | {base / cpu:.2f}")
    head = "### Compressed archives (targets: read 2x, write 3x)"
    return f"{head}\n\n" + table("row | MB of float32 per CPU s | x kaldiio", lines)


def workers(files: list[Path], seconds: float, hours: float, work: Path) -> str:
    """One worker against two, and memory for one and ten times the data."""
    copies = max(1, round(hours * 3600 / seconds))
    few = files[: max(1, round(len(files) * 600 / seconds))]
    sets = [  # ten minutes, all, and as many hours as asked for; the short ones several times, the best kept
        (data_dir(work / "few", few, 1), len(few) / len(files), 7),
        (data_dir(work / "small", files, max(1, copies // 10)), max(1, copies // 10), 3),
        (data_dir(work / "big", files, copies), copies, 1),
    ]
    lines = []
    for data, times, rounds in sets:
        for nj in (1, 2):
            out = work / f"out-{data.name}-{nj}"
            words = [sys.executable, "-m", "speechrep.bin.extract_feats", "--feature", "fbank"]
            words += ["--num-mel-bins", "80", "--nj", str(nj), "--data-dir", str(data), "--out-dir", str(out)]
            code = (
                "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
            )
            found = []
            for _ in range(rounds):
                wall, cpu = time.perf_counter(), cpu_seconds()
                done = subprocess.run(
                    [sys.executable, "-c", code, *words],
                    check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
                )  # fmt: skip
                peak = int(done.stdout.split()[-1]) / 1024
                found.append((time.perf_counter() - wall, cpu_seconds() - cpu, peak))
                shutil.rmtree(out)
            wall, cpu, peak = min(found)
            lines.append(f"{nj} | {seconds * times / 3600:.2f} | {wall:.1f} | {cpu:.1f} | {peak:.0f}")
    head = (
        "### The command by 1 and 2 workers (target: 1.7x in wall time on an idle machine; "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the end)"
    )
    return f"{head}\n\n" + table("workers | hours of audio | wall s | CPU s | peak MB of one process", lines)


def write(path: Path, title: str, text: str) -> None:
    """Put a section into the results, in place of the one of the same title."""
    old = path.read_text(encoding="utf-8") if path.is_file() else "# Benchmarks\n"
    sections = old.split("\n## ")
    kept = [part for part in sections[1:] if not part.startswith(title + "\n")]
    parts = [sections[0].rstrip(), *(part.rstrip() for part in kept), f"{title}\n\n{text}".rstrip()]
    path.write_text("\n\n## ".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if ONE_THREAD.items() <= os.environ.items():
        main()
    else:  # the libraries look when they are loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
