"""Score, select and publish synthetic data for semantic segmentation.

Importing this takes milliseconds: torch, transformers and datasets are loaded on first use.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sds_hf.cards import render_card as render_card
    from sds_hf.loading import load as load
    from sds_hf.publishing import publish as publish
    from sds_hf.recipe import Recipe as Recipe
    from sds_hf.report import Report as Report
    from sds_hf.rules import Threshold as Threshold
    from sds_hf.rules import TopPerGroup as TopPerGroup
    from sds_hf.score import Score as Score
    from sds_hf.scores.asf_miou import ASF as ASF
    from sds_hf.scores.classes_present import ClassesPresent as ClassesPresent
    from sds_hf.scores.clip_sim import ClipSim as ClipSim
    from sds_hf.scores.pcs import PCS as PCS
    from sds_hf.scoring import add_scores as add_scores
    from sds_hf.selection import Selection as Selection
    from sds_hf.selection import select as select
    from sds_hf.table import ScoreTable as ScoreTable
    from sds_hf.table import score_table as score_table

    clip_sim: ClipSim
    pcs_score: PCS
    asf_miou: ASF

_HOME = {
    "ASF": "scores.asf_miou",
    "ClassesPresent": "scores.classes_present",
    "ClipSim": "scores.clip_sim",
    "PCS": "scores.pcs",
    "Recipe": "recipe",
    "Report": "report",
    "Score": "score",
    "ScoreTable": "table",
    "Selection": "selection",
    "Threshold": "rules",
    "TopPerGroup": "rules",
    "add_scores": "scoring",
    "load": "loading",
    "publish": "publishing",
    "render_card": "cards",
    "score_table": "table",
    "select": "selection",
}
_READY_MADE = {"clip_sim": "ClipSim", "pcs_score": "PCS", "asf_miou": "ASF"}  # the paper's settings

__all__ = ["__version__", *_HOME, *_READY_MADE]

try:
    __version__ = version("sds-hf")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0"


def __getattr__(name: str) -> Any:
    if name in _READY_MADE:
        value = __getattr__(_READY_MADE[name])()
    elif name in _HOME:
        value = getattr(import_module(f"sds_hf.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'sds_hf' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
