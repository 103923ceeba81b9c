"""What is asked of jobs, what it costs, and what may stand in their way."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sds_hf.data.access.remote import folder_at
from sds_hf.errors import did_you_mean
from sds_hf.hub.client import hub_api
from sds_hf.hub.retry import retry
from sds_hf.hub_jobs.begun import check_table
from sds_hf.selection.recipe import Recipe

BUCKETS = "hf://buckets/"
UNITS = {"second": 3600, "minute": 60, "hour": 1}  # of a price, in an hour
STARTS = 3  # of a job, the first one included


@dataclass(frozen=True)
class Order:
    """A dataset scored by jobs.

    Attributes:
        dataset: its id on the Hub.
        revision: the commit that all jobs read.
        rows: how many it has; None if its card does not say.
        plan: what is scored.
        only_needed: whether only what the plan's rules need is.
        rows_per_shard: how rows are cut.
        arguments: of `sds-hf score`, for each job, but for the part.
        recipe: text of the recipe, if it is a file.
        out: address of the table, in a bucket.
        flavor: of the machines.
        hardware: what such a machine is, in words.
        jobs: how many share the work.
        hours: after which a job is stopped.
        dollars_an_hour: price of one machine.
        package: how jobs install this package.
    """

    dataset: str
    revision: str
    rows: int | None
    plan: Recipe
    only_needed: bool
    rows_per_shard: int
    arguments: tuple[str, ...]
    recipe: str | None
    out: str
    flavor: str
    hardware: str
    jobs: int
    hours: float
    dollars_an_hour: float
    package: str

    @property
    def most_dollars(self) -> float:
        """What one job costs if it runs until it is stopped, and is started as often as it may be."""
        return self.hours * self.dollars_an_hour * STARTS

    @property
    def parts(self) -> list[str]:
        """The part of each job, as `rank_of_part` reads it."""
        return [f"{number}/{self.jobs}" for number in range(1, self.jobs + 1)]

    @property
    def bucket(self) -> str:
        """The id of the bucket that the table is in."""
        return "/".join(self.out.removeprefix(BUCKETS).split("/")[:2])


def make_order(
    dataset: str,
    out: str,
    arguments: Sequence[str],
    *,
    plan: Recipe,
    only_needed: bool = False,
    rows_per_shard: int = 1000,
    flavor: str,
    jobs: int,
    hours: float,
    package: str,
    recipe: Path | None = None,
    revision: str | None = None,
    split: str | None = None,
    token: str | None = None,
) -> Order:
    """Look up what is asked, and refuse what jobs cannot do.

    Raises:
        ValueError: if the dataset is none of the Hub, the table would not be in a bucket, there is no such machine,
            the installed `huggingface_hub` has no jobs, or these scores cannot be made of what the bucket holds.
        OSError: if the Hub cannot be reached.
    """
    folder = out.removeprefix(BUCKETS).strip("/").split("/")
    if not out.startswith(BUCKETS) or len(folder) < 3 or not all(folder):
        raise ValueError(f"jobs write into a bucket, not to {out}: give out={BUCKETS}user/name/folder")
    if Path(dataset).exists() or "://" in dataset or dataset.count("/") != 1:
        raise ValueError(f"jobs read a dataset of the Hub, not {dataset}: push it there and give its id, user/name")
    table = folder_at(out)  # says what has to be installed for such addresses
    api = hub_api(token)
    if not hasattr(api, "list_jobs_hardware"):
        raise ValueError("engine='jobs' needs a newer huggingface_hub: pip install -U huggingface_hub")
    info = retry(lambda: api.dataset_info(dataset, revision=revision), f"looking up {dataset}")
    machine, dollars = _machine(retry(api.list_jobs_hardware, "looking up the prices of machines"), flavor)
    text = recipe.read_text(encoding="utf-8") if recipe else None
    order = Order(
        dataset=dataset, revision=info.sha, rows=_rows(info.card_data, split), plan=plan, only_needed=only_needed,
        rows_per_shard=rows_per_shard, arguments=tuple(arguments), recipe=text, out=out.rstrip("/"), flavor=flavor,
        hardware=machine, jobs=jobs, hours=hours, dollars_an_hour=dollars, package=package,
    )  # fmt: skip
    check_table(order, table)
    return order


def _machine(hardware: Sequence[Any], flavor: str) -> tuple[str, float]:
    """What a machine is, and its price in dollars an hour.

    Raises:
        ValueError: if there is none, or its price is in a unit that is not known.
    """
    prices = {machine.name: machine for machine in hardware}
    if flavor not in prices:
        hint = did_you_mean(flavor, prices)
        raise ValueError(f"there is no machine {flavor!r}{hint}; there are {', '.join(sorted(prices))}")
    machine = prices[flavor]
    if machine.unit_label not in UNITS:
        raise ValueError(f"the price of {flavor} is by the {machine.unit_label}, which this version does not know")
    if machine.accelerator and machine.accelerator.quantity != "1":
        raise ValueError(
            f"a job uses one GPU and {flavor} has {machine.accelerator.quantity}: take one with 1, and more shards=..."
        )
    accelerator = f", {machine.accelerator.model} of {machine.accelerator.vram}" if machine.accelerator else ""
    return f"{machine.cpu}, {machine.ram}{accelerator}", machine.unit_cost_usd * UNITS[machine.unit_label]


def _rows(card: Any, split: str | None) -> int | None:
    """Rows of a split as the dataset's card says; None if it does not, or there are several to choose from."""
    about = (card or {}).get("dataset_info")
    splits = about.get("splits") if isinstance(about, dict) else None
    counts = {entry.get("name"): entry.get("num_examples") for entry in splits or () if isinstance(entry, dict)}
    count = counts.get(split) if split else next(iter(counts.values())) if len(counts) == 1 else None
    return count if isinstance(count, int) else None
