"""The calibration of a router that was certified: its own parameters, and figures of the certify half.

The router that is written has the parameters of the fit half. What is said of it is therefore measured
on the other half alone, where its promise was tested.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from msgspec.structs import replace

from automix_cli.data.groups import why_no_verdict
from automix_cli.data.oracle import oracle
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.beside import edge_beside, reports_of, with_label_intervals
from automix_cli.evaluation.bootstrap import BootstrapFigure, Resamples, quality_gains, with_interval
from automix_cli.evaluation.calibrate import Calibration, Figures
from automix_cli.evaluation.certificate import Certificate, halves
from automix_cli.evaluation.crossfit import NO_CURVE, Singles, singles
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.frontier import Point, mix_quality
from automix_cli.evaluation.loss import loss_of
from automix_cli.evaluation.objective import SettingChoice
from automix_cli.evaluation.rates import differing_shares, rates_of
from automix_cli.evaluation.replay import Replayed, replay
from automix_cli.evaluation.verdict import verdict


def with_certificate(
    calibration: Calibration, table: TraceTable, certificate: Certificate, seed: int = 0
) -> Calibration:
    """Return the calibration with a certificate; where a router was certified, everything is said of that.

    Args:
        calibration: made of the same rows without a certificate.
        table: the rows.
        certificate: of these rows.
        seed: with which it was made; also of the resamples.
    """
    if not certificate.routes:
        return replace(calibration, certificate=certificate)
    rest, settings = halves(table.with_vote_limit(), seed).rest, calibration.settings
    as_certified = replace(
        calibration,
        certificate=certificate,
        fitted=certificate.fitted,
        choice=SettingChoice(certificate.setting, Point(0.0, 0.0)),
        single=certificate.best,
        single_folds=(0, 0),
        n_plans=1,
        chance_met=None,
        alternative=None,
        path=NO_CURVE,
        query=None,
        query_point=None,
        choices=(),
    )
    run = replay(as_certified.policy(), rest, abstain_value=settings.abstain_value or 0.0)
    return _with_figures(as_certified, rest, run, Resamples.of_table(rest, seed))


def _with_figures(
    calibration: Calibration, rest: TraceTable, run: Replayed, resamples: Resamples
) -> Calibration:
    alone = singles(rest)
    reports = reports_of(rest, run.score, run.reports)
    pair = _figures(rest, run, alone, resamples)
    figures, gains = with_label_intervals(*pair, rest, {"pomdp": reports}, resamples)
    can_judge = not why_no_verdict(rest.grouping)
    edge = edge_beside(rest, run, alone, resamples)
    point = Point(float(run.cost.mean()), float(run.score.mean()))
    return replace(
        calibration,
        choice=calibration.choice._replace(point=point),
        verdict=verdict(edge, rest.n_groups) if can_judge and edge is not None else None,
        lacks_labels=edge is None,
        figures=figures,
        gains=gains,
        rates=rates_of(rest, run),
        differing=differing_shares(rest, run),
        loss=loss_of(rest, reports, resamples),
    )


def _figures(
    rest: TraceTable, run: Replayed, alone: Singles, resamples: Resamples
) -> tuple[tuple[Figures, ...], Mapping[tuple[str, str], Measure]]:
    """Return the figures of the router, a bound and the single tiers, and the paired gains."""
    tiers, ideal = len(rest.tiers), oracle(alone.score, alone.cost)
    names = ("pomdp", "oracle", *(f"always:{name}" for name in rest.tiers))
    cost = np.column_stack([run.cost, ideal.cost, alone.cost])
    score = np.column_stack([run.score, ideal.score, alone.score])
    costs, scores, baseline = resamples.means(cost), resamples.means(score), f"always:{rest.beside}"
    shares = (float(run.escalated.mean()), float(run.abstained.mean()), float(run.votes.sum(axis=1).mean()))
    figures = [
        Figures(
            name,
            with_interval(cost[:, k].mean(), costs[:, k]),
            with_interval(score[:, k].mean(), scores[:, k], 0 if name == baseline else rest.n_groups),
            *(shares if name == "pomdp" else ()),
        )
        for k, name in enumerate(names)
    ]
    mix = mix_quality(cost[:, -tiers:].mean(axis=0), score[:, -tiers:].mean(axis=0), cost[:, 0].mean())
    mixes = mix_quality(costs[:, -tiers:], scores[:, -tiers:], costs[:, 0])
    figures.append(Figures("random-mix", figures[0].cost, with_interval(float(mix), mixes, rest.n_groups)))
    qualities = {
        name: BootstrapFigure(float(score[:, k].mean()), "", scores[:, k]) for k, name in enumerate(names)
    }
    return tuple(figures), quality_gains(qualities, rest.tiers, rest.n_groups)
