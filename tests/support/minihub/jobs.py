"""Jobs: a list of prices, and jobs that are processes of this machine, with the very script they were given."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from pathlib import Path

from support.minihub.store import HubError, now

HARDWARE = [
    {"name": "cpu-basic", "prettyName": "CPU Basic", "cpu": "2 vCPU", "ram": "16 GB", "unitLabel": "minute",
     "unitCostMicroUSD": 167, "unitCostUSD": 0.000167},
    {"name": "h200", "prettyName": "Nvidia H200", "cpu": "23 vCPU", "ram": "256 GB", "unitLabel": "minute",
     "unitCostMicroUSD": 83333, "unitCostUSD": 0.083333,
     "accelerator": {"type": "gpu", "model": "H200", "quantity": "1", "vram": "141 GB", "manufacturer": "Nvidia"}},
    {"name": "h200x8", "prettyName": "8x Nvidia H200", "cpu": "184 vCPU", "ram": "2 TB", "unitLabel": "minute",
     "unitCostMicroUSD": 666666, "unitCostUSD": 0.666666,
     "accelerator": {"type": "gpu", "model": "H200", "quantity": "8", "vram": "1128 GB", "manufacturer": "Nvidia"}},
]  # fmt: skip
SCRIPT = re.compile(r"^# /// script\n((?:#.*\n)*?)# ///$", re.M)
SITE = Path(__file__).parents[1] / "job_site"


class JobRunner:
    """What runs jobs; `environments` are taken one by one by the first jobs of a part, by the part's argument."""

    def __init__(self, hub):
        self.hub, self.jobs, self.environments = hub, {}, {}

    def start(self, spec):
        folder = Path(tempfile.mkdtemp(dir=self.hub.store.path("tmp", "")))
        (volume,) = spec["volumes"]
        assert (volume["type"], volume["mountPath"]) == ("bucket", "/data")
        mounted = Path(self.hub.store.root, "buckets", volume["source"], volume["path"])
        shutil.copytree(mounted, folder / "data")
        uv, run, script, *arguments = spec["command"]
        assert (uv, run) == ("uv", "run")
        script = folder / "data" / script.removeprefix("/data/")
        check_dependencies(script.read_text())
        extra = self.environments.get(arguments[0], [])
        environment = os.environ | spec["environment"] | spec.get("secrets", {}) | (extra.pop(0) if extra else {})
        environment["PYTHONPATH"] = os.pathsep.join([str(SITE), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment |= {"XDG_CACHE_HOME": str(folder / "cache"), "HF_HOME": str(folder / "hf")}
        log = (folder / "log").open("w")
        process = subprocess.Popen(
            [sys.executable, str(script), *arguments], env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder
        )
        name = f"{len(self.jobs):024x}"
        self.jobs[name] = {
            "spec": spec,
            "process": process,
            "log": folder / "log",
            "created": now(),
            "started": time.monotonic(),
            "cancelled": False,
        }
        threading.Thread(target=self._note_end, args=[self.jobs[name]], daemon=True).start()
        return name

    def _note_end(self, job):
        job["process"].wait()
        job["ended"] = time.monotonic()

    def stage(self, name):
        code = self.jobs[name]["process"].poll()
        if self.jobs[name]["cancelled"]:
            return "CANCELED"
        return "RUNNING" if code is None else "ERROR" if code else "COMPLETED"

    def said(self):
        """The last lines of each job, for whoever wonders why one died."""
        logs = [(job["spec"]["command"][-1], job["log"].read_text(errors="replace")) for job in self.jobs.values()]
        return "".join(f"\n{part}: {log[-2000:]}" for part, log in logs)

    def stop(self):
        for job in self.jobs.values():
            if job["process"].poll() is None:
                job["process"].kill()
                job["process"].wait()


def check_dependencies(script):
    """The head of the script is TOML, and asks for what is installed here."""
    (head,) = SCRIPT.findall(script)
    about = tomllib.loads("".join(line.removeprefix("#").removeprefix(" ") + "\n" for line in head.splitlines()))
    for requirement in about["dependencies"]:
        name, _, wanted = requirement.partition("==")
        assert importlib.metadata.version(name).partition("+")[0] == wanted, requirement


class Jobs:
    def api_jobs(self, rest):
        """`/api/jobs/hardware`, `/api/jobs/{user}[/{job}[/{verb}]]`"""
        if rest == ["hardware"]:
            return self.send(200, HARDWARE)
        user, name, verb = [*rest, "", ""][:3]
        if user != self.user():
            raise HubError(403, "You don't have the rights to run jobs in this namespace")
        runner = self.hub.job_runner
        if self.command == "POST" and not name:
            return self.send(200, self.job(runner.start(json.loads(self.body()))))
        if not name:
            wanted = dict(label.split("=", 1) for label in self.query.get("label", []))
            stages = self.query.get("stage", [])
            jobs = [self.job(name) for name in runner.jobs]
            chosen = [
                job for job in jobs if job["status"]["stage"] in stages and wanted.items() <= job["labels"].items()
            ]
            return self.send(200, chosen)
        if verb == "cancel":
            runner.jobs[name]["cancelled"] = True
            runner.jobs[name]["process"].kill()
        if verb == "logs":
            lines = runner.jobs[name]["log"].read_text(errors="replace").splitlines()
            events = [f"data: {json.dumps({'timestamp': now(), 'data': line})}\n\n" for line in lines]
            return self.send(200, "".join(events).encode(), ctype="text/event-stream")
        return self.send(200, self.job(name))

    def job(self, name):
        runner, user = self.hub.job_runner, self.user()
        entry = runner.jobs[name]
        spec = entry["spec"]
        shown = {key: spec.get(key) for key in ("command", "arguments", "environment", "flavor", "labels", "volumes")}
        owner = {"id": user, "name": user, "type": "user"}
        status = {"stage": runner.stage(name), "message": None}
        seconds = round(entry.get("ended", time.monotonic()) - entry["started"])
        durations = {"schedulingSecs": 0, "runningSecs": seconds, "totalSecs": seconds}
        job = {"id": name, "createdAt": entry["created"], "owner": owner, "status": status, "durations": durations}
        return job | shown
