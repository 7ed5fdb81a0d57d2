"""The answers of trace rows that the task's scorer judges, for a second look by the other scorers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from automix_cli.data.rows import answer_text, has_gold, question_from_dict
from automix_cli.data.traces import TraceTable
from automix_cli.records import Json
from automix_cli.scoring import score
from automix_cli.scoring.comparison import TierAnswer, is_doubtful


def judged_answers(
    rows: Iterator[tuple[int, Any]], tiers: Collection[str], scorer: str
) -> Iterator[TierAnswer]:
    """The answers of tiers in numbered trace rows that have right answers, where `scorer` has judged them.

    A score that stands in a row is the scorer's where it is what the scorer says of that answer.
    """
    for _, row in rows:
        if not has_gold(row):
            continue
        question = question_from_dict({"question": "?", **row})
        for name in tiers:
            step = row["tiers"].get(name)
            text = answer_text(step.get("answer")) if isinstance(step, dict) else None
            if text is None:
                continue
            answer = TierAnswer(name, text, tuple(question.expected), tuple(question.choices))
            if _is_judged_by(scorer, answer, step):
                yield answer


def _is_judged_by(scorer: str, answer: TierAnswer, step: Mapping[str, Json]) -> bool:
    """Whether a step has no score of its own, or the one that a scorer gives its answer."""
    worth = step.get("score", step.get("correct"))
    return worth is None or worth == score(answer.text, answer.expected, scorer, answer.choices)


def has_doubtful_tier(table: TraceTable, pass_score: float) -> bool:
    """Whether nearly all answers of some tier are wrong; scores beside a baseline's do not tell it."""
    if table.relative is not None:
        return False
    right = ((table.score >= pass_score) & ~table.failed).sum(axis=0)
    return any(is_doubtful(int(k), int(n)) for k, n in zip(right, (~table.failed).sum(axis=0), strict=True))
