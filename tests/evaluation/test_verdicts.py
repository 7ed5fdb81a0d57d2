"""The verdict on recorded answers of real models: route where it pays, and say so where it does not."""

from __future__ import annotations

import pytest
from recorded import VERDICTS, Known

from automix_cli.evaluation.calibrate import calibrate
from automix_cli.evaluation.crossfit import Crossfit
from automix_cli.fitting.router_block import Settings


@pytest.mark.parametrize("case", VERDICTS[:3], ids=lambda case: case.words)
def test_the_verdict_on_recorded_answers_is_the_known_one(case: Known) -> None:
    if not case.recorded.path.exists():
        pytest.skip(f"{case.recorded.name} is not at hand: set AUTOMIX_DATA")
    table = case.table()
    found = calibrate(table, Settings(max_votes=max(table.max_votes)), options=Crossfit(folds=3))
    assert found.verdict is not None
    assert found.verdict.kind == case.expected
    if case.expected == "single tier":
        assert found.single_folds == (9, 9)
        assert found.alternative is None
        assert found.router()["kind"] == "always"
