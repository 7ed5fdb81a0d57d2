"""The sentences of `calibrate` about folds, few questions and refused certificates, word for word."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from known import draw_table, two_tiers
from msgspec.structs import replace

from automix_cli.data.groups import Grouping
from automix_cli.evaluation.calibrate import Calibration, Figures
from automix_cli.evaluation.certificate import Certificate
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.frontier import Point
from automix_cli.evaluation.loss import LossAgainst
from automix_cli.evaluation.objective import Objective, SettingChoice
from automix_cli.evaluation.settings import Always, CostWeight, Setting
from automix_cli.evaluation.verdict import RoutingVerdict
from automix_cli.fitting.fit import fit
from automix_cli.fitting.query_router_kinds import ClassSource, QueryRouterKind, WrittenKind
from automix_cli.fitting.router_block import Settings
from automix_cli.views.calibration_words import calibration_sentence, fold_plans_sentence, router_name
from automix_cli.views.verdict_words import promises_nothing, single_tier_words

FITTED = fit(draw_table(two_tiers(), 40, 0), Settings())


def figures(name: str, cost: float, quality: float) -> Figures:
    return Figures(name, Measure(cost, ""), Measure(quality, ""))


ROUTED = Calibration(
    tiers=("small", "medium"),
    settings=Settings(),
    fitted=FITTED,
    objective=Objective("keep", 0.95),
    choice=SettingChoice(CostWeight(0.01), Point(0.00154, 0.912)),
    single="medium",
    single_folds=(0, 15),
    n_plans=3,
    verdict=RoutingVerdict("route", 0.025, 0.002, 0.045),
    chance_met=0.74,
    figures=(figures("pomdp", 0.00154, 0.912),),
)
ALONE = SettingChoice(Always("medium"), Point(0.002, 0.93))


def grouping(questions: int, *, column: bool = False) -> Grouping:
    keys = np.arange(questions, dtype=np.uint64)
    return Grouping.of(keys, keys if column else None)


# ---------------------------------------------------------------- folds

FOLD_ROUTERS = (
    "The held-out figures (table and dollars above, verdict below) are means over 15 routers, each measured "
    "on rows that it was not fitted on"
)
MEANS = f"{FOLD_ROUTERS} (3 different plans)"
WRITTEN = "The router that is written, fitted on all rows, comes to"
MEANS_OF_QUALITY = FOLD_ROUTERS.replace("dollars", "quality")
DOLLARS = "The dollars above are of the router that is written, fitted on all rows: it comes to"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, f"{MEANS}."),
        ({"n_plans": 1}, ""),
        ({"choice": ALONE}, ""),
        (
            {"choice": SettingChoice(CostWeight(0.01), Point(0.0018, 0.912))},
            f"{MEANS_OF_QUALITY} (3 different plans), and come to $1.54 per 1,000. {DOLLARS} $1.80 per 1,000 "
            "at quality 0.912 in cross-fitting, by which it was chosen.",
        ),
        (
            {"choice": SettingChoice(CostWeight(0.01), Point(0.00155, 0.912)), "n_plans": 1},
            f"{MEANS_OF_QUALITY}, and come to $1.54 per 1,000. {DOLLARS} $1.55 per 1,000 "
            "at quality 0.912 in cross-fitting, by which it was chosen.",
        ),
        (
            {"choice": SettingChoice(CostWeight(0.01), Point(0.0013, 0.912))},
            f"{MEANS}. {WRITTEN} $1.30 per 1,000 at quality 0.912 in cross-fitting, "
            "by which it was chosen; the dearer of both stands above.",
        ),
        (
            {"choice": SettingChoice(CostWeight(0.01), Point(0.00154, 0.92))},
            f"{MEANS}. {WRITTEN} $1.54 per 1,000 at quality 0.920 in cross-fitting, by which it was chosen.",
        ),
    ],
    ids=[
        "like the one written",
        "all alike",
        "a single tier is written",
        "dearer",
        "a little dearer, from one plan",
        "cheaper",
        "another quality",
    ],
)
def test_folds_with_different_plans_are_named_and_what_is_written_where_it_differs(
    changes: dict[str, object], sentence: str
) -> None:
    assert fold_plans_sentence(replace(ROUTED, **changes), "quality") == sentence


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("kmeans", "on these rows"),
        ("knn", "(its cost_weight, with each row read by a model that was fitted on others)"),
        ("separate", "(its cost_weight, with each row read by a model that was fitted on others)"),
    ],
)
@pytest.mark.parametrize("plan", [True, False], ids=["with a plan", "alone"])
def test_what_is_written_with_a_router_is_named_where_it_differs(
    kind: QueryRouterKind, how: str, plan: bool
) -> None:
    router = SimpleNamespace(kind=kind, to_dict=lambda: {"kind": kind})
    own = replace(ROUTED, query=router, kind="pomdp" if plan else kind, query_point=Point(0.00091, 0.85))
    assert fold_plans_sentence(own, "quality") == (
        f"{FOLD_ROUTERS}. {WRITTEN} $0.91 per 1,000 at quality 0.850 {how}; the dearer of both stands above."
    )
    assert fold_plans_sentence(replace(own, query_point=Point(0.00154, 0.912)), "quality") == ""


# ---------------------------------------------------------------- few questions

EDGE = "Route: +2.5 points over the best random mix of tiers at its cost (95 %: +0.2 to +4.5)."
AIM = " It is set to keep at least 95 % of the best tier's quality on new"


@pytest.mark.parametrize(
    ("changes", "groups", "sentence"),
    [
        (
            {},
            grouping(100),
            f"{EDGE}{AIM} questions with probability 80 %; held-out rows give that a chance of 74 %.",
        ),
        (
            {"objective": Objective("budget", 0.002), "chance_met": 1.0},
            grouping(100),
            f"{EDGE} The budget holds on new questions with chance over 99 %, by held-out rows.",
        ),
        ({}, grouping(99), f"{EDGE}{AIM} questions; below 100 questions nothing is promised."),
        ({}, grouping(99, column=True), f"{EDGE}{AIM} groups; below 100 groups nothing is promised."),
        (
            {"objective": Objective("budget", 0.002)},
            grouping(100),
            f"{EDGE} The budget holds on new questions with chance 74 %, by held-out rows.",
        ),
        (
            {"objective": Objective("budget", 0.002)},
            grouping(99),
            f"{EDGE} Whether the budget holds is open: below 100 questions nothing is promised.",
        ),
        (
            {"verdict": None},
            grouping(1),
            "Not enough to tell: 1 question, and at least 30 are needed. A router made of this is unproven, "
            "and marked so.",
        ),
        (
            {"verdict": RoutingVerdict("not enough rows", 0.0, -0.01, 0.02, 100)},
            grouping(100, column=True),
            "Not enough rows to tell: +0.0 points over the best random mix of tiers at its cost "
            "(95 %: -1.0 to +2.0); some hundreds of groups more may tell. A router made of this is unproven, "
            f"and marked so.{AIM} groups with probability 80 %; held-out rows give that a chance of 74 %.",
        ),
        (
            {"choice": ALONE},
            grouping(100),
            f"Routing gives {EDGE[7:-1]}, but to keep 95 % of the quality with the probability asked for "
            "takes medium alone, which is written.",
        ),
        (
            {"choice": ALONE, "verdict": None},
            grouping(1),
            "Not enough to tell: 1 question, and at least 30 are needed. The router that is written asks "
            "medium alone: there is nothing to prove.",
        ),
    ],
)
def test_what_is_said_of_new_questions(changes: dict[str, object], groups: Grouping, sentence: str) -> None:
    assert calibration_sentence(replace(ROUTED, **changes), groups) == sentence


@pytest.mark.parametrize("questions", [99, 100])
def test_a_single_tier_comes_without_a_probability_below_a_hundred_questions(questions: int) -> None:
    few = promises_nothing(grouping(questions))
    words = single_tier_words("medium", Objective("keep", 0.95), "in 3 of 3 folds", None, few)
    assert ("with probability" in words) == (questions == 100)
    assert ("below 100 questions nothing is promised" in words) == (questions == 99)


@pytest.mark.parametrize("objective", [Objective("keep", 0.95), Objective("budget", 0.002)])
@pytest.mark.parametrize("kind", ["knn", "separate"])
def test_of_a_kind_that_was_asked_for_only_that_is_said_not_to_be_cheaper(
    kind: WrittenKind, objective: Objective
) -> None:
    words = single_tier_words("medium", objective, "in 3 of 3 folds", None, kind=kind)
    assert f" {kind} router " in words
    assert "pomdp plan" not in words
    assert words.endswith(". --kind pomdp, the default, looks at answers as well.")


@pytest.mark.parametrize(
    ("kind", "setting", "sources", "name"),
    [
        ("pomdp", CostWeight(1.0), (), "pomdp"),
        ("pomdp", CostWeight(1.0), ("none", "column"), "pomdp+class"),
        ("pomdp", CostWeight(1.0), ("none", "knn"), "pomdp+query"),
        ("knn", CostWeight(1.0, rule="argmax"), ("knn",), "pomdp+query"),
        ("knn", CostWeight(1.0), ("knn",), "knn:argmax"),
        ("knn", Always("medium"), ("knn",), "knn:argmax"),
    ],
)
def test_the_row_of_held_out_routers_has_the_name_that_bench_has_for_them(
    kind: WrittenKind, setting: Setting, sources: tuple[ClassSource, ...], name: str
) -> None:
    choice = SettingChoice(setting, Point(0.001, 0.9))
    result = replace(ROUTED, kind=kind, choice=choice, choices=tuple((s, choice) for s in sources))
    assert router_name(result) == name


# ---------------------------------------------------------------- beside a baseline

LOSS = LossAgainst(baseline="medium", differing=0.3, most=0.4, labels=(0, 0), by_labels=None)
TIERS = (figures("always:small", 0.001, 0.7), figures("always:medium", 0.02, 1.0))
SHARE = "95 %; 30.0 % of the questions are reported and differ"
MOST = f"At most 40.0 points below medium on new questions ({SHARE})"
TIMES = "(a single tier was chosen in 15 of 15 folds)"


@pytest.mark.parametrize(
    ("tier", "sentence"),
    [
        ("small", f"Use small: no tier is cheaper {TIMES}. {MOST}; 95 % cheaper than medium alone."),
        (
            "medium",
            "Use medium: no cheaper pomdp plan loses at most 5 points against medium with probability 80 % "
            f"{TIMES}.",
        ),
    ],
)
def test_a_single_tier_that_is_not_the_baseline_comes_with_what_it_can_lose(tier: str, sentence: str) -> None:
    choice = SettingChoice(Always(tier), Point(0.001, 0.7))
    result = replace(ROUTED, choice=choice, loss=LOSS, figures=TIERS, single_folds=(15, 15))
    assert calibration_sentence(result, grouping(100)) == sentence


@pytest.mark.parametrize(
    ("cost", "quality", "is_named"),
    [(0.01, 0.96, True), (0.01, 0.94, False), (0.03, 0.99, False)],
)
def test_a_cheaper_rule_of_the_table_is_named_where_it_keeps_what_was_asked_for(
    cost: float, quality: float, is_named: bool
) -> None:
    choice = SettingChoice(Always("medium"), Point(0.02, 1.0))
    rows = (figures("pomdp", 0.02, 1.0), figures("threshold", cost, quality), *TIERS)
    single = RoutingVerdict("single tier", 0.0, 0.0, 0.0)
    result = replace(ROUTED, choice=choice, figures=rows, single_folds=(15, 15), verdict=single)
    for own in (result, replace(result, loss=LOSS)):
        words = calibration_sentence(own, grouping(100))
        assert "no cheaper pomdp plan" in words
        assert ("On these rows threshold is cheaper and keeps it" in words) == is_named


def test_where_labels_are_too_few_no_verdict_is_written_or_told() -> None:
    router = (figures("pomdp", 0.00154, 0.9), *TIERS)
    result = replace(
        ROUTED,
        loss=LOSS._replace(labels=(9, 9)),
        figures=router,
        verdict=None,
        chance_met=None,
        lacks_labels=True,
    )
    text = calibration_sentence(result, grouping(100))
    assert "By labels (9 labels, 9 where answers differ): too few for an estimate." in text
    assert text.endswith("too few labels to say.")
    proof = result.router()["fitted"]
    assert (proof["unproven"], "verdict" in proof) == (True, False)
    assert fold_plans_sentence(result, "quality beside medium") == f"{MEANS}."
    assert list(result.written_figures) == [0.00154, None]


def test_a_certificate_beside_a_baseline_promises_points() -> None:
    proof = Certificate(
        keep=0.9,
        confidence=0.8,
        best="medium",
        fitted=FITTED,
        setting=CostWeight(0.01),
        trials=(),
        questions=50,
        beside=True,
    )
    head = "Certified: at most 10 points are lost against medium on new questions with probability 80 %."
    assert calibration_sentence(replace(ROUTED, certificate=proof), grouping(100)).startswith(head)


# ---------------------------------------------------------------- certificates


def test_where_no_router_could_be_certified_nothing_is_said_of_what_one_would_keep() -> None:
    proof = Certificate(
        keep=0.95,
        confidence=0.9,
        best="medium",
        fitted=FITTED,
        setting=Always("medium"),
        trials=(),
        questions=50,
        labels=800,
    )
    sentence = calibration_sentence(replace(ROUTED, certificate=proof), grouping(100))
    assert sentence == f"{EDGE} No router could be certified, so none is written."
