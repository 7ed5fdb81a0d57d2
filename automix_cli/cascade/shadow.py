"""Shadow calls: the baseline is asked, too, on a random share of rows, to see what routing loses.

A row is drawn by its id, before anything is known of it. Only then is the drawn part a random sample of
all rows, whatever the policy does with them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from automix_cli import scoring
from automix_cli.cascade.failed_attempts import open_bill
from automix_cli.cascade.visit import LiveVisit
from automix_cli.data.draws import uniform
from automix_cli.errors import NO_ANSWER_ERRORS, BackendError
from automix_cli.profile.model import Tier
from automix_cli.records import Answer, Json, Shadow, Step
from automix_cli.usage import add_money

if TYPE_CHECKING:
    from automix_cli.cascade.answer import QuestionRun


class ShadowPlan(Struct, frozen=True):
    """The share of rows on which the tier `baseline` is asked, too, and the seed that draws them."""

    baseline: Tier
    share: float
    seed: int = 0

    def draws(self, ident: str | int) -> bool:
        """Whether the row of this id is drawn."""
        return uniform("shadow", self.seed, ident) < self.share

    def misses(self, row: Mapping[str, Json]) -> bool:
        """Whether a finished row of an earlier run is drawn, and has not been compared with this baseline."""
        shadow = row.get("shadow") or {}
        is_compared = shadow.get("tier") == self.baseline.name and not shadow.get("error")
        return self.draws(row["id"]) and not is_compared


async def with_shadow(run: QuestionRun, row: Answer, plan: ShadowPlan) -> Answer:
    """The row with the baseline's answer beside its own; a call that fails leaves the row as it is.

    A row that is no answer and no abstention is not compared: there is nothing to compare.
    """
    if row.status not in ("ok", "abstained"):
        return row
    shadow = Shadow(tier=plan.baseline.name, share=plan.share, seed=plan.seed)
    step = next((step for step in row.route if step.tier == plan.baseline.name), None)
    if step is None:
        shadow = await _ask_baseline(run, plan.baseline, shadow)
    else:
        shadow = _with_answer(shadow, step)
    if shadow.error is None:
        shadow = replace(shadow, equal=_is_equal(run, row, shadow))
    return replace(row, shadow=shadow)


async def _ask_baseline(run: QuestionRun, tier: Tier, shadow: Shadow) -> Shadow:
    """Buy one answer of the baseline, as if it alone were asked."""
    start, bill, visit = time.perf_counter(), open_bill(), LiveVisit(tier)
    error = None
    try:
        if run.cascade.degrading is not None:
            run.cascade.degrading.check()
        request, cut = run.requests.for_answer(run.question, tier)
        visit.note(await run.buy(request, visit.answers), cut)
        visit.answer = visit.answers[0].text.strip()
    except NO_ANSWER_ERRORS as exc:
        visit.fail(exc)
        if exc.reply is not None and exc.maybe_billed:  # the visit has what that reply cost
            bill[:] = [attempt for attempt in bill if attempt.reply is not exc.reply]
    except BackendError as exc:
        error = exc
    visit.seconds = time.perf_counter() - start
    step = visit.step()
    failed_usd = add_money(*(attempt.cost(tier) for attempt in bill))
    shadow = replace(shadow, call=step, failed_usd=failed_usd)
    if error is not None:
        from automix_cli.cascade.answer import row_error

        return replace(shadow, error=row_error(error, tier.name))
    return _with_answer(shadow, step)


def _with_answer(shadow: Shadow, step: Step) -> Shadow:
    return replace(shadow, answer=step.answer, failed=step.failed, answer_usd=step.answer_cost)


def _is_equal(run: QuestionRun, row: Answer, shadow: Shadow) -> bool | None:
    """Whether row and baseline answer alike; None where the baseline has no answer that could be lost."""
    if shadow.answer is None:
        return None
    if row.tier == shadow.tier:
        return True
    if row.answer is None:
        return False
    return scoring.has_equal_form(row.answer, shadow.answer, run.profile.task.scorer, run.question.choices)
