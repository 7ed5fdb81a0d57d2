"""The settings that a policy may have: what distinguishes two policies of one family.

Each kind is a frozen struct with the dict that results carry (`to_dict`); `setting_text` writes any
of them for people. A new kind of setting is one class here and one name in `Setting`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, TypeVar

from msgspec import Struct

from automix_cli.fitting.query_router_kinds import ClassSource


class Always(Struct, frozen=True):
    """One tier for every question, by name."""

    tier: str

    def to_dict(self) -> dict[str, Any]:
        """Return the setting as results carry it."""
        return {"always": self.tier}


class CostWeight(Struct, frozen=True):
    """Quality given up per dollar.

    Attributes:
        value: the cost_weight.
        query_router: the source of question classes, where it was chosen in training; else None.
        class_column: the column of classes, or `none`, where one of them was chosen in training; else None.
        rule: the rule by which the query-side router alone names the tier; None for a plan.
    """

    value: float
    query_router: ClassSource | None = None
    class_column: str | None = None
    rule: Literal["argmax"] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the setting as results carry it."""
        sources = {"query_router": self.query_router, "class_column": self.class_column, "rule": self.rule}
        return {**{key: own for key, own in sources.items() if own is not None}, "cost_weight": self.value}


class Threshold(Struct, frozen=True):
    """Per tier but the last: buy `votes` votes, escalate where the share that says CORRECT is below `cut`."""

    votes: tuple[int, ...]
    cut: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the setting as results carry it: plain numbers where there is one tier to look at."""
        if len(self.votes) == 1:
            return {"votes": self.votes[0], "cut": self.cut[0]}
        return {"votes": list(self.votes), "cut": list(self.cut)}


class DoubleThreshold(Struct, frozen=True):
    """Buy `votes` votes and escalate where the share that says CORRECT is between two cuts."""

    votes: int
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """Return the setting as results carry it."""
        return {"votes": self.votes, "low": self.low, "cut": self.high}


class SampleCount(Struct, frozen=True):
    """How many answers of one tier are compared for a majority."""

    samples: int

    def to_dict(self) -> dict[str, Any]:
        """Return the setting as results carry it."""
        return {"samples": self.samples}


class MixShare(Struct, frozen=True):
    """The share of questions that go to the dearer tier of a mix; the others go to the cheaper one."""

    share: float
    dearer: str
    cheaper: str

    def to_dict(self) -> dict[str, Any]:
        """Return the setting as results carry it."""
        return {"share": self.share, "of": self.dearer, "else": self.cheaper}


class TierPair(Struct, frozen=True):
    """Two tiers whose answers are compared."""

    first: str
    second: str

    def to_dict(self) -> dict[str, Any]:
        """Return the setting as results carry it."""
        return {"agreement": [self.first, self.second]}


class LeastCost(Struct, frozen=True):
    """The least cost of a rule, as a share of the range between two tiers."""

    share: float

    def to_dict(self) -> dict[str, Any]:
        """Return the setting as results carry it."""
        return {"cost_from": self.share}


Setting: TypeAlias = (
    Always | CostWeight | Threshold | DoubleThreshold | SampleCount | MixShare | TierPair | LeastCost
)

S = TypeVar("S")


def narrow(setting: Setting, kind: type[S]) -> S:
    """Return a setting as the kind that a policy needs.

    Raises:
        TypeError: it is of another kind.
    """
    if not isinstance(setting, kind):
        raise TypeError(f"expected a setting of kind {kind.__name__}, got {setting}")
    return setting


def is_rule(setting: Setting) -> bool:
    """Whether a setting is of a query-side router's own rule, which stands beside plans."""
    return isinstance(setting, CostWeight) and setting.rule is not None


def setting_text(setting: Setting) -> str:
    """Write a setting for people.

    Example:
        >>> setting_text(Threshold((4, 2), (0.75, 0.5))), setting_text(CostWeight(0.0123456, "knn"))
        ('votes 4/2, cut 0.75/0.5', 'query_router knn, cost_weight 0.01235')
    """
    return ", ".join(f"{key} {_text(value)}" for key, value in setting.to_dict().items())


def _text(value: object) -> str:
    if isinstance(value, list):
        return "/".join(map(_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
