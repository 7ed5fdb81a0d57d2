"""How real prompt tokens compare with estimates, on rows that were collected."""

from __future__ import annotations

from typing import Any

import pytest
from trace_rows import numbered, trace_row

from automix_cli.cascade.requests import estimated_tokens
from automix_cli.cascade.token_scale import token_scale
from automix_cli.data.read_traces import read_table
from automix_cli.profile.search import profile_of_models
from automix_cli.records import Question

PROFILE = profile_of_models(["demo/small", "demo/large"])


def rows_at(scale: float, tiers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose prompts have `scale` times the estimated tokens, as the tiers that answered counted them."""
    rows = []
    for i, cells in enumerate(tiers):
        tokens = scale * estimated_tokens(PROFILE, Question(text=f"What is {i}?"))
        counted = {
            name: cell if "failed" in cell else {"score": 1, "input_tokens": tokens}
            for name, cell in cells.items()
        }
        rows.append(trace_row(i, **counted))
    return rows


MUTE = {"failed": "no_text"}
BOTH: dict[str, Any] = {"small": {}, "large": {}}
SMALL_MUTE: dict[str, Any] = {"small": MUTE, "large": {}}
ALL_MUTE: dict[str, Any] = {"small": MUTE, "large": MUTE}


@pytest.mark.parametrize(
    "tiers",
    [[BOTH] * 3, [BOTH, SMALL_MUTE, BOTH], [ALL_MUTE, BOTH, BOTH]],
    ids=["all answer", "one tier mute", "no tier answers"],
)
@pytest.mark.parametrize("given", [True, False])
def test_tokens_are_compared_on_the_rows_that_some_tier_counted(
    tiers: list[dict[str, Any]], given: bool
) -> None:
    table = read_table(numbered(rows_at(1.5, tiers)))
    questions = [Question(text=f"What is {i}?") for i in range(3)] if given else None
    assert token_scale(PROFILE, table, questions) == pytest.approx(1.5)


def test_without_counts_on_some_row_that_was_answered_there_is_no_scale() -> None:
    rows = [*rows_at(1.5, [BOTH, BOTH]), trace_row(9, small={"score": 1}, large={"score": 1})]
    assert token_scale(PROFILE, read_table(numbered(rows))) is None
    assert token_scale(PROFILE, read_table(numbered(rows_at(1.5, [ALL_MUTE] * 2)))) is None
