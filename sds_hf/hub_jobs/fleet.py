"""The jobs of an order: started, watched, and started again when they die."""

import hashlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

from sds_hf.data.access.remote import folder_at
from sds_hf.hub.client import hub_api
from sds_hf.hub.retry import failures, retry
from sds_hf.hub_jobs.order import STARTS, Order
from sds_hf.hub_jobs.script import NAME, job_script
from sds_hf.progress import Tell
from sds_hf.table.manifest import read_manifest
from sds_hf.table.score_table import ScoreTable
from sds_hf.table.writer import end_if_whole

POLL = 10.0  # seconds between two looks at the jobs
DEAD = ("ERROR", "DELETED")
TABLE, PART = "sds-hf-table", "sds-hf-part"  # labels of a job

Say = Callable[[str], None]


def score_by_jobs(order: Order, say: Say, tell: Tell | None = None, token: str | None = None) -> ScoreTable:
    """Have a dataset scored by jobs; run again, it watches those that still run and starts those that are missing.

    Args:
        order: what is asked.
        say: is told what happens to jobs, in one line each.
        tell: is told of rows in finished shards.
        token: of the Hub; the stored login if None.

    Returns:
        The finished table.

    Raises:
        OSError: if a job died as often as it may; what is finished stays.
        ValueError: if the jobs made no whole table.
        KeyboardInterrupt: after Ctrl-C, which stops the jobs.
    """
    folder = folder_at(order.out)
    manifest = read_manifest(folder)
    if not (manifest and manifest.get("complete")):
        fleet = Fleet(order, say, token)
        fleet.start()
        try:
            while fleet.running:
                time.sleep(POLL)
                fleet.look()
                if tell:
                    tell(_rows_finished(folder), 0)
        except BaseException:
            fleet.stop()
            raise
        fleet.check()
        end_if_whole(folder)  # two last jobs may each have seen the other at work
    return ScoreTable.load(folder)


class Fleet:
    """The jobs that make one table.

    Attributes:
        running: id of the job of each part that runs or waits for a machine.
    """

    def __init__(self, order: Order, say: Say, token: str | None = None) -> None:
        from huggingface_hub import get_token

        self._order, self._say, self._api = order, say, hub_api(token)
        self._token = token or get_token()
        self._namespace: str = retry(lambda: self._api.whoami()["name"], "looking up your name")
        self._table = hashlib.sha256(order.out.encode()).hexdigest()[:16]
        self._starts, self._lost = Counter[str](), dict[str, str]()
        self.running: dict[str, str] = {}

    def start(self) -> None:
        """Start what does not run already."""
        self._api.create_bucket(self._order.bucket, private=True, exist_ok=True)
        self.running = self._at_work()
        for part in self.running:
            self._say(f"part {part} runs already")
        for number in range(1, self._order.jobs + 1):
            part = f"{number}/{self._order.jobs}"
            if part not in self.running:
                self._start(part)

    def look(self) -> None:
        """See how the jobs are, and start again those that died."""
        for part, job in list(self.running.items()):
            status = retry(lambda job=job: self._inspect(job).status, f"looking at job {job}")  # type: ignore[misc]
            if status.stage in ("COMPLETED", "CANCELED", *DEAD):
                del self.running[part]
            if status.stage == "CANCELED":
                self._lost[part] = "it was cancelled"
            elif status.stage in DEAD:
                why = status.message or self._last_words(job)
                if self._starts[part] < STARTS:
                    self._say(f"part {part} died ({why}) and is started again")
                    self._start(part)
                else:
                    self._lost[part] = why

    def stop(self) -> None:
        """Cancel what runs, so that it costs nothing more."""
        for part, job in self.running.items():
            with suppress(*failures()):
                self._api.cancel_job(job_id=job, namespace=self._namespace)
                self._say(f"part {part} is cancelled")

    def check(self) -> None:
        """Refuse to go on if a part is lost.

        Raises:
            OSError: says which, and why.
        """
        if self._lost:
            part, why = next(iter(self._lost.items()))
            raise OSError(
                f"{len(self._lost)} of {self._order.jobs} jobs did not finish, the first, part {part}: {why}; what is "
                "finished stays, run the same command again to go on"
            )

    def _start(self, part: str) -> None:
        order = self._order
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr), catch_warnings():
            simplefilter("ignore", UserWarning)  # that it is experimental
            script = Path(folder) / NAME
            script.write_text(job_script(order), encoding="utf-8")
            job = self._api.run_uv_job(
                str(script),
                script_args=[part],
                flavor=order.flavor,
                timeout=f"{order.hours}h",
                labels={TABLE: self._table, PART: part.replace("/", "-of-")},
                secrets={"HF_TOKEN": self._token} if self._token else None,
                namespace=self._namespace,
            )
        self._starts[part] += 1
        self.running[part] = job.id

    def _at_work(self) -> dict[str, str]:
        """Jobs of an earlier run of the same command, by part."""
        jobs = retry(
            lambda: list(
                self._api.list_jobs(
                    namespace=self._namespace, labels={TABLE: self._table}, status=["RUNNING", "SCHEDULING"]
                )
            ),
            "looking for jobs at work",
        )
        parts = {job.id: (job.labels or {}).get(PART, "").replace("-of-", "/") for job in jobs}
        return {part: job for job, part in parts.items() if part.endswith(f"/{self._order.jobs}")}

    def _inspect(self, job: str) -> Any:
        return self._api.inspect_job(job_id=job, namespace=self._namespace)

    def _last_words(self, job: str) -> str:
        """The last line that a job printed."""
        with suppress(*failures(), ValueError):
            lines = [line for line in self._api.fetch_job_logs(job_id=job, namespace=self._namespace) if line.strip()]
            return str(lines[-1]) if lines else "it said nothing"
        return "what it said cannot be read"


def _rows_finished(folder: Path) -> int:
    """Rows of the shards that are there, or somewhat more: the last one may be shorter."""
    manifest = read_manifest(folder) or {}
    shards = sum(1 for _ in folder.glob("scores-*.parquet")) if manifest else 0
    return min(shards * int(manifest.get("rows_per_shard", 0)), int(manifest.get("source", {}).get("rows") or 0))
