"""The answers of trace rows that the task's scorer judges, for a second look by the other scorers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from automix_cli.data.rows import answer_text, has_gold, question_from_dict
from automix_cli.data.traces import TraceTable
from automix_cli.records import Json
from automix_cli.scoring.comparison import TierAnswer, is_doubtful


def judged_answers(rows: Iterator[tuple[int, Any]], tiers: Collection[str]) -> Iterator[TierAnswer]:
    """The answers of tiers in numbered trace rows that have right answers, and no score of their own."""
    for _, row in rows:
        if not has_gold(row):
            continue
        question = question_from_dict({"question": "?", **row})
        for name in tiers:
            text = _text_to_judge(row["tiers"].get(name))
            if text is not None:
                yield TierAnswer(name, text, tuple(question.expected), tuple(question.choices))


def _text_to_judge(step: Json) -> str | None:
    """The answer of a tier; None where there is none, or its row says what it is worth."""
    if not isinstance(step, dict) or {"score", "correct"} & step.keys():
        return None
    return answer_text(step.get("answer"))


def has_doubtful_tier(table: TraceTable, pass_score: float) -> bool:
    """Whether nearly all answers of some tier are wrong; scores beside a baseline's do not tell it."""
    if table.relative is not None:
        return False
    right = ((table.score >= pass_score) & ~table.failed).sum(axis=0)
    return any(is_doubtful(int(k), int(n)) for k, n in zip(right, (~table.failed).sum(axis=0), strict=True))
