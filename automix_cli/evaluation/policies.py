"""The policies that `bench` compares: the one list of them, and the pick from it by name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from automix_cli.data.samples import FEWEST
from automix_cli.errors import UsageError, did_you_mean
from automix_cli.evaluation.answer_policies import Pomdp, PomdpClass, PomdpQuery, RuleFamily
from automix_cli.evaluation.baseline_policies import (
    MajorityOfSamples,
    Oracle,
    RandomMix,
    SelfConsistency,
    SingleTier,
    agreements,
)
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.paper import PaperFamily
from automix_cli.evaluation.policy_entry import PolicyEntry, several_tiers, some_signal, two_tiers
from automix_cli.evaluation.query_policies import Query, QueryBound, rules_of
from automix_cli.evaluation.rule_families import ThresholdFamily
from automix_cli.evaluation.split import Split
from automix_cli.fitting.query_router_kinds import QUERY_ROUTER_KINDS, ClassChoice

_MAJORITY = re.compile(r"maj(?:@(?P<k>[1-9][0-9]{0,4})(?::(?P<tier>.+))?)?", re.ASCII)


def all_policies(
    tiers: Sequence[str],
    query_router: ClassChoice = "multilabel",
    majorities: Sequence[MajorityOfSamples] = (),
    objective: Objective = Objective(),  # noqa: B008
    class_column: str | None = None,
) -> tuple[PolicyEntry, ...]:
    """Return every policy there is, in the order in which results show them.

    The objective is for policies that choose what supplies classes; one of them takes part where the
    rows' classes are read from a column.
    """
    return (
        *(SingleTier(tier) for tier in tiers),
        *majorities,
        RandomMix(),
        SelfConsistency(),
        *agreements(tiers),
        RuleFamily("threshold", _threshold),
        RuleFamily("double-threshold", _double_threshold),
        RuleFamily("paper-pomdp", _paper, (several_tiers, some_signal, two_tiers)),
        *(Query(kind, rule) for kind in QUERY_ROUTER_KINDS for rule in rules_of(kind)),
        Pomdp(at_once=True),
        Pomdp(),
        *([] if class_column is None else [PomdpClass(class_column, objective)]),
        PomdpQuery(query_router, objective),
        Oracle(),
        *(QueryBound(kind) for kind in QUERY_ROUTER_KINDS),
    )


def _threshold(split: Split) -> ThresholdFamily:
    return ThresholdFamily(settings=split.settings, max_votes=split.max_votes)


def _double_threshold(split: Split) -> ThresholdFamily:
    return ThresholdFamily(settings=split.settings, max_votes=split.max_votes, double=True)


def _paper(split: Split) -> PaperFamily:
    return PaperFamily(max_votes=split.max_votes)


def pick_policies(names: str, entries: Sequence[PolicyEntry]) -> tuple[PolicyEntry, ...]:
    """Return the policies that a list of names asks for; single tiers are always among them.

    `multilabel` stands for `multilabel:argmax` and its other rules, `maj` for every `maj@k:TIER`;
    `all` for every policy.

    Raises:
        UsageError: for a name that no policy has.
    """
    selection: set[str] = set()
    for name in (name.strip() for name in names.split(",")):
        if name:
            selection |= _names_for(name, [entry.name for entry in entries])
    return tuple(e for e in entries if e.name in selection or e.group == "single tier")


def _names_for(name: str, names: Sequence[str]) -> set[str]:
    """Return the names of all policies that one name stands for."""
    if name in names:
        return {name}
    if name == "pomdp+class":
        raise UsageError(f"--policies: {name} takes the classes of a column", hint="--class-column names it")
    matches = {n for n in names if name == "all" or n.startswith((f"{name}:", f"{name}@"))}
    if not matches:
        possible = [*dict.fromkeys(part for n in names for part in (n, n.partition(":")[0])), "all"]
        raise UsageError(
            f"--policies: no policy {name!r}{did_you_mean(name, possible)}",
            hint=f"there are {', '.join(possible)}",
        )
    return matches


def majorities(names: str, tiers: Sequence[str], samples: Sequence[int]) -> tuple[MajorityOfSamples, ...]:
    """Return MAJ@k of every tier with enough samples, for odd k and for any k that is named.

    Beyond 9 only the largest odd k has a place, so that many samples do not make a long table.
    `maj@5` stands for all tiers with that many samples, `maj` for all there are; where there is
    none they stand for what cannot take part.

    Args:
        names: as `--policies` has them.
        tiers: their names.
        samples: the fewest judged samples on any row, per tier.

    Example:
        >>> [m.name for m in majorities("all, maj@4:s", ["s", "l"], [5, 0])]
        ['maj@1:s', 'maj@3:s', 'maj@4:s', 'maj@5:s']
    """
    pairs = {
        (tier, k)
        for tier, most in zip(tiers, samples, strict=True)
        if most >= FEWEST
        for k in (*range(1, min(most, 9) + 1, 2), most - 1 + most % 2)
    }
    for name in (name.strip() for name in names.split(",")):
        match = _MAJORITY.fullmatch(name)
        if match is None or (match["tier"] is not None and match["tier"] not in tiers):
            continue
        k = int(match["k"] or FEWEST)
        able = [tier for tier, most in zip(tiers, samples, strict=True) if most >= k]
        pairs |= {(tier, k) for tier in ([match["tier"]] if match["tier"] else able or tiers)}
    return tuple(
        MajorityOfSamples(k, tier) for tier, k in sorted(pairs, key=lambda t: (tiers.index(t[0]), t[1]))
    )
