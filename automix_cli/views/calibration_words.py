"""What `calibrate` says of its result in sentences: the verdict, the objective, the certificate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from automix_cli.data.groups import Grouping, why_no_verdict
from automix_cli.evaluation.calibrate import Calibration, Figures
from automix_cli.evaluation.crossfit import CROSSFIT
from automix_cli.evaluation.loss import LossAgainst
from automix_cli.evaluation.settings import Always, is_rule
from automix_cli.evaluation.verdict import RoutingVerdict
from automix_cli.texts import TOO_FEW_LABELS, count_of, share_text
from automix_cli.views.lines import money
from automix_cli.views.payer_lines import compare_costs
from automix_cli.views.verdict_words import (
    chance_words,
    cheaper_row_words,
    edge_words,
    labels_words,
    lost_points_words,
    more_rows_words,
    most_lost_words,
    no_cheaper_words,
    no_policy_words,
    other_kind_words,
    promises_nothing,
    share_words,
    single_tier_words,
    unlike_words,
)

if TYPE_CHECKING:
    from automix_cli.evaluation.certificate import Certificate

_FAR_BELOW = 0.2  # of the chance in held-out rows below the probability aimed at: it is said
_NOTABLE_QUALITY = 0.005  # score by which two figures differ


def calibration_sentence(result: Calibration, grouping: Grouping, *, is_free: bool = False) -> str:
    """Write the verdict, with its reason, and what can be said of the objective on new rows.

    Args:
        result: of the calibration.
        grouping: of its rows.
        is_free: whether every tier costs nothing, so that no number of rows makes routing pay.
    """
    if result.certificate is not None and result.certificate.routes:
        return _certified_sentence(result, result.certificate, grouping)
    no_router = "" if result.certificate is None else " No router could be certified, so none is written."
    saves_nothing = is_free and not result.settings.value_of_time and len(result.tiers) > 1
    if saves_nothing and (result.verdict is None or result.verdict.kind == "not enough rows"):
        free = "Nothing to save: every tier costs $0, which more rows would not change."
        return f"{free}{_mark(result)}{no_router}"
    return f"{_verdict_sentence(result, grouping)}{no_router}"


def _mark(result: Calibration) -> str:
    """What a router that is written without proof is; "" where none is.

    Of the last tier alone there is nothing to prove: it is what routers are measured against.
    """
    if result.certificate is not None:
        return ""
    router = result.router()
    if router["kind"] != "always":
        return " A router made of this is unproven, and marked so."
    nothing = ": there is nothing to prove" if router["tier"] == result.tiers[-1] else ""
    return f" The router that is written asks {router['tier']} alone{nothing}."


def _verdict_sentence(result: Calibration, grouping: Grouping) -> str:
    v = result.verdict
    if len(result.tiers) == 1:
        return "There is one tier, so there is nothing to route; votes only say how sure it is."
    if v is None and not result.lacks_labels:
        least = (
            f"{count_of(len(grouping), grouping.noun)}, and at least {CROSSFIT.least_questions} are needed"
        )
        return f"Not enough to tell: {why_no_verdict(grouping) or least}.{_mark(result)}"
    if result.loss is not None or v is None:
        return "" if result.loss is None else loss_sentence(result, result.loss, grouping)
    if v.kind == "single tier":
        return _single_tier_sentence(result, grouping)
    objective = "" if result.certificate is not None else _objective_sentence(result, grouping)
    return f"{_routing_sentence(result, v, grouping.noun)}{objective}"


def _routing_sentence(result: Calibration, v: RoutingVerdict, noun: str) -> str:
    setting = result.choice.setting
    if v.kind == "route" and isinstance(setting, Always):
        aim = "what was asked for"
        if result.objective.kind == "keep":
            aim = (
                f"to keep {share_words(result.objective.value)} of the quality with the probability asked for"
            )
        return f"Routing gives {edge_words(v)}, but {aim} takes {setting.tier} alone, which is written."
    if v.kind == "route":
        return f"Route: {edge_words(v)}{_folds_words(result)}."
    if v.kind == "do not route":
        best = result.router().get("tier", result.single)
        return f"Do not route: use {best}; routing gives {edge_words(v)}{_folds_words(result)}."
    more = more_rows_words(v.more_rows, noun)
    return f"Not enough rows to tell: {edge_words(v)}{_folds_words(result)}{more}.{_mark(result)}"


def _folds_words(result: Calibration) -> str:
    alone, folds = result.single_folds
    return f"; in {alone} of {folds} folds a single tier was chosen" if alone else ""


def _single_tier_sentence(result: Calibration, grouping: Grouping) -> str:
    """Write what the whole curve says where the objective takes a single tier."""
    alone, folds = result.single_folds
    tier = result.router().get("tier", result.single)
    if result.objective.kind == "keep" and _cheapest_is_best(result):
        return f"Use {tier}: no tier is better, and none is cheaper."
    times, few = f"in {alone} of {folds} folds", promises_nothing(grouping)
    also = _cheaper_row(result, tier)
    return single_tier_words(
        tier, result.objective, times, result.alternative, few, kind=result.kind, also=also
    )


def _cheaper_row(result: Calibration, tier: str) -> str:
    """Name the rule of the table that is cheaper than a tier, and good enough; "" where it is not."""
    rows = {
        f.name: (f.cost.value or 0.0, f.quality.value)
        for f in result.figures
        if f.name == "threshold" or f.name.startswith("always:")
    }
    return cheaper_row_words(rows, tier, result.objective)


def _cheapest_is_best(result: Calibration) -> bool:
    """Tell whether one single tier has both the least cost and the highest quality."""
    alone = [f for f in result.figures if f.name.startswith("always:")]
    costs = [f.cost.value or 0.0 for f in alone]
    qualities = [f.quality.value or 0.0 for f in alone]
    return bool(alone) and qualities[costs.index(min(costs))] >= max(qualities)


# ---------------------------------------------------------------- the objective


def _objective_sentence(result: Calibration, grouping: Grouping) -> str:
    """Write how likely the objective is met on new rows: what was aimed at, and what held-out rows say."""
    chance, few = result.chance_met, promises_nothing(grouping)
    if chance is None or isinstance(result.choice.setting, Always):
        return ""
    if result.objective.kind != "keep":
        words = f"holds on new {grouping.noun}s with chance {chance_words(chance)}, by held-out rows"
        return f" Whether the budget holds is open: {few}." if few else f" The budget {words}."
    aim = f"at least {share_words(result.objective.value)} of the best tier's quality"
    if few:
        return f" It is set to keep {aim} on new {grouping.noun}s; {few}."
    promise = f"with probability {share_words(result.objective.sure)}"
    return f" It is set to keep {aim} on new {grouping.noun}s {promise}; {_held_out_words(result, chance)}."


def _held_out_words(result: Calibration, chance: float) -> str:
    """Write what the held-out rows say of the probability: they run the setting that each fold chose."""
    if chance < result.objective.sure - _FAR_BELOW:
        return f"the settings that the folds chose keep it with a chance of {chance_words(chance)} only"
    return f"held-out rows give that a chance of {chance_words(chance)}"


# ---------------------------------------------------------------- the loss against a baseline


def loss_sentence(result: Calibration, loss: LossAgainst, grouping: Grouping) -> str:
    """Write what can be lost against the baseline, and what is saved."""
    noun, own = grouping.noun, result.router()
    cost = {f.name: f.cost.value or 0.0 for f in result.figures}
    tier = own.get("tier")
    first = "" if tier is None else _single_words(result, loss, str(tier), cost)
    if tier == loss.baseline:
        return first
    of_own = cost[f"always:{tier}"] if tier else careful_cost(result)
    saving = compare_costs(of_own, cost[f"always:{loss.baseline}"])
    words = "" if saving is None else f"; {saving.words} {saving.joint} {loss.baseline} alone"
    head = f"{most_lost_words(loss, noun)}{words}."
    aim = "" if tier else _loss_objective_sentence(result, loss, grouping)
    return f"{first}{' ' if first else ''}{head}{unlike_words(loss)}{labels_words(loss)}{aim}"


def _single_words(result: Calibration, loss: LossAgainst, tier: str, cost: Mapping[str, float]) -> str:
    """Write why a tier takes every question."""
    alone, folds = result.single_folds
    times = f"a single tier was chosen in {alone} of {folds} folds"
    other = f"{_cheaper_row(result, tier)}{other_kind_words(result.kind)}"
    if result.objective.kind != "keep":
        return f"Use {tier}: {no_policy_words(result.kind)} serves the objective better ({times}).{other}"
    if cost[f"always:{tier}"] <= min(cost[f"always:{name}"] for name in result.tiers):
        return f"Use {tier}: no tier is cheaper ({times})."
    nothing = no_cheaper_words(result.kind)
    return f"Use {tier}: {nothing} loses {_aim_words(result, loss)} ({times}).{other}"


def _loss_objective_sentence(result: Calibration, loss: LossAgainst, grouping: Grouping) -> str:
    """Write how likely no more is lost than was asked for."""
    chance, few = result.chance_met, promises_nothing(grouping)
    is_withheld = result.lacks_labels or (loss.by_labels is None and loss.labels[0] > 0)
    if result.objective.kind != "keep" or (chance is None and not is_withheld):
        return ""
    words = few or (TOO_FEW_LABELS if is_withheld else _held_out_words(result, chance or 0.0))
    return f" It is set to lose {_aim_words(result, loss)}; {words}."


def _aim_words(result: Calibration, loss: LossAgainst) -> str:
    """Write what was asked for, in points lost."""
    points = lost_points_words(result.objective.value, loss.baseline)
    return f"{points} with probability {share_words(result.objective.sure)}"


# ---------------------------------------------------------------- the folds, and what is written


def router_name(result: Calibration) -> str:
    """What `bench` calls the routers that the folds chose."""
    if result.kind != "pomdp" and not is_rule(result.choice.setting):
        return f"{result.kind}:argmax"
    sources = {source for source, _ in result.choices}
    if sources - {"none", "column"}:
        return "pomdp+query"
    return "pomdp+class" if "column" in sources else "pomdp"


def careful_cost(result: Calibration) -> float:
    """USD per question that a payer is told of a router: held out, or as it is written, the dearer.

    Routers of the folds have settings of their own, so that their mean may lie far below what is written;
    what is written was chosen by its own figure, which may be too low, too.
    """
    return max(_held_out_router(result).cost.value or 0.0, result.written_point.cost)


def _held_out_router(result: Calibration) -> Figures:
    return next(f for f in result.figures if f.name == "pomdp")


def fold_plans_sentence(result: Calibration, measure: str) -> str:
    """Say that held-out figures are means over folds, and what is written instead; "" where both are alike.

    What is written has figures of its own. A plan was chosen by them. With a query-side router no two folds
    are alike; that is said only beside these figures.

    Args:
        result: of the calibration.
        measure: what a score is called.
    """
    if not result.figures or result.router()["kind"] == "always":
        return ""
    own = _written_words(result, measure)
    if not own and (result.query is not None or result.n_plans < 2):
        return ""
    dollars = "quality" if _is_dearer(result) else "dollars"
    above = f"The held-out figures (table and {dollars} above, verdict below)"
    routers = f"{result.single_folds[1]} routers, each measured on rows that it was not fitted on"
    plans = f" ({result.n_plans} different plans)" if result.query is None and result.n_plans > 1 else ""
    return f"{above} are means over {routers}{plans}{own}."


def _costs_to_tell(result: Calibration) -> tuple[str, str]:
    """The held-out dollars per 1,000 questions, and those of what is written."""
    held_out = _held_out_router(result).cost.value or 0.0
    return money(1000 * held_out), money(1000 * result.written_point.cost)


def _is_dearer(result: Calibration) -> bool:
    """Whether the dollars that a payer reads are those of what is written, and not the held-out ones."""
    held_out, own = _costs_to_tell(result)
    return own != held_out and careful_cost(result) == result.written_point.cost


def _written_words(result: Calibration, measure: str) -> str:
    """What is written in figures; "" where they are told alike."""
    quality, (folds, own) = result.written_figures[1], _costs_to_tell(result)
    held_out = _held_out_router(result).quality.value or 0.0
    is_alike = quality is None or abs(quality - held_out) <= _NOTABLE_QUALITY
    if own == folds and is_alike:
        return ""
    at = "" if quality is None else f" at {measure} {share_text(quality, '.3f')}"
    comes = f"comes to {own} per 1,000{at}{_how_measured(result)}"
    if _is_dearer(result):
        return (
            f", and come to {folds} per 1,000. The dollars above are of the router that is written, "
            f"fitted on all rows: it {comes}"
        )
    stands = "" if own == folds else "; the dearer of both stands above"
    return f". The router that is written, fitted on all rows, {comes}{stands}"


def _how_measured(result: Calibration) -> str:
    """On what the figures of what is written were measured."""
    if result.query is None:
        return " in cross-fitting, by which it was chosen"
    if result.query.kind == "kmeans":
        return " on these rows"
    return " (its cost_weight, with each row read by a model that was fitted on others)"


def start_reader_words(result: Calibration) -> str:
    """Say who read the questions of which starts are counted; "" where nobody does."""
    if result.query is None:
        return ""
    if result.kind != "pomdp" or result.query.kind == "kmeans":
        return " (by the router that is written, on these rows)"
    return " (with each row read by a model that was fitted on others)"


# ---------------------------------------------------------------- the certificate


def _certified_sentence(result: Calibration, proof: Certificate, grouping: Grouping) -> str:
    """Write what is promised, and what the figures above are of."""
    promise = f"keeps at least {share_words(proof.keep)} of the quality of {proof.best}"
    if proof.beside:
        promise = f"at most {proof.most_points:.4g} points are lost against {proof.best}"
    chance = f"with probability {share_words(proof.confidence)}"
    head = f"Certified: {promise} on new {grouping.noun}s {chance}."
    measure = _certified_measure(result, proof)
    name = measure.partition(" ")[0].capitalize()
    own = f"{name} and cost above are of the {count_of(proof.questions, grouping.noun)} that prove it"
    edge = "" if result.verdict is None else f"; there routing gives {edge_words(result.verdict, measure)}"
    return f"{head} {own}, on none of which the router was fitted{edge}."


def _certified_measure(result: Calibration, proof: Certificate) -> str:
    """What a score is called on the rows that prove the promise."""
    if not proof.beside:
        return "quality"
    has_labels = result.loss is not None and result.loss.labels[0] > 0
    return f"{'quality beside' if has_labels else 'agreement with'} {proof.best}"


def certificate_dict(proof: Certificate) -> dict[str, Any]:
    """What was to be promised as plain values, and either what it was proved for or how many labels lack."""
    return {
        "certified": proof.routes,
        "keep": proof.keep,
        "confidence": proof.confidence,
        "best": proof.best,
        **({"most_points": proof.most_points} if proof.beside else {}),
        "setting": proof.setting.to_dict() if proof.routes else None,
        "questions": proof.questions,
        "rows": {"fit": proof.fit_rows, "test": proof.test_rows},
        "labels": proof.labels,
    }
