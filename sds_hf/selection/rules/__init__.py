"""Rules that keep rows by looking at score columns only, one file a kind. Every module here is imported.

Other packages add theirs by an entry point in the group `sds_hf.rules`.
"""

from sds_hf.errors import import_kinds
from sds_hf.selection.rules.base import RULES as RULES
from sds_hf.selection.rules.base import Rule as Rule
from sds_hf.selection.rules.base import make_rule as make_rule
from sds_hf.selection.rules.bounds import Band as Band
from sds_hf.selection.rules.bounds import Threshold as Threshold
from sds_hf.selection.rules.groups import AtMostPerGroup as AtMostPerGroup
from sds_hf.selection.rules.groups import TopPerGroup as TopPerGroup
from sds_hf.selection.rules.ranks import RankMean as RankMean
from sds_hf.selection.rules.ranks import WorstRank as WorstRank
from sds_hf.selection.rules.share import Random as Random
from sds_hf.selection.rules.share import TopK as TopK
from sds_hf.selection.rules.share import missed_target as missed_target
from sds_hf.selection.rules.share import resized as resized
from sds_hf.selection.rules.strata import Stratified as Stratified

import_kinds(__name__, __path__, "sds_hf.rules")
