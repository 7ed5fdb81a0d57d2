"""A fitted query-side router of each kind."""

from __future__ import annotations

import pytest
from topics import COSTS, SCORES, TEXTS

from automix_cli.fitting.fit_query_router import FittedRouter, fit_router
from automix_cli.fitting.query_router_kinds import QUERY_ROUTER_KINDS


@pytest.fixture(scope="module", params=QUERY_ROUTER_KINDS)
def fitted(request: pytest.FixtureRequest) -> FittedRouter:
    pytest.importorskip("sklearn", reason="needs scikit-learn: the extra `routers`")
    return fit_router(request.param, TEXTS, SCORES, COSTS)
