"""How values are written in every table."""

import pytest

from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.measures import MEASURE_BY_KEY
from automix_cli.texts import TOO_FEW_LABELS
from automix_cli.views.cells import behind_text, falls_short, value_text, value_with_interval, why_blank


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


@pytest.mark.parametrize(
    ("key", "parity", "text", "is_short"),
    [
        ("savings_at_99", 0.99, "99.0%", False),
        ("savings_at_99", 1.008, "100.8%", False),
        ("savings_at_99", 0.9899, "98.9%", True),
        ("savings_at_95", 0.9899, "99.0%", False),
        ("savings_at_95", 0.9, "90.0%", True),
        ("savings_at_95", None, "", False),
        ("aiq", 0.1, "", False),
    ],
)
def test_a_saving_whose_setting_kept_less_than_its_name_says_falls_short(
    key: str, parity: float | None, text: str, is_short: bool
) -> None:
    measures = {f"parity_at_{level}": Measure(parity) for level in (95, 99)}
    assert behind_text(MEASURE_BY_KEY[key], measures) == text
    assert falls_short(MEASURE_BY_KEY[key], measures) == is_short


@pytest.mark.parametrize(
    ("key", "measure", "text"),
    [
        ("quality", Measure(0.9996, "", 0.9995, 0.9999), ">0.999 (0.999–1.000)"),
        ("quality", Measure(1.0, "", 0.91, 1.0), "1.000 (0.910–1.000)"),
        ("quality", Measure(1.0, "", 1.0, 1.0), "1.000"),
        ("escalated", Measure(0.002, "", 0.0, 0.004), "<1% (0%–1%)"),
        ("savings_at_99", Measure(0.997), ">99%"),
    ],
)
def test_nothing_is_rounded_up_to_all_or_down_to_nothing(key: str, measure: Measure, text: str) -> None:
    assert value_with_interval(MEASURE_BY_KEY[key], measure) == text


def test_what_rounds_to_nothing_is_not_below_zero() -> None:
    edge = MEASURE_BY_KEY["edge"]
    assert value_with_interval(edge, Measure(-0.001, "", -0.04, 0.01)) == "+0.0 (+0.0 to +0.0)"
    assert value_text(edge, Measure(-0.06)) == "-0.1"
    assert value_text(MEASURE_BY_KEY["savings_at_95"], Measure(-0.004)) == "0%"


SHORT_WORDS = "settings that just reached this in training, without a margin, kept less on held-out rows"
NONE = {"savings_at_99": Measure(None, "no setting reached it"), "parity_at_99": Measure(None, "no setting")}
SHORT = {"savings_at_99": Measure(0.4), "parity_at_99": Measure(0.9899)}
KEPT = {"savings_at_99": Measure(0.4), "parity_at_99": Measure(0.99)}


@pytest.mark.parametrize(
    ("policies", "why"),
    [
        ((NONE, NONE), "no setting reached it"),
        (
            (SHORT, NONE),
            f"{SHORT_WORDS} (p0 98.9%); no setting",
        ),
        (
            (SHORT, SHORT),
            f"{SHORT_WORDS} (p0 98.9%, p1 98.9%); the verdict's setting is chosen apart",
        ),
        ((NONE, KEPT), ""),
        ((SHORT, KEPT), ""),
        ((), ""),
    ],
)
def test_a_column_without_a_value_says_why(policies: tuple[dict[str, Measure], ...], why: str) -> None:
    words = why_blank(MEASURE_BY_KEY["savings_at_99"], {f"p{k}": own for k, own in enumerate(policies)})
    assert words.startswith(why)
    assert bool(words) == bool(why)
