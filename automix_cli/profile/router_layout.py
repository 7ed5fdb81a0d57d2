"""The `router:` block as a declaration: every key of each kind of router, and what it may hold.

Only that keys are known and values possible is checked here, because here the line is known.
Whether the numbers make a model is checked in `fitting`, where they are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from automix_cli.errors import describe_value
from automix_cli.fitting.router_block import COMMON_KEYS, ROUTER_KINDS
from automix_cli.pomdp.signals import SIGNALS
from automix_cli.profile.model import MAX_VOTES
from automix_cli.profile.schema import (
    BAD,
    AnyMapping,
    Flag,
    Kind,
    ListOf,
    Number,
    OneOf,
    Record,
    Report,
    Text,
    Whole,
)
from automix_cli.profile.yamltree import Node, at

_MOST_CLASSES, _MOST_STATES, _MOST_BINS = 1_000, 64, 1_000
_CHANCE = Number(0, 1)
_AMOUNT = Number(0, 1e12)
_TWO_AMOUNTS = ListOf(_AMOUNT, 2)
_TABLE = ListOf(ListOf(_CHANCE, _MOST_BINS), 4)
_OBSERVATIONS: dict[str, dict[str, Kind]] = {
    "votes": {"shapes": ListOf(ListOf(Number(0, 1e12, above=True), 2), 4), "unparsed": _CHANCE},
    "logprob": {
        "cuts": ListOf(Number(-1e12, 1e12), _MOST_BINS),
        "probabilities": _TABLE,
        "missing": ListOf(_CHANCE, 4),
        "with_answer": Flag(),
    },
    "consistency": {"probabilities": _TABLE},
    "none": {},
}


class _ObservationBlock(Struct, frozen=True):
    """What a tier shows: the keys depend on its signal."""

    def read(self, node: Node, report: Report) -> Any:
        """The mapping as plain values."""
        if not isinstance(node.value, dict):
            return AnyMapping().read(node, report)
        signal = node.value.get("signal", node._replace(value=None, path=f"{node.path}.signal"))
        name = OneOf((*SIGNALS, "none")).read(signal, report)
        if name is BAD:
            return BAD
        fields: dict[str, Kind] = {"signal": Text(), **_OBSERVATIONS[name]}
        return Record(dict, fields).read(node, report)


class _Named(Struct, frozen=True):
    """A mapping of one kind of value, by names."""

    kind: Kind

    def read(self, node: Node, report: Report) -> Any:
        """The values by name."""
        if not isinstance(node.value, dict):
            return AnyMapping().read(node, report)
        return {name: self.kind.read(child, report) for name, child in node.value.items()}


class _Unread(Struct, frozen=True):
    """A value that is read elsewhere; null counts as missing there."""

    def read(self, node: Node, report: Report) -> Any:
        """The value."""
        return node.plain()


class _Count(Struct, frozen=True):
    """How many rows there were, or a part of them."""

    def read(self, node: Node, report: Report) -> Any:
        """The number."""
        if isinstance(node.value, int | float) and node.value < 0:
            report.add(node, f"expected a count, got {describe_value(node.value)}")
            return BAD
        return _AMOUNT.read(node, report)


class _QueryBlock(Struct, frozen=True):
    """A query-side router, which `fitting` reads."""

    def read(self, node: Node, report: Report) -> Any:
        """The mapping as plain values."""
        if isinstance(node.value, dict) or node.value is None:
            return node.value
        report.add(node, f"expected a query-side router, got {describe_value(node.value)}")
        return BAD


_COST_PAIRS = Record(dict, {"answer": _TWO_AMOUNTS, "vote": _TWO_AMOUNTS, "round": _TWO_AMOUNTS})
_TIER_BLOCK = Record(
    dict,
    {
        "right": _TWO_AMOUNTS,
        "wrong": _TWO_AMOUNTS,
        "observation": _ObservationBlock(),
        "max_votes": Whole(0, MAX_VOTES),
        "costs": _COST_PAIRS,
        "latency": _TWO_AMOUNTS,
        "failed": _CHANCE,
        "note": Text(),
    },
)
_PRIOR = Record(
    dict,
    {
        "counts": ListOf(ListOf(_Count(), _MOST_STATES), _MOST_CLASSES),
        "alpha": _Count(),
        "kappa": _Count(),
        "mean_tokens": _Count(),
    },
)
_AGREEMENT = Record(
    dict,
    {
        "pairs": ListOf(ListOf(ListOf(_CHANCE, 2), 6), 6),
        "groups": ListOf(_CHANCE, 6),
        "one_right": _CHANCE,
    },
)
_VALUES: Mapping[str, Kind] = {
    "cost_weight": _AMOUNT,
    "prior": _PRIOR,
    "observations": _Named(_TIER_BLOCK),
    "classes": Record(dict, {"column": Text(), "names": ListOf(_Unread(), _MOST_CLASSES)}),
    "agreement": _AGREEMENT,
    "trust": Number(0, 1e6),
    "query": _QueryBlock(),
    "cut": _CHANCE,
    "low": _CHANCE,
    "give_up": Number(0, 1, above=True),
    "token_scale": Number(0, 1e6, above=True),
    "value_of_time": _AMOUNT,
}
"""What keys may hold; the others are checked where they are read, or across fields."""


def router_problems(router: Mapping[str, Any], sources: Sequence[tuple[str, str]] = ()) -> str:
    """Find the keys of a block that its kind does not have, and the values that no block could hold.

    Returns:
        the problems, one a line, each with its file and line; "" where there are none.

    Args:
        router: the block; one of an unknown kind has no keys to compare with.
        sources: for every key path of the profile, the file and line of its value.
    """
    report, own = Report(), ROUTER_KINDS.get(str(router.get("kind")))
    if own is None:
        return ""
    known_keys = (*COMMON_KEYS, *own.keys, *own.optional)
    tree = _locate_value(router, "router", _Places(sources))
    present = {k: child for k, child in tree.value.items() if child.value is not None or k not in known_keys}
    fields = {key: _VALUES.get(key, _Unread()) for key in known_keys}
    Record(dict, fields).values(tree._replace(value=present), report)
    report.lines = [line.removeprefix(_NO_PLACE) for line in report.lines]
    return report.text()


_NO_PLACE = ":0: "  # what the report says of a block that comes of no file


class _Places:
    """The files and lines of key paths; a mapping or a list stands where the first value in it does."""

    def __init__(self, sources: Sequence[tuple[str, str]]) -> None:
        self._of_path: dict[str, tuple[str, int]] = {}
        for path, place in sources:
            source, _, line = place.rpartition(":")
            while path:
                self._of_path.setdefault(path, (source, int(line)))
                path = re.sub(r"(^|\.)[^.\[\]]*$|\[\d+\]$", "", path)

    def of(self, path: str) -> tuple[str, int]:
        """The file and the line of a key path."""
        return self._of_path.get(path, ("", 0))


def _locate_value(value: Any, path: str, places: _Places) -> Node:
    """A plain value as a located node; what is packed in a query-side router is left as it is."""
    source, line = places.of(path)
    if isinstance(value, Mapping) and path != "router.query":
        value = {key: _locate_value(child, at(path, key), places) for key, child in value.items()}
    elif isinstance(value, list | tuple):
        value = [_locate_value(child, at(path, k), places) for k, child in enumerate(value)]
    return Node(value, line, source, path)
