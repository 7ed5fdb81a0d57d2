"""How often another answer is reported than a tier gives, beside a count row by row."""

from __future__ import annotations

import pytest
from orders import TIERS, make_rows, make_table

from automix_cli.evaluation.calibrate import Calibration
from automix_cli.evaluation.frontier import Point
from automix_cli.evaluation.objective import Objective, SettingChoice
from automix_cli.evaluation.rates import DifferingShare, differing_shares
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import CostWeight
from automix_cli.fitting.fit import fit
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.rules import AlwaysPolicy, MajorityPolicy


@pytest.mark.parametrize("failures", [0.0, 0.2])
def test_shares_equal_a_count_row_by_row(failures: float) -> None:
    rows = make_rows(60, 3, failures=failures, answers=("a", "b", "The a."))
    table = make_table(rows, compare="exact")
    run = replay(MajorityPolicy(tiers=3, max_votes=2), table)
    for share in differing_shares(table, run):
        hits = 0.0
        for row, reports in zip(rows, run.reports, strict=True):
            answers = [row["tiers"][name].get("answer") for name in TIERS[:3]]
            forms = [answer and answer.strip(".").replace("The ", "") for answer in answers]
            own = forms[TIERS.index(share.tier)]
            if own is not None:
                equal = sum(p for p, form in zip(reports, forms, strict=True) if form == own)
                hits += 1 - equal
        assert share.hits == pytest.approx(hits, abs=0.006)
        assert share.cases == 60


def test_a_tier_alone_never_differs_from_itself() -> None:
    table = make_table(make_rows(40, 4, answers=("a", "b")), compare="exact")
    shares = differing_shares(table, replay(AlwaysPolicy(3, 1), table))
    assert shares[1] == DifferingShare("middle", 0.0, 40)
    assert shares[0].hits > 0


def test_rows_without_answers_tell_no_share() -> None:
    table = make_table(make_rows(10, 5))
    assert differing_shares(table, replay(AlwaysPolicy(3, 0), table)) == ()


def test_the_router_block_keeps_the_shares() -> None:
    table = make_table(make_rows(40, 6, answers=("a", "b")), compare="exact")
    settings = Settings(max_votes=2)
    parameters = fit(table, settings)
    calibration = Calibration(
        tiers=table.tiers,
        settings=settings,
        fitted=parameters,
        objective=Objective("keep", 0.98),
        choice=SettingChoice(CostWeight(0.01), Point(0.0, 0.0)),
        single="huge",
        differing=(DifferingShare("middle", 2.5, 40),),
    )
    assert calibration.router()["fitted"]["differing"] == {"middle": [2.5, 40]}
