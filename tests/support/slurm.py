"""A Slurm of one node on this machine, with a key, ports and folders of its own, and without cgroups."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol")
WHERE = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
PATIENCE = 60.0  # seconds until the node is there
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=5
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=64 RealMemory=4000 Gres=gpu:8
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """Programs of Slurm that are not installed here."""
    return [name for name in PROGRAMS if not shutil.which(name, path=WHERE)]


@contextmanager
def slurm() -> Iterator[dict[str, str]]:
    """The environment in which `sbatch` and `srun` find the node, which has 64 CPUs and 8 GPUs in name only."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a short path: one of a socket may not be long
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": WHERE}
    for name in [name for name in environment if name.startswith("SLURM_") and name != "SLURM_CONF"]:
        del environment[name]
    processes = []
    try:
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(mode=0o700)
        (folder / "munge" / "key").touch(mode=0o600)
        (folder / "munge" / "key").write_bytes(os.urandom(128))
        gpus = [folder / f"gpu{number}" for number in range(8)]
        for path in gpus:
            path.touch()
        (folder / "gres.conf").write_text(f"AutoDetect=off\nName=gpu File={folder}/gpu[0-7]\n")
        about = {"folder": folder, "host": socket.gethostname().partition(".")[0], "user": getuser(), "ports": ports(2)}
        (folder / "slurm.conf").write_text(CONFIGURATION.format(**about))
        files = {name: folder / "munge" / name for name in ("key-file", "socket", "pid-file", "log-file", "seed-file")}
        files["key-file"] = folder / "munge" / "key"
        munged = ["munged", "--foreground", "--force", *(f"--{name}={path}" for name, path in files.items())]
        for command in (munged, ["slurmctld", "-D", "-i"], ["slurmd", "-D"]):
            log = (folder / f"{command[0]}.out").open("w")
            processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder))
            wait_until(files["socket"].exists, folder)
        wait_until(lambda: is_idle(environment), folder)
        yield environment
    finally:
        subprocess.run(["scancel", "--user", getuser(), "--signal=KILL"], env=environment, check=False)
        for process in reversed(processes):
            process.terminate()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def ports(count: int) -> list[int]:
    """Numbers of ports that are free just now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    numbers = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return numbers


def is_idle(environment: dict[str, str]) -> bool:
    """Whether the node takes jobs."""
    command = ["scontrol", "show", "node", "--oneliner"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return "State=IDLE " in said.stdout


def wait_until(is_so, folder: Path, patience: float = PATIENCE) -> None:
    """Wait for something of the cluster; what its programs said is shown if it does not come."""
    end = time.monotonic() + patience
    while not is_so():
        if time.monotonic() > end:
            said = "\n".join(
                f"{path.name}: {path.read_text()[-2000:]}" for path in folder.glob("*.*") if path.is_file()
            )
            raise TimeoutError(said)
        time.sleep(0.1)
