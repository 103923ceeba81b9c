"""The jobs of an order: started, watched, and started again when they die."""

import hashlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

from sds_hf.data.access.remote import folder_at
from sds_hf.hub.client import hub_api
from sds_hf.hub.retry import failures, retry
from sds_hf.hub_jobs.left import Pace, left_of
from sds_hf.hub_jobs.order import STARTS, Order
from sds_hf.hub_jobs.script import NAME, job_script
from sds_hf.progress import Tell
from sds_hf.table.score_table import ScoreTable

POLL = 10.0  # seconds between two looks at the jobs
DEAD = ("ERROR", "DELETED")
ERROR = '{\n  "error": {'  # the first line of what `--json` prints of an error, and the next one's beginning
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
        ValueError: if a job failed by its input, or the jobs made no whole table.
        KeyboardInterrupt: after Ctrl-C, which stops the jobs.
    """
    for parts in (order.parts, order.parts[:1]):  # two last jobs may each have seen the other at work: one more ends it
        if not left_of(order).is_complete:
            _carry_out(Fleet(order, parts, say, token), tell)
    return ScoreTable.load(folder_at(order.out))


def try_one_shard(order: Order, say: Say, tell: Tell | None = None, token: str | None = None) -> Pace | None:
    """Have one job score the first shard that is missing, and measure it; the shard is part of the table.

    Args:
        order: see `score_by_jobs`.
        say: see `score_by_jobs`.
        tell: see `score_by_jobs`.
        token: see `score_by_jobs`.

    Returns:
        What the job says of itself; None if what it said cannot be read.

    Raises:
        OSError: see `score_by_jobs`.
        ValueError: see `score_by_jobs`.
        KeyboardInterrupt: see `score_by_jobs`.
    """
    part = left_of(order).trial
    fleet = Fleet(order, [part], say, token)
    _carry_out(fleet, tell)
    return fleet.pace(part)


def are_at_work(order: Order, token: str | None = None) -> bool:
    """Whether jobs of an earlier run of the same command still run."""
    return bool(Fleet(order, order.parts, lambda sentence: None, token).at_work())


def _carry_out(fleet: "Fleet", tell: Tell | None) -> None:
    """Start jobs, and watch them until all are through.

    Raises:
        OSError: if one died as often as it may.
        ValueError: if one failed by its input, which stops the others.
        KeyboardInterrupt: after Ctrl-C, which stops them.
    """
    fleet.start()
    try:
        while fleet.running:
            time.sleep(POLL)
            fleet.look()
            if tell:
                tell(left_of(fleet.order).finished, 0)
    except BaseException:
        fleet.stop()
        raise
    fleet.check()


class Fleet:
    """Jobs that make a table, or a part of it.

    Args:
        order: what is asked.
        parts: of the table, each made by a job.
        say: see `score_by_jobs`.
        token: see `score_by_jobs`.

    Attributes:
        order: as given.
        running: id of the job of each part that runs or waits for a machine.
    """

    def __init__(self, order: Order, parts: Sequence[str], say: Say, token: str | None = None) -> None:
        from huggingface_hub import get_token

        self.order, self._parts, self._say, self._api = order, parts, say, hub_api(token)
        self._token = token or get_token()
        self._namespace: str = retry(lambda: self._api.whoami()["name"], "looking up your name")
        self._table = hashlib.sha256(order.out.encode()).hexdigest()[:16]
        self._starts, self._lost, self._through = Counter[str](), dict[str, str](), dict[str, str]()
        self.running: dict[str, str] = {}

    def start(self) -> None:
        """Start what does not run already."""
        self._api.create_bucket(self.order.bucket, private=True, exist_ok=True)
        self.running = self.at_work()
        for part in self.running:
            self._say(f"part {part} runs already")
        for part in self._parts:
            if part not in self.running:
                self._start(part)

    def look(self) -> None:
        """See how the jobs are, and start again those that died.

        Raises:
            ValueError: if one failed by its input, as all its next starts would.
        """
        for part, job in list(self.running.items()):
            status = retry(lambda job=job: self._inspect(job).status, f"looking at job {job}")  # type: ignore[misc]
            if status.stage in ("COMPLETED", "CANCELED", *DEAD):
                del self.running[part]
            if status.stage == "COMPLETED":
                self._through[part] = job
            elif status.stage == "CANCELED":
                self._lost[part] = "it was cancelled"
            elif status.stage in DEAD:
                lines = self._log(job)
                error = _error(lines or ())
                why = error.get("message") or status.message or _last_words(lines)
                if error.get("repeats"):
                    raise ValueError(f"part {part} failed, and would again: {why}; what is finished stays")
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
                f"{len(self._lost)} of {len(self._parts)} jobs did not finish, the first, part {part}: {why}; what is "
                "finished stays, run the same command again to go on"
            )

    def pace(self, part: str) -> Pace | None:
        """How fast the job of a part was, as its last line of progress says; None if there is none."""
        lines = [line for line in map(_progress, self._log(self._through[part]) or ()) if line]
        if not lines or not lines[-1].get("rows_per_s"):
            return None
        rate, seconds = float(lines[-1]["rows_per_s"]), float(lines[-1]["elapsed_s"])
        durations = getattr(
            retry(lambda: self._inspect(self._through[part]), "looking at the trial"), "durations", None
        )
        paid = durations.running_secs if durations else None
        return Pace(rate, None if paid is None else max(0.0, paid - seconds), round(rate * seconds))

    def _start(self, part: str) -> None:
        order = self.order
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

    def at_work(self) -> dict[str, str]:
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
        return {part: job for job, part in parts.items() if part in self._parts}

    def _inspect(self, job: str) -> Any:
        return self._api.inspect_job(job_id=job, namespace=self._namespace)

    def _log(self, job: str) -> list[str] | None:
        """Lines that a job printed; None if they cannot be had."""
        with suppress(*failures(), ValueError):
            lines = self._api.fetch_job_logs(job_id=job, namespace=self._namespace)
            return [str(line) for line in lines if line.strip()]
        return None


def _last_words(lines: list[str] | None) -> str:
    """The last line that a job printed."""
    if lines is None:
        return "what it said cannot be read"
    return lines[-1] if lines else "it said nothing"


def _error(lines: Sequence[str]) -> dict[str, Any]:
    """The error that a job ended with, as `--json` prints it; empty if it did not come to that."""
    text = "\n".join(lines)
    with suppress(ValueError):  # of no such place too
        answer, _ = json.JSONDecoder().raw_decode(text, text.rindex(ERROR))
        return dict(answer["error"])
    return {}


def _progress(line: str) -> dict[str, Any]:
    """A line of `--progress json`; empty if it is another."""
    with suppress(ValueError):
        value = json.loads(line)
        if isinstance(value, dict) and value.get("step") == "scoring":
            return value
    return {}
