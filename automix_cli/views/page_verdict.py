"""The three figures at the top of the page: what is saved, what it costs in quality, and the edge."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from automix_cli.evaluation.measures import MEASURE_BY_KEY
from automix_cli.evaluation.payer import Offer
from automix_cli.texts import per_cent
from automix_cli.views.bench_view import BenchView
from automix_cli.views.cells import interval_text, unit_text
from automix_cli.views.lines import money
from automix_cli.views.payer_lines import compare_costs, gain_bounds, money_apart, signed_points
from automix_cli.views.verdict_words import points_dict, share_words


class Tile(NamedTuple):
    """A figure in large letters, and the words below it."""

    figure: str
    words: str


def tiles(view: BenchView) -> list[Tile]:
    """Return the figures that a reader looks for first; none where nothing routes."""
    offer = view.offer()
    if offer is None or offer.cost is None:
        return []
    if offer.is_baseline:
        alone = f"{offer.baseline.tier} alone: {money(1000 * offer.cost)} per 1,000 questions"
        return [Tile("no routing", alone), *_alternative(view)]
    edge = _edge(view) if offer.tier is None else ()
    return [*_saving(offer, offer.cost), *_gain(offer), *edge]


def tiles_html(view: BenchView) -> str:
    """Write the figures as markup; "" for none."""
    parts = [f"<div><b>{_markup(t.figure)}</b><span>{_markup(t.words)}</span></div>" for t in tiles(view)]
    return f'<div class="tiles">{"".join(parts)}</div>' if parts else ""


def _markup(text: str) -> str:
    return escape(unit_text(text))


def _alternative(view: BenchView) -> Iterator[Tile]:
    """What routing saves where less quality is enough; an edge of no routing is 0, and says nothing."""
    other = view.comparison.alternative
    if other is not None:
        edge = points_dict(value=other.edge.value, low=other.edge.low, high=other.edge.high)
        bounds = f"{edge['value']:+.1f} points (95 %: {edge['low']:+.1f} to {edge['high']:+.1f})"
        words = f"if {share_words(other.keep)} of the best tier's {view.measure} is enough; edge {bounds}"
        yield Tile(f"{per_cent(other.saving)} cheaper", words)


def _saving(offer: Offer, cost: float) -> Iterator[Tile]:
    baseline = offer.baseline
    saving = None if baseline.cost is None else compare_costs(cost, baseline.cost)
    if saving and baseline.cost is not None:
        own, other = money_apart(1000 * cost, 1000 * baseline.cost)
        prices = f"{own} instead of {other} per 1,000 questions"
        yield Tile(saving.words, f"{saving.joint} {baseline.tier} for every question: {prices}")


def _gain(offer: Offer) -> Iterator[Tile]:
    gain = offer.gain
    if gain is not None and gain.value is not None:
        beside = f" beside {offer.baseline.tier}" if offer.measure == "quality" else ""
        bounds = gain_bounds(gain.low, gain.high)
        yield Tile(f"{signed_points(gain.value)} points", f"of {offer.measure}{beside}{bounds}")


def _edge(view: BenchView) -> Iterator[Tile]:
    """The edge of the headline policy; nothing where it is undefined."""
    edge, spec = view.comparison.outcome(view.comparison.headline).measures["edge"], MEASURE_BY_KEY["edge"]
    if edge.value is not None:
        bounds = interval_text(spec, edge, between=" to ")
        words = "edge: above a random mix of tiers that costs the same"
        yield Tile(f"{signed_points(edge.value)} points", words + (f" (95 %: {bounds})" if bounds else ""))
