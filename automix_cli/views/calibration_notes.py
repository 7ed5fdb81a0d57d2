"""What `calibrate` warns of in its rows: tiers whose answers are alike, or worse, or badly checked."""

from __future__ import annotations

from collections.abc import Iterator

from automix_cli.data.groups import copies_note
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.calibrate import Calibration
from automix_cli.evaluation.health import TierHealth, examine, uncompared_note
from automix_cli.views.beside_words import (
    WEAK_AUROC,
    all_alike_words,
    weak_verifier_words,
    worse_words,
)

_HARDLY_READ = 0.8  # of votes that cannot be read: said in a note of its own


def row_warnings(table: TraceTable, result: Calibration) -> Iterator[str]:
    """Write what stands in the way of the rows telling more, a sentence each."""
    yield from filter(None, (copies_note(table.grouping), uncompared_note(table)))
    right = table.score >= result.settings.pass_score
    for j, name in enumerate(result.tiers):
        answers = right[~table.failed[:, j], j]
        if len(answers) and float(answers.mean()) in (0.0, 1.0) and name != table.beside:
            is_last = j == len(result.tiers) - 1
            yield all_alike_words(name, table.beside, right=bool(answers[0]), last=is_last)
    costs = {f.name.removeprefix("always:"): f.cost.value for f in result.figures}
    for j in range(1, len(result.tiers)):
        if right[:, j].mean() < right[:, j - 1].mean():
            later, earlier = result.tiers[j], result.tiers[j - 1]
            more = (costs[later] or 0.0) > (costs[earlier] or 0.0)
            yield worse_words(later, earlier, table.beside, costs_more=more)
    for health in examine(table, result.settings.pass_score):
        if health.tier != result.tiers[-1] or result.settings.last_tier:
            yield from verifier_warnings(health, table.beside)


def verifier_warnings(health: TierHealth, baseline: str | None) -> Iterator[str]:
    """Say that a tier's verdicts can hardly be read, or hardly tell anything."""
    if health.signal == "votes" and _HARDLY_READ <= health.unparsed < 1:
        read = f"{health.tier}: only {100 * (1 - health.unparsed):.2g} % of its votes could be read"
        yield f"{read}, and all are paid for; automix verify --tier {health.tier} --explain shows replies"
    if health.auroc.value is not None and health.auroc.value < WEAK_AUROC:
        yield weak_verifier_words(health.tier, health.auroc.value, baseline)
