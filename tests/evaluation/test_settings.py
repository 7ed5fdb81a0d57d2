"""Settings as results carry them, and as people read them."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from automix_cli.evaluation.settings import (
    Always,
    CostWeight,
    DoubleThreshold,
    LeastCost,
    MixShare,
    SampleCount,
    Setting,
    Threshold,
    TierPair,
    narrow,
    setting_text,
)

WRITTEN: list[tuple[Setting, dict[str, Any], str]] = [
    (Always("small"), {"always": "small"}, "always small"),
    (CostWeight(0.0123456), {"cost_weight": 0.0123456}, "cost_weight 0.01235"),
    (
        CostWeight(0.5, "knn"),
        {"query_router": "knn", "cost_weight": 0.5},
        "query_router knn, cost_weight 0.5",
    ),
    (
        CostWeight(0.5, "knn", rule="argmax"),
        {"query_router": "knn", "rule": "argmax", "cost_weight": 0.5},
        "query_router knn, rule argmax, cost_weight 0.5",
    ),
    (Threshold((4,), (0.75,)), {"votes": 4, "cut": 0.75}, "votes 4, cut 0.75"),
    (
        Threshold((4, 2), (0.75, 0.5)),
        {"votes": [4, 2], "cut": [0.75, 0.5]},
        "votes 4/2, cut 0.75/0.5",
    ),
    (DoubleThreshold(4, 0.25, 0.75), {"votes": 4, "low": 0.25, "cut": 0.75}, "votes 4, low 0.25, cut 0.75"),
    (SampleCount(5), {"samples": 5}, "samples 5"),
    (
        MixShare(0.5, dearer="l", cheaper="s"),
        {"share": 0.5, "of": "l", "else": "s"},
        "share 0.5, of l, else s",
    ),
    (TierPair("s", "m"), {"agreement": ["s", "m"]}, "agreement s/m"),
    (LeastCost(0.1), {"cost_from": 0.1}, "cost_from 0.1"),
]


@pytest.mark.parametrize(("setting", "row", "text"), WRITTEN, ids=lambda value: str(value)[:20])
def test_a_setting_is_written_with_its_keys_in_order(
    setting: Setting, row: dict[str, Any], text: str
) -> None:
    assert list(setting.to_dict().items()) == list(row.items())
    assert setting_text(setting) == text


def test_every_kind_of_setting_has_its_own_keys() -> None:
    """So that rows of different policies cannot be mistaken for each other."""
    assert {type(setting) for setting, _, _ in WRITTEN} == set(get_args(Setting))
    keys = {type(setting): tuple(row) for setting, row, _ in WRITTEN if not isinstance(setting, CostWeight)}
    assert len(set(keys.values())) == len(keys)
    texts = [json.dumps(row) for _, row, _ in WRITTEN]
    assert len(set(texts)) == len(texts)


def test_a_policy_refuses_a_setting_of_another_kind() -> None:
    assert narrow(CostWeight(0.5), CostWeight).value == 0.5
    with pytest.raises(TypeError, match="expected a setting of kind CostWeight, got Always"):
        narrow(Always("small"), CostWeight)
