"""The `router:` block of a profile: the kinds there are, and the policy that each stands for.

`calibrate` writes the block and `ask` reads it. A kind of router is one entry of
`ROUTER_KINDS`. NumPy is imported only when a block needs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from automix_cli.errors import DataError, describe_value, did_you_mean, reading_problem
from automix_cli.fitting.query_router_kinds import QUERY_ROUTER_KINDS
from automix_cli.pomdp.problem import Policy

if TYPE_CHECKING:
    from automix_cli.fitting.query_router import QueryRouter

HINT = "automix calibrate writes it anew"
"""What mends a `router:` block that cannot be used."""


class Settings(Struct, frozen=True, kw_only=True):
    """What the profile decides and no data changes.

    `pass_score` is the score from which on an answer is right, `agreement` whether a fit may look at
    which answers are equal; the other fields are those of `automix_cli.pomdp.model.Model`.
    """

    max_votes: int = 8
    batch: tuple[int, ...] = (1, 2, 4)
    abstain_value: float | None = None
    last_tier: bool = False
    value_of_time: float = 0.0
    pass_score: float = 0.5
    agreement: bool = True


Build = Callable[[Mapping[str, Any], Settings, tuple[str, ...]], Policy[Any]]


class RouterKind(NamedTuple):
    """One kind of router.

    Attributes:
        keys: what a block of this kind must hold, besides `kind`.
        build: makes the policy of a block; None where the costs of the tiers decide, and no block does.
        optional: what it may hold, besides `COMMON_KEYS`.
    """

    keys: tuple[str, ...] = ()
    build: Build | None = None
    optional: tuple[str, ...] = ()


def _votes(router: Mapping[str, Any], settings: Settings) -> int:
    """The votes that a threshold router buys: never more than the profile allows."""
    votes = int(router.get("votes", settings.max_votes))
    if problem := votes_problem(votes, settings.max_votes):
        raise ValueError(f"votes: {problem}")
    return votes


def votes_problem(votes: Any, max_votes: int) -> str | None:
    """What is wrong with the number of votes that a router buys on one answer.

    Example:
        >>> votes_problem(8, 8), votes_problem(5000, 4)
        (None, 'expected a whole number from 0 to 4, as verification.max_votes allows, got 5000')
    """
    if isinstance(votes, int) and not isinstance(votes, bool) and 0 <= votes <= max_votes:
        return None
    range_text = f"a whole number from 0 to {max_votes}, as verification.max_votes allows"
    return f"expected {range_text}, got {describe_value(votes)}"


def _always(router: Mapping[str, Any], settings: Settings, tiers: tuple[str, ...]) -> Policy[Any]:
    from automix_cli.pomdp.rules import AlwaysPolicy

    return AlwaysPolicy(len(tiers), tiers.index(str(router["tier"])))


def _self_consistency(router: Mapping[str, Any], settings: Settings, tiers: tuple[str, ...]) -> Policy[Any]:
    from automix_cli.pomdp.rules import ThresholdPolicy

    return ThresholdPolicy.single(tiers=len(tiers), votes=settings.max_votes, cut=0.5)


def _threshold(router: Mapping[str, Any], settings: Settings, tiers: tuple[str, ...]) -> Policy[Any]:
    from automix_cli.pomdp.rules import ThresholdPolicy

    votes = _votes(router, settings)
    return ThresholdPolicy.single(tiers=len(tiers), votes=votes, cut=float(router["cut"]))


def _double_threshold(router: Mapping[str, Any], settings: Settings, tiers: tuple[str, ...]) -> Policy[Any]:
    from automix_cli.pomdp.rules import ThresholdPolicy

    votes = _votes(router, settings)
    low, high = float(router["low"]), float(router["cut"])
    return ThresholdPolicy.double(tiers=len(tiers), votes=votes, low=low, high=high)


def _pomdp(router: Mapping[str, Any], settings: Settings, tiers: tuple[str, ...]) -> Policy[Any]:
    from automix_cli.fitting.fitted import Fitted

    weight, model = float(router["cost_weight"]), Fitted.from_dict(router)
    names = tuple(tier.name for tier in model.tiers)
    if names != tiers:
        raise DataError(f"the router was fitted on {', '.join(names)}", hint=HINT)
    return model.policy(weight, settings)


def _by_question(router: Mapping[str, Any], settings: Settings, tiers: tuple[str, ...]) -> Policy[Any]:
    """The policy of a query-side router alone."""
    from automix_cli.pomdp.rules import QuestionPolicy

    query = query_router_of(router)
    assert query is not None
    if len(query.costs) != len(tiers):
        raise DataError(f"the query-side router was fitted on {len(query.costs)} tiers", hint=HINT)
    return QuestionPolicy(
        rewards=tuple((wrong, right) for wrong, right in query.rewards.tolist()),
        costs=tuple(query.costs.tolist()),
        cost_weight=float(router["cost_weight"]),
        names=tiers,
    )


UNCALIBRATED_KINDS = ("prior", "majority")
"""Kinds that are set by hand and learn nothing from rows; the costs of the tiers decide beside them."""

PLANNED_KINDS = ("pomdp", "pomdp+query")
"""Kinds whose decisions are planned."""

COMMON_KEYS = ("kind", "fitted", "token_scale", "value_of_time", "query")
"""Keys that a block of any kind may hold; a `query` that does not belong to the kind has its own refusal."""

_PLAN_OPTIONS = ("classes", "agreement", "trust")

ROUTER_KINDS: Mapping[str, RouterKind] = {
    "prior": RouterKind(optional=("give_up",)),
    "majority": RouterKind(),
    "pomdp": RouterKind(("cost_weight", "prior", "observations"), _pomdp, _PLAN_OPTIONS),
    "pomdp+query": RouterKind(
        ("cost_weight", "prior", "observations", "trust", "query"), _pomdp, _PLAN_OPTIONS
    ),
    "threshold": RouterKind(("cut",), _threshold, ("votes",)),
    "double-threshold": RouterKind(("low", "cut"), _double_threshold, ("votes",)),
    "self-consistency": RouterKind((), _self_consistency),
    "always": RouterKind(("tier",), _always),
    **{kind: RouterKind(("cost_weight", "query"), _by_question) for kind in QUERY_ROUTER_KINDS},
}
"""Every kind of router that a profile may name."""


def policy_from_router(router: Mapping[str, Any], settings: Settings, tiers: Sequence[str]) -> Policy[Any]:
    """Build the policy that a profile's `router:` block stands for.

    Args:
        router: the block.
        settings: what the profile decides.
        tiers: the names of its tiers, cheapest first.

    Raises:
        DataError: the block cannot be read, or was fitted on other tiers.
    """
    name = str(router.get("kind"))
    if name not in ROUTER_KINDS:
        raise DataError(f"unknown kind of router {name!r}{did_you_mean(name, ROUTER_KINDS)}", hint=HINT)
    kind = ROUTER_KINDS[name]
    if kind.build is None:
        raise DataError(f"a router of kind {name} has learned nothing from rows", hint=HINT)
    if missing := [key for key in kind.keys if router.get(key) is None]:
        raise DataError(f"a router of kind {name} needs the key {' and the key '.join(missing)}", hint=HINT)
    if problem := _problem_beside_the_plan(router):
        raise DataError(f"the router block cannot be read: {problem}", hint=HINT)
    try:
        return kind.build(router, settings, tuple(tiers))
    except (TypeError, ValueError) as exc:
        raise DataError(f"the router block cannot be read: {reading_problem(exc)}", hint=HINT) from exc


def _problem_beside_the_plan(router: Mapping[str, Any]) -> str | None:
    """What is wrong with what no plan reads, and rows do: the scale of tokens, and the rates when fitted."""
    scale, fitted = router.get("token_scale"), router.get("fitted")
    is_number = isinstance(scale, int | float) and not isinstance(scale, bool)
    if scale is not None and not (is_number and 0 < scale < math.inf):
        return f"token_scale: expected a number above 0, got {describe_value(scale)}"
    if fitted is not None and not isinstance(fitted, Mapping):
        return f"fitted: expected a mapping, got {describe_value(fitted)}"
    rates = (fitted or {}).get("rates") or {}
    if not isinstance(rates, Mapping):
        return f"fitted.rates: expected a mapping, got {describe_value(rates)}"
    for name, rate in rates.items():
        if not _is_rate(rate):
            return (
                f"fitted.rates.{name}: expected hits and cases, such as [3, 10], got {describe_value(rate)}"
            )
    return None


def _is_rate(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and [type(number) for number in value] == [int, int]
        and 0 <= value[0] <= value[1]
    )


def query_router_of(router: Mapping[str, Any]) -> QueryRouter | None:
    """Read the query-side router of a `router:` block; None where it has none.

    Raises:
        DataError: it cannot be read, or it belongs to no router of this kind.
    """
    kind = str(router.get("kind"))
    if router.get("query") is None:
        return None
    if kind not in ROUTER_KINDS or "query" not in ROUTER_KINDS[kind].keys:
        problem = f"a router of kind {kind} reads no question, and this one has a query-side router"
        raise DataError(f"{problem}: an earlier automix wrote it", hint=HINT)
    from automix_cli.fitting.query_router import QueryRouter

    try:
        query = QueryRouter.from_dict(router["query"])
    except DataError as exc:
        raise DataError(exc.message, hint=HINT) from exc
    if kind in QUERY_ROUTER_KINDS and query.kind != kind:
        raise DataError(f"the block is of kind {kind}, and its query-side router of {query.kind}", hint=HINT)
    tiers = len(router["observations"]) if kind == "pomdp+query" else len(query.costs)
    if len(query.costs) != tiers:
        problem = f"the query-side router was fitted on {len(query.costs)} tiers, and the plan on {tiers}"
        raise DataError(problem, hint=HINT)
    return query


def embedding_model_of(router: Mapping[str, Any]) -> str | None:
    """Return the embedding model that the block's query-side router reads; None for none."""
    query = router.get("query") or {}
    features = query.get("features") if isinstance(query, Mapping) else None
    model = features.get("model") if isinstance(features, Mapping) else None
    return model if isinstance(model, str) and model else None


