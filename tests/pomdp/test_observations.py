"""Observation models: their JSON, their checks, and the counts they tell apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from automix_cli.errors import DataError
from automix_cli.pomdp.observations import (
    ConfidenceObservations,
    ConsistencyObservations,
    Counts,
    NoObservations,
    ObservationModel,
    VoteObservations,
    observations_from_dict,
)
from automix_cli.pomdp.problem import Visit


@pytest.mark.parametrize(
    "model",
    [
        VoteObservations(shapes=((0.5, 2.0), (2.0, 0.25)), unparsed=0.125),
        VoteObservations(shapes=((0.5, 2.0), (0.5, 1.0), (2.0, 0.25), (3.0, 0.25))),
        ConsistencyObservations(probabilities=((0.5, 0.5), (0.25, 0.75))),
        ConfidenceObservations(cuts=(0.5,), probabilities=((0.5, 0.5), (0.25, 0.75)), missing=(0.1, 0.0)),
        NoObservations(),
    ],
    ids=lambda m: type(m).__name__,
)
def test_observation_models_survive_the_round_trip_through_json(model: ObservationModel) -> None:
    assert observations_from_dict(model.to_dict()) == model


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"signal": "mood"},
        {"signal": "votes", "shapes": [[1, 2]], "unparsed": 0},
        {"signal": "votes", "shapes": [[1, 2], [0, 1]], "unparsed": 0},
        {"signal": "votes", "shapes": [[1, 2], [2, 1]], "unparsed": 1.0},
        {"signal": "votes", "shapes": [[1, 2], [2, 1]]},
        {"signal": "consistency", "probabilities": [[0.5, 0.4], [0.5, 0.5]]},
        {
            "signal": "logprob",
            "cuts": [0.5, 0.4],
            "probabilities": [[1], [1]],
            "missing": [],
            "with_answer": True,
        },
        {"signal": "logprob", "cuts": [0.5], "probabilities": [[1], [1]], "missing": [], "with_answer": True},
        {
            "signal": "logprob",
            "cuts": [],
            "probabilities": [[1], [1]],
            "missing": [1, 0],
            "with_answer": True,
        },
    ],
    ids=str,
)
def test_parameters_that_are_no_distribution_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        observations_from_dict(row)


def test_the_likelihood_of_counts_does_not_depend_on_how_they_came() -> None:
    seen = VoteObservations(shapes=((0.3, 1.7), (2.2, 0.4)), unparsed=0.1)
    table = seen.table(5, (1, 2))
    for counts, row in table.row.items():
        np.testing.assert_allclose(table.likelihood[row], seen.likelihood(counts), rtol=1e-12)
    top = table.levels[-1].rows
    whole = seen.table(5, ()).levels[0].rounds[0].orders[0]
    np.testing.assert_allclose(whole @ table.likelihood[top], [1.0, 1.0], rtol=1e-12)


def test_counts_speak_of_what_each_signal_shows() -> None:
    assert VoteObservations(shapes=((1, 1), (1, 1))).counts(Visit(0, 2, 3, 5)) == Counts(2, 3, 3)
    assert VoteObservations(shapes=((1, 1), (1, 1)), unparsed=0.1).counts(Visit(0, 2, 3, 5)) == Counts(
        2, 3, 5
    )
