"""How values are written in every table."""

import pytest

from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.measures import MEASURE_BY_KEY
from automix_cli.texts import TOO_FEW_LABELS
from automix_cli.views.cells import value_text, value_with_interval


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        (Measure(0.935), "0.935"),
        (Measure(0.935, "too few rows for an interval"), "0.935"),
        (Measure(0.935, TOO_FEW_LABELS), "0.935?"),
        (Measure(None, TOO_FEW_LABELS), "–"),
    ],
)
def test_a_value_with_too_few_labels_behind_it_has_a_mark(measure: Measure, text: str) -> None:
    spec = MEASURE_BY_KEY["aiq"]
    assert value_text(spec, measure) == value_with_interval(spec, measure) == text
