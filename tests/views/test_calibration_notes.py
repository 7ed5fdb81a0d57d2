"""What `calibrate` warns of in its rows."""

from __future__ import annotations

import pytest

from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.health import TierHealth
from automix_cli.views.calibration_notes import verifier_warnings

FEW_READ = (
    "small: only {} % of its votes could be read, and all are paid for; "
    "automix verify --tier small --explain shows replies"
)


@pytest.mark.parametrize(
    ("signal", "unparsed", "auroc", "notes"),
    [
        ("votes", 0.1, 0.9, []),
        ("votes", 0.79, 0.9, []),
        ("votes", 0.8, 0.9, [FEW_READ.format(20)]),
        ("votes", 0.985, 0.9, [FEW_READ.format(1.5)]),
        ("votes", 1.0, None, []),  # the fit says it
        ("logprob", 0.9, 0.9, []),
        ("votes", 0.0, 0.5, ["small: its verifier hardly tells right from wrong (AUROC 0.50)"]),
    ],
)
def test_a_verifier_that_is_hardly_read_or_hardly_tells_is_named(
    signal: str, unparsed: float, auroc: float | None, notes: list[str]
) -> None:
    health = TierHealth("small", signal, 100, Measure(auroc), None, unparsed, ())
    assert list(verifier_warnings(health, None)) == notes
