"""Score, select and publish synthetic data for semantic segmentation.

Importing this takes milliseconds: torch, transformers and datasets are loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sds_hf.version import __version__ as __version__

if TYPE_CHECKING:
    from sds_hf.check.compare import compare as compare
    from sds_hf.check.diff import diff as diff
    from sds_hf.check.forecast import forecast as forecast
    from sds_hf.check.reasons.why import why as why
    from sds_hf.check.verify import verify as verify
    from sds_hf.data.access.paths import allow_paths as allow_paths
    from sds_hf.data.sources import Reader as Reader
    from sds_hf.explore.look import look as look
    from sds_hf.exports import export as export
    from sds_hf.exports import export_format as export_format
    from sds_hf.hub.load import load as load
    from sds_hf.hub.register import register as register
    from sds_hf.prove.experiment import prove_subset as prove_subset
    from sds_hf.prove.results.proof import Proof as Proof
    from sds_hf.publishing.card.render import render_card as render_card
    from sds_hf.publishing.publish import publish as publish
    from sds_hf.schema import settings as settings
    from sds_hf.scores.asf_miou import ASF as ASF
    from sds_hf.scores.asf_miou import ClassIoU as ClassIoU
    from sds_hf.scores.base.add import add_scores as add_scores
    from sds_hf.scores.base.score import ClipScore as ClipScore
    from sds_hf.scores.base.score import Score as Score
    from sds_hf.scores.base.whole_set import WholeSetScore as WholeSetScore
    from sds_hf.scores.boundary import Boundary as Boundary
    from sds_hf.scores.classes_present import ClassesPresent as ClassesPresent
    from sds_hf.scores.clip_sim import ClipSim as ClipSim
    from sds_hf.scores.difficulty import Difficulty as Difficulty
    from sds_hf.scores.diversity import Diversity as Diversity
    from sds_hf.scores.duplicates import Duplicates as Duplicates
    from sds_hf.scores.gmm_sim import GMMSim as GMMSim
    from sds_hf.scores.leakage import Leakage as Leakage
    from sds_hf.scores.pcs import PCS as PCS
    from sds_hf.scores.prompt_mismatch import PromptMismatch as PromptMismatch
    from sds_hf.scores.real_prob import RealProb as RealProb
    from sds_hf.scores.region_knn import RegionKNN as RegionKNN
    from sds_hf.scores.tfdp import TFDP as TFDP
    from sds_hf.selection.cascade.score import score_for as score_for
    from sds_hf.selection.marks.certify import certify as certify
    from sds_hf.selection.marks.sampling import sample as sample
    from sds_hf.selection.recipe import Recipe as Recipe
    from sds_hf.selection.report import Report as Report
    from sds_hf.selection.rules import AtMostPerGroup as AtMostPerGroup
    from sds_hf.selection.rules import Band as Band
    from sds_hf.selection.rules import Random as Random
    from sds_hf.selection.rules import RankMean as RankMean
    from sds_hf.selection.rules import Rule as Rule
    from sds_hf.selection.rules import Stratified as Stratified
    from sds_hf.selection.rules import Threshold as Threshold
    from sds_hf.selection.rules import TopK as TopK
    from sds_hf.selection.rules import TopPerGroup as TopPerGroup
    from sds_hf.selection.rules import WorstRank as WorstRank
    from sds_hf.selection.select import Selection as Selection
    from sds_hf.selection.select import select as select
    from sds_hf.selection.splits import class_queue as class_queue
    from sds_hf.selection.splits import split_unlabeled as split_unlabeled
    from sds_hf.table.add import add_to_table as add_to_table
    from sds_hf.table.join import join_tables as join_tables
    from sds_hf.table.score_table import ScoreTable as ScoreTable
    from sds_hf.table.score_table import score_table as score_table

    clip_sim: ClipSim
    pcs_score: PCS
    asf_miou: ASF

_HOME = {
    "ASF": "scores.asf_miou",
    "AtMostPerGroup": "selection.rules",
    "Band": "selection.rules",
    "ClipScore": "scores.base.score",
    "ClassIoU": "scores.asf_miou",
    "Boundary": "scores.boundary",
    "ClassesPresent": "scores.classes_present",
    "ClipSim": "scores.clip_sim",
    "Difficulty": "scores.difficulty",
    "Diversity": "scores.diversity",
    "Duplicates": "scores.duplicates",
    "GMMSim": "scores.gmm_sim",
    "Leakage": "scores.leakage",
    "PCS": "scores.pcs",
    "Proof": "prove.results.proof",
    "PromptMismatch": "scores.prompt_mismatch",
    "Random": "selection.rules",
    "RankMean": "selection.rules",
    "RealProb": "scores.real_prob",
    "Reader": "data.sources",
    "Recipe": "selection.recipe",
    "RegionKNN": "scores.region_knn",
    "Report": "selection.report",
    "Rule": "selection.rules",
    "Score": "scores.base.score",
    "ScoreTable": "table.score_table",
    "Selection": "selection.select",
    "Stratified": "selection.rules",
    "TFDP": "scores.tfdp",
    "Threshold": "selection.rules",
    "TopK": "selection.rules",
    "TopPerGroup": "selection.rules",
    "WholeSetScore": "scores.base.whole_set",
    "WorstRank": "selection.rules",
    "add_scores": "scores.base.add",
    "add_to_table": "table.add",
    "allow_paths": "data.access.paths",
    "certify": "selection.marks.certify",
    "class_queue": "selection.splits",
    "compare": "check.compare",
    "diff": "check.diff",
    "export": "exports",
    "export_format": "exports",
    "forecast": "check.forecast",
    "load": "hub.load",
    "prove_subset": "prove.experiment",
    "look": "explore.look",
    "publish": "publishing.publish",
    "register": "hub.register",
    "render_card": "publishing.card.render",
    "join_tables": "table.join",
    "sample": "selection.marks.sampling",
    "score_for": "selection.cascade.score",
    "score_table": "table.score_table",
    "select": "selection.select",
    "settings": "schema",
    "split_unlabeled": "selection.splits",
    "verify": "check.verify",
    "why": "check.reasons.why",
}
_READY_MADE = {"clip_sim": "ClipSim", "pcs_score": "PCS", "asf_miou": "ASF"}  # the paper's settings

__all__ = ["__version__", *_HOME, *_READY_MADE]


def __getattr__(name: str) -> Any:
    if name in _READY_MADE:
        value = __getattr__(_READY_MADE[name])()
    elif name in _HOME:
        value = getattr(import_module(f"sds_hf.{_HOME[name]}"), name)
    else:
        from sds_hf.errors import did_you_mean

        meant = "" if name.startswith("_") else did_you_mean(name, __all__)
        raise AttributeError(f"module 'sds_hf' has no attribute {name!r}{meant}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
