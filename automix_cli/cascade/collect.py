"""Every tier asked, every vote bought: the traces that fitting and replay read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automix_cli.cascade.answer import QuestionRun
from automix_cli.cascade.requests import sample_counts
from automix_cli.pomdp.problem import Action
from automix_cli.records import Question, Trace

if TYPE_CHECKING:
    from automix_cli.cascade.cascade import Cascade


async def collect_trace(cascade: Cascade, question: Question) -> Trace:
    """Ask every tier, buy all votes, score each answer that can be scored.

    Raises:
        BackendError: when a call fails; what was paid for is in the cache.
    """
    run = QuestionRun(cascade, question)
    for index in range(len(cascade.profile.tiers)):
        await run.carry_out(Action("start", index))
        if votes := sample_counts(cascade.profile, index).votes:
            await run.carry_out(Action("vote", index, votes))
        run.score_answer()
    return Trace(question=question, steps=tuple([v.step() for v in run.visits]))
