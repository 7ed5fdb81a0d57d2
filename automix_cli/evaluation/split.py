"""One split of a table, as every policy of a comparison sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.crossfit import CROSSFIT, Crossfit, Singles, singles
from automix_cli.evaluation.families import cost_weights
from automix_cli.fitting.query_router_kinds import QueryRouterKind
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Floats, Ints

if TYPE_CHECKING:
    from automix_cli.fitting.fit_query_router import FittedRouter


class Split(Struct, frozen=True, kw_only=True, eq=False):
    """Rows to learn from and rows held out, with what they have in common.

    Attributes:
        train, test: the rows.
        rows: where the held-out rows stand in the whole table.
        seed: of folds, draws and fitting.
        options: of cross-fitting.
        settings: what the profile decides.
        alone: what each single tier scores and costs on the training rows; without any, the same.
        resamples: of the training rows, by which settings are chosen.
    """

    train: TraceTable
    test: TraceTable
    rows: Ints
    seed: int
    options: Crossfit
    settings: Settings
    alone: Singles
    resamples: Resamples | None
    _readers: dict[QueryRouterKind, QuestionReader] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        table: TraceTable,
        train: Ints,
        test: Ints,
        *,
        seed: int,
        settings: Settings,
        options: Crossfit = CROSSFIT,
    ) -> Split:
        """Split a table; no more votes are planned than every row of it holds."""
        table = table.with_vote_limit()
        train_rows, test_rows = table.subset(train), table.subset(test)
        return cls(
            train=train_rows,
            test=test_rows,
            rows=test,
            seed=seed,
            options=replace(options, folds=min(options.folds, max(len(train_rows), 2))),
            settings=settings,
            alone=singles(train_rows) if len(train_rows) else _nothing_known(len(table.tiers)),
            resamples=Resamples.of_table(train_rows, seed) if len(train_rows) else None,
        )

    @property
    def abstain_value(self) -> float:
        """The score of an abstention."""
        return self.settings.abstain_value or 0.0

    @property
    def max_votes(self) -> int:
        """The most votes a rule may buy on any tier that is verified."""
        return min(self.settings.max_votes, max(self.train.max_votes[:-1], default=0))

    @property
    def can_crossfit(self) -> bool:
        """Whether the training questions are enough for cross-fitting."""
        return self.options.enough(self.train.n_groups)

    @property
    def weights(self) -> tuple[float, ...]:
        """The cost_weights of routers that look at questions only, and of the oracle."""
        return cost_weights(self.train, self.options.grid) if len(self.train) else (0.0,)

    def reader(self, kind: QueryRouterKind) -> QuestionReader:
        """Return the query-side router of a kind, fitted once for all policies that use it."""
        from automix_cli.fitting.fit_query_router import fit_router  # here, because few policies need it

        if kind not in self._readers:
            router = fit_router(
                kind,
                [str(text) for text in self.train.texts],
                self.train.score,
                self.train.mean_cost,
                seed=self.seed,
                embeddings=self.train.embeddings and self.train.embeddings.vectors,
                embed_model=self.train.embeddings.model if self.train.embeddings else "",
                pass_score=self.settings.pass_score,
                grouping=self.train.grouping,
            )
            self._readers[kind] = QuestionReader(
                router, self.train.with_embedding_fee(), self.test.with_embedding_fee()
            )
        return self._readers[kind]


def _nothing_known(tiers: int) -> Singles:
    return Singles(np.zeros((1, tiers)), np.zeros((1, tiers)))


class QuestionReader:
    """A fitted query-side router, and what it reads in the held-out questions.

    `train` and `test` are the rows, each charged for its embedding where the router reads one.
    """

    def __init__(self, fitted: FittedRouter, train: TraceTable, test: TraceTable) -> None:
        self.fitted, self.router, self.train, self.test = fitted, fitted.router, train, test
        self._all_rows: Floats | None = None

    def read(self, rows: Ints | None) -> Floats:
        """Return P(right) of held-out rows, n×N.

        All rows are read once and remembered; some rows are read anew, as they would be live.
        """
        if rows is not None:
            return self._read(rows)
        if self._all_rows is None:
            self._all_rows = self._read(np.arange(len(self.test)))
        return self._all_rows

    def _read(self, rows: Ints) -> Floats:
        vectors = self.test.embeddings and self.test.embeddings.vectors[rows]
        return self.router.predict([str(text) for text in self.test.texts[rows]], embeddings=vectors)
