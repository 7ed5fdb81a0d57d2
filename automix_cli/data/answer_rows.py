"""The rows that `ask` writes, read again: what an audit needs of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from automix_cli.data.jsonl import open_input, parse_line, read_chunks, split_lines
from automix_cli.data.rows import question_from_dict
from automix_cli.errors import DataError
from automix_cli.records import ASK_SCHEMA, Json, Question


class RouteStep(NamedTuple):
    """One tier on the way of a row.

    Attributes:
        tier: its name.
        cost_usd: list price of answer and votes; None where unknown.
        is_plain: whether that is one answer and nothing else.
        first_vote: whether the first vote said CORRECT; None without one that could be read.
    """

    tier: str
    cost_usd: float | None
    is_plain: bool
    first_vote: bool | None


class ShadowComparison(NamedTuple):
    """A row beside the baseline.

    Attributes:
        tier: the baseline.
        equal: whether the answers are equal; None where the baseline has none, or its call failed.
        answer: of the baseline.
        answer_usd: list price of that answer, wherever it was bought.
        cost_usd: list price of the call that was made for the comparison.
        is_failed: whether that call failed, so that nothing is known.
        share: of the rows that are drawn.
        seed: that draws them; None where the row does not say.
    """

    tier: str
    equal: bool | None
    answer: str | None
    answer_usd: float | None
    cost_usd: float | None
    is_failed: bool
    share: float
    seed: int | None = None


class AnswerRow(Struct, frozen=True, kw_only=True):
    """A row of `ask`: `place` is its file and line, `scores` those of tiers, where somebody gave them."""

    place: str
    question: Question
    status: str
    answer: str | None
    tier: str | None
    cost_usd: float | None
    route: tuple[RouteStep, ...]
    profile_sha: str
    comparison: ShadowComparison | None
    scores: Mapping[str, float]

    @property
    def is_finished(self) -> bool:
        """Whether the policy came to its end: an answer, or none on purpose."""
        return self.status in ("ok", "abstained")


def read_answers(paths: Sequence[Path]) -> Iterator[AnswerRow]:
    """Read files of rows, in order.

    Raises:
        DataError: a file cannot be read, or a line is no row of `ask`.
    """
    for path in paths:
        with open_input(path) as file:
            for index, line in enumerate(split_lines(read_chunks(file.fileno()))):
                place = f"{path}:{line.number}"
                try:
                    yield _answer_row(parse_line(line), index, place)
                except (KeyError, TypeError, ValueError, AttributeError) as exc:
                    raise DataError(f"{place}: is no row of ask", hint=_INPUT_HINT) from exc
                except DataError as exc:
                    raise DataError(f"{place}: {exc.message}", hint=_INPUT_HINT) from exc


_INPUT_HINT = "it reads what this writes: automix ask -i questions.jsonl -o answers.jsonl --shadow 0.02"


def _answer_row(row: Json, index: int, place: str) -> AnswerRow:
    if row["schema"] != ASK_SCHEMA:
        raise ValueError(row["schema"])
    shadow = row.get("shadow")
    return AnswerRow(
        place=place,
        question=question_from_dict(row, index, textless=True),
        status=str(row["status"]),
        answer=row["answer"],
        tier=row["tier"],
        cost_usd=_money(row["cost_usd"]),
        route=tuple(_step(step) for step in row["route"]),
        profile_sha=str(row.get("profile_sha", "")),
        comparison=None if shadow is None else _comparison(shadow),
        scores={name: _score(cell["score"]) for name, cell in (row.get("tiers") or {}).items()},
    )


def _score(value: Json) -> float:
    if not 0 <= value <= 1:
        raise DataError(f"score: expected a number in 0..1, got {value!r:.40}")
    return float(value)


def _money(value: Json) -> float | None:
    return None if value is None else float(value)


def _step(step: Json) -> RouteStep:
    vote = step.get("first_vote")
    is_plain = not step.get("votes") and not step.get("samples")
    return RouteStep(
        str(step["tier"]), _money(step["cost_usd"]), is_plain, None if vote is None else vote == 1
    )


def _comparison(shadow: Json) -> ShadowComparison:
    equal = shadow["equal"]
    if not (equal is None or isinstance(equal, bool)):
        raise TypeError(equal)
    return ShadowComparison(
        tier=str(shadow["tier"]),
        equal=equal,
        answer=shadow.get("answer"),
        answer_usd=_money(shadow.get("answer_usd")),
        cost_usd=_money(shadow.get("cost_usd", 0.0)),
        is_failed=shadow.get("error") is not None,
        share=float(shadow["share"]),
        seed=shadow.get("seed") if isinstance(shadow.get("seed"), int) else None,
    )
