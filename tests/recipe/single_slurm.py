"""A real Slurm on this machine, of two nodes, for tests; needs root and tools/install_slurm.sh."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scancel", "srun", "munged", "munge")
# The nodes say that they have more than this machine, so that the recipe's usual requests fit. A node of a
# busy machine may answer late, and is not lost then; ended jobs are remembered, for tests to ask for them.
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
SlurmdTimeout=30
MessageTimeout=60
MinJobAge=7200
KillWait=5
ReturnToService=2
JobRequeue=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs=32 RealMemory=200000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """What this machine lacks; empty if Slurm can be started."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    missing = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if missing:
        return f"no {', '.join(missing)} here; tools/install_slurm.sh installs Slurm"
    return "" if os.geteuid() == 0 else "Slurm's daemons are started as root here"


class Slurm:
    """Starts the daemons; :meth:`stop` ends them and everything they started.

    Args:
        folder: for configuration, state and logs; short, as it holds a socket.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "state").mkdir()
        first = _free_ports(3)
        self.conf = folder / "slurm.conf"
        host = socket.gethostname().split(".")[0]
        self.conf.write_text(CONF.format(host=host, folder=folder, ports=range(first, first + 3)))
        self.environment = {
            "SLURM_CONF": str(self.conf),
            "PATH": os.pathsep.join([os.environ["PATH"], "/usr/sbin"]),
        }
        self._start_munge()
        self._call("slurmctld", "-f", str(self.conf))
        for node in ("n1", "n2"):
            self.start_node(node)

    def start_node(self, node: str) -> None:
        """Start a node's daemon and wait until the controller uses it."""
        self._call("slurmd", "-f", str(self.conf), "-N", node)
        wait_until(lambda: self.ask("sinfo", "-h", "-N", "-n", node, "-o", "%T") == "idle", 60)

    def kill_node(self, node: str) -> None:
        """All that a node runs is gone at once, as when its power fails."""
        _kill(int((self.folder / f"{node}.pid").read_text()))
        jobs = self.ask("squeue", "-h", "-w", node, "-o", "%i").split()
        for pid in _processes(lambda words, _env: any(f"slurmstepd: [{job}." in words for job in jobs)):
            _kill(pid)
        for pid in _processes(lambda _words, env: f"SLURMD_NODENAME={node}" in env and self._ours(env)):
            _kill(pid)

    def ask(self, *words: str) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(
            words, env=os.environ | self.environment, capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()

    def stop(self) -> None:
        """End everything."""
        for pid in _processes(lambda _words, env: "SLURM_JOB_ID=" in "\n".join(env) and self._ours(env)):
            _kill(pid)
        for pid in _processes(lambda words, _env: str(self.folder) in words and "slurm" in words):
            _kill(pid)
        for pid in _processes(lambda words, env: words.startswith("slurmstepd") and self._ours(env)):
            _kill(pid)
        for name in ("slurmctld", "n1", "n2", "munged"):
            with contextlib.suppress(OSError, ValueError):
                _kill(int((self.folder / f"{name}.pid").read_text()))

    def _ours(self, environment: list[str]) -> bool:
        return f"SLURM_CONF={self.conf}" in environment

    def _start_munge(self) -> None:
        """A munge of our own, beside the machine's if there is one."""
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = [
            f"--{kind}-file={self.folder}/munged.{end}" for kind, end in [("pid", "pid"), ("log", "log")]
        ]
        files += [f"--key-file={key}", f"--seed-file={self.folder}/munged.seed"]
        self._call("munged", "--force", f"--socket={self.folder}/munge.socket", *files)

    def _call(self, *words: str) -> None:
        done = subprocess.run(
            words, env=os.environ | self.environment, stdout=subprocess.DEVNULL,
            stderr=(self.folder / "stderr").open("a"), timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: {(self.folder / 'stderr').read_text()}"


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for something, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def _free_ports(count: int) -> int:
    for first in range(21000 + os.getpid() % 5000, 30000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")


def _processes(wanted: Callable[[str, list[str]], bool]) -> list[int]:
    """Processes by their command line and environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
            if int(folder.name) != os.getpid() and wanted(words, environment):
                found.append(int(folder.name))
    return found


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
