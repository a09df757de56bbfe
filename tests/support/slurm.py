"""A real Slurm of one node, as Debian packages it: controller, node daemon and munge, as root."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from support.registry import free_port

_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "munged")
_MISSING = [name for name in _PROGRAMS if not shutil.which(name, path="/usr/sbin:/usr/bin:/bin")]
needs_slurm = pytest.mark.skipif(
    bool(_MISSING) or os.geteuid() != 0,
    reason=f"needs {', '.join(_MISSING) or 'root'} for a Slurm of its own",
)
_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
# A job that was requeued begins when its old credential has expired: by default after two minutes.
AuthInfo=socket={root}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
# The queue is looked at every second instead of every half minute.
SchedulerParameters=sched_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MailProg=/bin/true
KillWait=20
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 GraceTime=4 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=9 PreemptMode=OFF State=UP
"""


class Slurm:
    """A cluster whose only node is this machine.

    Args:
        root: Where it keeps its state; short, since it has a socket in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.conf = root / "slurm.conf"
        for name in ("state", "spool"):
            (root / name).mkdir()
        key = root / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        ports = (free_port(), free_port())
        host = socket.gethostname().partition(".")[0]
        self.conf.write_text(_CONF.format(root=root, host=host, ports=ports))
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def env(self) -> dict[str, str]:
        """What the client programs go by."""
        return {"SLURM_CONF": str(self.conf)}

    def _start(self) -> None:
        at = self.root / "munge"
        self._run("munged", "--foreground", "--force", f"--key-file={at}.key",
                  f"--socket={at}.socket", f"--pid-file={at}.pid", f"--log-file={at}.log",
                  f"--seed-file={at}.seed")  # fmt: skip
        self._until(lambda: (self.root / "munge.socket").exists(), "munged")
        self._run("slurmctld", "-D", "-f", str(self.conf))
        self._run("slurmd", "-D", "-f", str(self.conf))
        self._until(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"), "the node")

    def _run(self, program: str, *arguments: str) -> None:
        path = shutil.which(program, path="/usr/sbin:/usr/bin:/bin")
        assert path
        with (self.root / f"{program}.out").open("wb") as out:
            self._processes.append(
                subprocess.Popen([path, *arguments], stdout=out, stderr=out, env={
                    **os.environ, **self.env, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
            )  # fmt: skip

    def _until(self, is_there: object, what: str) -> None:
        assert callable(is_there)
        for _ in range(200):
            if is_there():
                return
            time.sleep(0.1)
        logs = "\n".join(p.read_text(errors="replace")[-2000:] for p in self.root.glob("*.log"))
        raise AssertionError(f"{what} did not come up\n{logs}")

    def ask(self, *command: str) -> str:
        """What a client program says, be it an error."""
        done = subprocess.run(
            command, env={**os.environ, **self.env}, capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr

    def configure(self, line: str) -> None:
        """Change the cluster's configuration while it runs."""
        self.conf.write_text(f"{self.conf.read_text()}{line}\n")
        assert self.ask("scontrol", "reconfigure") == ""

    def batch(self, script: str, *options: str) -> str:
        """Put a job of somebody else into the queue; its number."""
        out = f"--output={self.root}/batch-%j"
        told = self.ask("sbatch", "--parsable", out, "--chdir=/", *options, f"--wrap={script}")
        assert told.strip().isdecimal(), told
        return told.strip()

    def output(self, job: str) -> str:
        """What such a job has written, when it has ended."""
        for _ in range(600):
            if "JobState=COMPLETED" in self.ask("scontrol", "show", "job", job):
                break
            time.sleep(0.1)
        else:
            raise AssertionError(self.ask("scontrol", "show", "job", job))
        return (self.root / f"batch-{job}").read_text().strip()

    def stop(self) -> None:
        """End jobs and daemons, in the order in which they need each other."""
        if len(self._processes) == 3:
            self.ask("scancel", "--user", "root")
            for _ in range(300):
                if not self.ask("squeue", "-h").strip():
                    break
                time.sleep(0.1)
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
