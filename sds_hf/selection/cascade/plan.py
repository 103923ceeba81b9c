"""What a recipe's rules ask of each row, in phases: a rule that looks at other rows too waits for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sds_hf.scores.base.batches import all_columns
from sds_hf.scores.base.score import Score
from sds_hf.scores.classes_present import ClassesPresent
from sds_hf.selection.rules import Rule
from sds_hf.table.partial.needs import Need, Needs, Test


@dataclass(frozen=True)
class Stretch:
    """What is asked of the rows that the rules so far leave.

    Attributes:
        rules: so far; all that is asked for is known of their columns.
        needs: of the rows they leave, up to and with the next rule that looks at other rows too.
    """

    rules: tuple[Rule, ...]
    needs: Needs


def stretches(rules: Sequence[Rule], scores: Sequence[Score]) -> list[Stretch]:
    """Rules in stretches, one or more; the classes of all rows are asked for first, since reports count them.

    Bounds that are numbers decide a row by itself, so these and the next rule are one stretch. Quantiles, ranks, groups
    and the rules of others look at all the rows that are left.

    Args:
        rules: in order.
        scores: that write what they read; other columns are not asked for.
    """
    columns = all_columns(scores)
    needs: list[Test | Need] = [Need(tuple(ClassesPresent.columns))]
    parts, start = list[Stretch](), 0
    for index, rule in enumerate(rules):
        if rule.tests:
            later = {name for other in rules[index + 1 :] if not other.tests for name in other.reads}
            needs += _tests(rule, later, columns)
            continue
        needs.append(Need(tuple(name for name in rule.reads if name in columns)))
        parts.append(Stretch(tuple(rules[:start]), tuple(needs)))
        needs, start = [], index + 1
    if needs:
        parts.append(Stretch(tuple(rules[:start]), tuple(needs)))
    return parts


def _tests(rule: Rule, later: set[str], columns: dict[str, object]) -> list[Test]:
    """The tests of a rule, one a column."""
    names = dict.fromkeys(column for column, _, _ in rule.tests)
    return [
        Test(name, tuple((sign, bound) for column, sign, bound in rule.tests if column == name), name in later)
        for name in names
        if name in columns
    ]
