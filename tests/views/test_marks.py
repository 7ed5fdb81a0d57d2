"""Marks can be told apart, by shape or colour, on light and on dark ground."""

from __future__ import annotations

import colorsys
import re
from itertools import combinations

import pytest

from automix_cli.views import marks
from automix_cli.views.marks import DARK_GROUND, LIGHT_GROUND, SHADES, look_of, mark_svg

QUERY = [f"{kind}:{rule}" for kind in ("multilabel", "separate") for rule in ("a", "b", "c", "d")]
GROUPS = {
    "single tier": ["always:large"],
    "majority": ["maj@3:small", "maj@5:small", "maj@5:large"],
    "mix": ["random-mix"],
    "rule": [
        "self-consistency",
        "threshold",
        "double-threshold",
        "paper-pomdp",
        "agreement:a+b",
        "agreement:a+c",
    ],
    "query": [*QUERY, "kmeans", "knn"],
    "pomdp": ["pomdp", "pomdp:all-at-once", "pomdp+query", "pomdp+class"],
    "bound": ["oracle", "bound:multilabel", "bound:separate", "bound:kmeans", "bound:knn"],
}
LOOKS = {
    name: look_of(name, group, place)
    for group, names in GROUPS.items()
    for place, name in enumerate(name for name in names if name != "pomdp")
} | {"pomdp": look_of("pomdp", "pomdp", 0)}


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("ground", [LIGHT_GROUND, DARK_GROUND])
def test_every_colour_stands_out_from_the_ground(ground: str) -> None:
    colours = {colour for group in marks._COLOURS.values() for colour in group} | {*SHADES}
    colours |= {look.colour for look in LOOKS.values()}
    assert {c: round(contrast(c, ground), 2) for c in colours if contrast(c, ground) < 3} == {}


def test_query_policies_that_take_part_at_once_have_shapes_of_their_own() -> None:
    shapes = [look_of("separate:argmax", "query", place).mark for place in range(10)]
    assert len(set(shapes)) == len(shapes)


def test_no_two_policies_look_alike() -> None:
    alike = [pair for pair in combinations(LOOKS, 2) if LOOKS[pair[0]] == LOOKS[pair[1]]]
    assert alike == []


@pytest.mark.parametrize("name", LOOKS)
def test_a_mark_lies_around_its_point(name: str) -> None:
    drawn = mark_svg(LOOKS[name], 100.0, 200.0, 5)
    points = re.search(r'points="([^"]*)"', drawn)
    if points is None:
        assert re.search(r'cx="100.0" cy="200.0"|d="M95.0,195.0', drawn)
        return
    xs, ys = zip(*(map(float, p.split(",")) for p in points[1].split()), strict=True)
    assert sum(xs) / len(xs) == pytest.approx(100, abs=0.1)
    assert sum(ys) / len(ys) == pytest.approx(200, abs=0.1)
    assert max(abs(x - 100) for x in xs) <= 7


def test_rules_of_thumb_differ_in_hue() -> None:
    hues = [colorsys.rgb_to_hsv(*bytes.fromhex(c[1:]))[0] for c in marks._COLOURS["rule"]][:4]
    assert all(min(abs(a - b), 1 - abs(a - b)) > 0.08 for a, b in combinations(hues, 2))
