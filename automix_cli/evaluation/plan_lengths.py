"""Which plan each question follows, for all cost_weights of a path at once.

A policy plans for lengths and priors on grids of its own, and takes the best of the plans nearby (see
`PomdpPolicy.plan`). Settings are compared by the very plans that their policies follow: else what is
chosen and what is written would differ in cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from automix_cli.evaluation.plan_stock import PlanRequest, PlanStock, solve_requests
from automix_cli.pomdp.arrays import Bools, Floats, Ints, different_codes
from automix_cli.pomdp.histories import Root
from automix_cli.pomdp.length_grid import LengthSpan, SpanEnds, ValueLine, compare_plans, span_of, steps_of
from automix_cli.pomdp.plan_cases import PlanCase


class Cell(NamedTuple):
    """Rows of nearly one length, the plans at both of its ends, and W settings that these suffice for.

    Attributes:
        rows: places of the rows.
        settings: W, which of the settings that are played.
        low, high: the plans, for one root.
        crossing: W, the most tokens for which the plan for `low` is followed.
    """

    rows: Ints
    settings: Ints
    low: PlanCase
    high: PlanCase
    crossing: Floats


class PlannedRows(NamedTuple):
    """Rows for which plans of a stock are wanted.

    Attributes:
        stock: of the plans.
        places: of each setting that is played, its place among the cost_weights of the stock.
        tokens: n, prompt tokens of the rows, at least 1.
        rows_of: the rows of each root; a row may be one of several.
        priors: n×2^N, each question's own; None where every row has one root.
    """

    stock: PlanStock
    places: Ints
    tokens: Floats
    rows_of: Mapping[Root, Ints]
    priors: Floats | None = None


def divide(requests: Sequence[PlannedRows]) -> list[list[Cell]]:
    """Divide the rows of each root so that the plans of each cell are those that the policies follow.

    The plans of all requests are solved together.
    """
    cells: list[list[Cell]] = [[] for _ in requests]
    for own, request in zip(cells, requests, strict=True):
        if not request.stock.model.counts_tokens:
            own += _whole_cells(request)
    solve_requests(
        PlanRequest(request.stock, cell.low, request.places)
        for own, request in zip(cells, requests, strict=True)
        for cell in own
    )
    level = [
        stretch for k, request in enumerate(requests) if not cells[k] for stretch in _stretches(k, request)
    ]
    while level:  # the cases of one level are solved at once
        solve_requests(own for part in level for own in part.plan_requests(requests[part.request]))
        following: list[_Stretch] = []
        for part, crossing, is_enough in _compare(level, requests):
            settings, few = part.settings[is_enough], part.settings[~is_enough]
            if len(settings):
                cells[part.request].append(Cell(part.rows, settings, *part.cases, crossing[is_enough]))
            following += part.halves(requests[part.request].tokens, few)
        level = following
    return cells


def _whole_cells(request: PlannedRows) -> Iterator[Cell]:
    """The cells of prompts that cost the same whatever their length."""
    settings, never = np.arange(len(request.places)), np.full(len(request.places), np.inf)
    for root, own in request.rows_of.items():
        only = PlanCase(0.0, root)
        yield Cell(own, settings, only, only, never)


class _Stretch(NamedTuple):
    """Rows of one root in a span of lengths, and the settings for whose plans it is looked at."""

    request: int
    root: Root
    span: LengthSpan
    rows: Ints
    settings: Ints

    @property
    def cases(self) -> tuple[PlanCase, PlanCase]:
        """Both ends of the span."""
        return PlanCase(self.span.low, self.root), PlanCase(self.span.high, self.root)

    def plan_requests(self, request: PlannedRows) -> Iterator[PlanRequest]:
        """The plans of both ends."""
        places = request.places[self.settings]
        return (PlanRequest(request.stock, case, places) for case in self.cases)

    def halves(self, tokens: Floats, settings: Ints) -> Iterator[_Stretch]:
        """Halve the span for some of the settings; a half without rows is left out."""
        if not len(settings):
            return
        is_low = tokens[self.rows] < self.span.middle
        for span, own in ((self.span.lower, self.rows[is_low]), (self.span.upper, self.rows[~is_low])):
            if len(own):
                yield _Stretch(self.request, self.root, span, own, settings)


def _stretches(number: int, request: PlannedRows) -> Iterator[_Stretch]:
    """The widest spans that rows of a request lie in."""
    settings = np.arange(len(request.places))
    for root, rows in request.rows_of.items():
        own_tokens = request.tokens[rows]
        steps = steps_of(own_tokens)
        for step in different_codes(steps).values:
            own = steps == step
            yield _Stretch(number, root, span_of(float(own_tokens[own][0])), rows[own], settings)


def _compare(
    level: Sequence[_Stretch], requests: Sequence[PlannedRows]
) -> Iterator[tuple[_Stretch, Floats, Bools]]:
    """Where the plans for both ends of each stretch cross, and where they suffice, per setting."""
    sizes = [len(part.settings) for part in level]
    spans = np.array([part.span for part in level])
    ends = SpanEnds(*np.repeat(spans, sizes, axis=0).T)
    each = [[_line(part, case, requests[part.request]) for case in part.cases] for part in level]
    low, high = (ValueLine(*np.concatenate(own, axis=1)) for own in zip(*each, strict=True))
    crossings, suffice = compare_plans(ends, low, high)
    bounds = np.cumsum(sizes)[:-1]
    yield from zip(level, np.split(crossings, bounds), np.split(suffice, bounds), strict=True)


def _line(part: _Stretch, case: PlanCase, request: PlannedRows) -> Floats:
    """Values and falls of the plans for one end of a stretch."""
    return request.stock[case].line[:, request.places[part.settings]]
