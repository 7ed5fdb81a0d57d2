"""The `router:` block of a profile: the kinds there are, and the policy that each stands for.

`calibrate` writes the block and `ask` reads it. Nothing here needs NumPy until a kind that
computes its policy is met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from automix_cli.errors import DataError, did_you_mean
from automix_cli.pomdp.problem import Policy
from automix_cli.pomdp.rules import AlwaysPolicy, ThresholdPolicy

if TYPE_CHECKING:
    from automix_cli.fitting.query_router import QueryRouter

HINT = "automix calibrate writes it anew"
"""What mends a `router:` block that cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the profile decides and no data changes; see `Model` for the words.

    `pass_score`: from this score on an answer is right.
    """

    max_votes: int = 8
    batch: tuple[int, ...] = (1, 2, 4)
    abstain_value: float | None = None
    last_tier: bool = False
    value_of_time: float = 0.0
    pass_score: float = 0.5


Build = Callable[[Mapping[str, Any], Settings, tuple[str, ...]], Policy[Any]]


def _always(router: Mapping[str, Any], settings: Settings, tiers: tuple[str, ...]) -> Policy[Any]:
    return AlwaysPolicy(len(tiers), tiers.index(str(router["tier"])))


def _self_consistency(router: Mapping[str, Any], settings: Settings, tiers: tuple[str, ...]) -> Policy[Any]:
    return ThresholdPolicy.single(tiers=len(tiers), votes=settings.max_votes, cut=0.5)


def _threshold(router: Mapping[str, Any], settings: Settings, tiers: tuple[str, ...]) -> Policy[Any]:
    votes = int(router.get("votes", settings.max_votes))
    return ThresholdPolicy.single(tiers=len(tiers), votes=votes, cut=float(router["cut"]))


def _double_threshold(router: Mapping[str, Any], settings: Settings, tiers: tuple[str, ...]) -> Policy[Any]:
    votes = int(router.get("votes", settings.max_votes))
    low, high = float(router["low"]), float(router["cut"])
    return ThresholdPolicy.double(tiers=len(tiers), votes=votes, low=low, high=high)


def _pomdp(router: Mapping[str, Any], settings: Settings, tiers: tuple[str, ...]) -> Policy[Any]:
    from automix_cli.fitting.fitted import Fitted

    weight, fitted = float(router["cost_weight"]), Fitted.from_dict(router)
    names = tuple(tier.name for tier in fitted.tiers)
    if names != tiers:
        raise DataError(f"the router was fitted on {', '.join(names)}", hint=HINT)
    return fitted.policy(weight, settings)


def _benched_only(router: Mapping[str, Any], settings: Settings, tiers: tuple[str, ...]) -> Policy[Any]:
    kind = router["kind"]
    raise DataError(f"a router of kind {kind} can be compared by automix bench, but not asked", hint=HINT)


ROUTER_KINDS: Mapping[str, Build] = {
    "pomdp": _pomdp,
    "threshold": _threshold,
    "double-threshold": _double_threshold,
    "self-consistency": _self_consistency,
    "always": _always,
    "multilabel": _benched_only,
    "separate": _benched_only,
    "kmeans": _benched_only,
    "knn": _benched_only,
    "pomdp+query": _benched_only,
}
"""Every kind of router that a profile may name, and what builds its policy."""


def policy_from_router(router: Mapping[str, Any], settings: Settings, tiers: Sequence[str]) -> Policy[Any]:
    """The policy that a profile's `router:` block stands for.

    Args:
        router: the block.
        settings: what the profile decides.
        tiers: the names of its tiers, cheapest first.

    Raises:
        DataError: the block cannot be read, was fitted on other tiers, or is of a kind that does not run.
    """
    kind = str(router.get("kind"))
    if kind not in ROUTER_KINDS:
        raise DataError(f"unknown kind of router {kind!r}{did_you_mean(kind, ROUTER_KINDS)}", hint=HINT)
    try:
        return ROUTER_KINDS[kind](router, settings, tuple(tiers))
    except KeyError as exc:
        raise DataError(f"a router of kind {kind} needs the key {exc.args[0]}", hint=HINT) from exc
    except (TypeError, ValueError) as exc:
        raise DataError(f"the router block cannot be read: {exc}", hint=HINT) from exc


def query_router_of(router: Mapping[str, Any]) -> QueryRouter | None:
    """The query-side router whose classes the prior of a `router:` block knows; None where it has none.

    Raises:
        DataError: it cannot be read, or knows other classes than the prior.
    """
    if router.get("query") is None:
        return None
    from automix_cli.fitting.query_router import QueryRouter

    try:
        query = QueryRouter.from_dict(router["query"])
    except DataError as exc:
        raise DataError(exc.message, hint=HINT) from exc
    known = len(router.get("prior", {}).get("counts", ()))
    if query.n_classes != known:
        problem = f"the query-side router tells {query.n_classes} classes apart, and the prior knows {known}"
        raise DataError(problem, hint=HINT)
    return query


def without_classes(router: Mapping[str, Any]) -> dict[str, Any]:
    """The block with one prior for all classes of questions together, and no query-side router."""
    rest = {key: value for key, value in router.items() if key != "query"}
    prior = rest["prior"]
    pooled = [sum(column) for column in zip(*prior["counts"], strict=True)]
    return {**rest, "prior": {**prior, "counts": [pooled]}}


def embedding_model_of(router: Mapping[str, Any]) -> str | None:
    """The name of the embedding model that the block's query-side router reads; None where it reads none."""
    query = router.get("query") or {}
    features = query.get("features") if isinstance(query, Mapping) else None
    model = features.get("model") if isinstance(features, Mapping) else None
    return model if isinstance(model, str) and model else None