# ---------------------------------------------------------------- what calibration measured


def fitted_answer_cost(router: Mapping[str, Any], tier: str, tokens: float) -> float | None:
    """Return the USD that an answer of a tier is expected to cost; None where the block does not say.

    Args:
        router: the block; one without parameters has the mean over held-out rows.
        tier: the tier's name.
        tokens: prompt tokens of the question, as the first tier counts them.
    """
    try:
        if tier in router.get("observations", {}):
            fixed, per_token = map(float, router["observations"][tier]["costs"]["answer"])
            return fixed + per_token * tokens
        return float(router["fitted"]["held_out"][f"always:{tier}"][0])
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def held_out_quality(router: Mapping[str, Any], policy: str) -> float | None:
    """Return a policy's mean score on the rows held out in calibration; None where the block has none."""
    return _held_out(router, policy, 1)


def held_out_cost(router: Mapping[str, Any], policy: str) -> float | None:
    """Return a policy's mean USD on the rows held out in calibration; None where the block has none."""
    return _held_out(router, policy, 0)


def own_quality(router: Mapping[str, Any]) -> float | None:
    """Return the mean score that calibration measured of the block's own router; None for none."""
    return _own(router, 1)


def own_cost(router: Mapping[str, Any]) -> float | None:
    """Return the USD that calibration told of the block's own router, written or held out, the dearer."""
    own, folds = _own(router, 0), _held_out(router, "pomdp", 0)
    return own if own is None or folds is None or router.get("kind") == "always" else max(own, folds)


def _own(router: Mapping[str, Any], place: int) -> float | None:
    """The figure of what is written; where a block has none, the mean over folds, which differ from it."""
    if router.get("kind") == "always":
        return _held_out(router, f"always:{router.get('tier')}", place)
    fitted = router.get("fitted")
    if not isinstance(fitted, Mapping) or "written" not in fitted:
        return _held_out(router, "pomdp", place)
    try:
        return float(fitted["written"][place])
    except (KeyError, TypeError, ValueError, IndexError):
        return None  # withheld, or no figure


def _held_out(router: Mapping[str, Any], policy: str, place: int) -> float | None:
    try:
        return float(router["fitted"]["held_out"][policy][place])
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def start_shares(router: Mapping[str, Any]) -> dict[str, float] | None:
    """Return which share of questions began at which tier in calibration, by what is read in them.

    None without a query-side router; {} where all began at the cheapest tier, or nobody counted.
    """
    if router.get("query") is None:
        return None
    try:
        return {str(tier): float(share) for tier, share in dict(router["fitted"]["starts"]).items()}
    except (KeyError, TypeError, ValueError):
        return {}


def differing_share(router: Mapping[str, Any], tier: str) -> tuple[float, float] | None:
    """Return on how many of how many questions the router's answer was not the tier's; None for unknown."""
    try:
        hits, cases = map(float, router["fitted"]["differing"][tier])
    except (KeyError, TypeError, ValueError):
        return None
    return (hits, cases) if 0 <= hits <= cases and 0 < cases < math.inf else None
