"""What tells questions apart before any call: a column of the rows, or what a query-side router reads.

    Classes.of(table, learn) ─▶ one ClassedTable per source ─▶ fit and replay use `table.question_logits`

One source is taken: a column and a router are not multiplied. A column's classes are those with enough
training questions; they stand in `table.question_classes`. A router is fitted on the training rows alone.
What it says of these comes from models of other folds, and of all other rows from reading the question.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from automix_cli.data.traces import TraceTable
from automix_cli.errors import UsageError
from automix_cli.fitting.query_router_kinds import CLASS_SOURCES, ClassChoice, ClassSource
from automix_cli.pomdp.tilt import logit

if TYPE_CHECKING:
    from automix_cli.fitting.query_router import QueryRouter
    from automix_cli.fitting.query_router_kinds import QueryRouterKind


_LEAST_ROOM = 8_000  # characters of JSON, below which a router has hardly any vocabulary
_MOST_ROOM = 40_000


class ClassedTable(NamedTuple):
    """A table with the class of each row, and the router that gives them; None for no classes."""

    source: ClassSource
    table: TraceTable
    router: QueryRouter | None = None

    def as_read(self) -> TraceTable:
        """The table with what the router itself says of each row, where other folds tell less of that.

        What linear models and neighbours say of rows that they were fitted on is too sure, so the
        probabilities of models of other folds stay. Clusters hardly look at single labels, but those of
        other folds are other clusters: by these, the share of questions that goes to the dearer tier is
        off by 12 points where the router is fitted on 450 rows, and by 2 by its own.
        """
        return self.by_router() if self.router is not None and self.router.kind == "kmeans" else self.table

    def by_router(self) -> TraceTable:
        """The table with what the router itself says of each row."""
        assert self.router is not None
        vectors = self.table.embeddings and self.table.embeddings.vectors
        probs = self.router.predict([str(text) for text in self.table.texts], embeddings=vectors)
        return replace(self.table, question_logits=logit(probs))


class Classes(Struct, frozen=True, kw_only=True):
    """What may supply classes: `none` first where it may be taken, a column of the rows, query-side routers.

    `room`: about how many characters of JSON a router may take; `pass_score` as in `Settings`.
    """

    sources: tuple[ClassSource, ...] = ("none",)
    room: int = _MOST_ROOM
    pass_score: float = 0.5
    seed: int = 0

    @property
    def reads_questions(self) -> bool:
        """Whether query-side routers are among the sources, which take long to fit."""
        return any(source not in ("none", "column") for source in self.sources)

    def of(self, table: TraceTable, learn: NDArray[np.bool_]) -> Iterator[ClassedTable]:
        """The table with the classes of each source in turn, learned from the rows in the mask."""
        for source in self.sources:
            if source == "none":
                yield ClassedTable(source, table)
            elif source == "column":
                yield ClassedTable(source, table.with_named_classes(learn))
            else:
                yield self._classify(source, table, learn)

    def _classify(self, kind: QueryRouterKind, table: TraceTable, learn: NDArray[np.bool_]) -> ClassedTable:
        from automix_cli.fitting.fit_query_router import fit_router

        table = table.with_embedding_fee()
        train, texts = table.subset(learn), [str(text) for text in table.texts]
        result = fit_router(
            kind,
            [text for text, own in zip(texts, learn, strict=True) if own],
            train.score,
            train.mean_cost,
            seed=self.seed,
            embeddings=train.embeddings and train.embeddings.vectors,
            embed_model=train.embeddings.model if train.embeddings else "",
            pass_score=self.pass_score,
            budget=self.room,
            grouping=train.grouping,
        )
        probs = np.empty(table.score.shape)
        probs[learn] = result.probs
        if not learn.all():
            others = [text for text, own in zip(texts, learn, strict=True) if not own]
            vectors = table.embeddings and table.embeddings.vectors[~learn]
            probs[~learn] = result.router.predict(others, embeddings=vectors)
        return ClassedTable(kind, replace(table, question_logits=logit(probs)), result.router)


NO_CLASSES = Classes()


def sources_of(choice: ClassChoice, *, has_column: bool = False) -> tuple[ClassSource, ...]:
    """The sources of classes that `--query-router` and `--class-column` ask for.

    `auto` has all routers compared. A column is always compared with no classes, and with the routers.

    Example:
        >>> sources_of("knn"), sources_of("knn", has_column=True), sources_of("none", has_column=True)
        (('knn',), ('none', 'column', 'knn'), ('none', 'column'))
    """
    sources = CLASS_SOURCES if choice == "auto" else (choice,)
    return ("none", "column", *(s for s in sources if s != "none")) if has_column else sources


def classes_for(
    choice: ClassChoice, table: TraceTable, *, room: int, pass_score: float, seed: int
) -> Classes:
    """The classes that `--query-router` asks for, and those of the table's class column.

    Args:
        choice: a kind of router, `none`, or `auto` for whichever does best.
        table: the training rows.
        room: bytes that the profile has for a router block.
        pass_score: from this score on an answer is right.
        seed: of folds, clusters and draws.

    Raises:
        UsageError: no row records its question, or the profile has no room for a router.

    Example:
        >>> from automix_cli.data.read_traces import read_table
        >>> rows = read_table([(1, {"question": "2 + 2?", "tiers": {"s": {"score": 1, "cost": 1}}})])
        >>> classes_for("auto", rows, room=60_000, pass_score=0.5, seed=0).sources
        ('none', 'multilabel', 'separate', 'kmeans', 'knn')
    """
    has_column = table.class_column is not None
    if choice == "none":
        return Classes(sources=sources_of(choice, has_column=has_column), pass_score=pass_score, seed=seed)
    if not any(table.texts):
        raise UsageError("--query-router looks at questions, and these rows record none")
    router_room = room - _other_bytes(len(table.tiers))
    if router_room < _LEAST_ROOM:
        raise UsageError(
            "this profile has no room for a query-side router: it may hold 64 KiB in all",
            hint="name a new file with -o",
        )
    return Classes(
        sources=sources_of(choice, has_column=has_column),
        room=min(router_room, _MOST_ROOM),
        pass_score=pass_score,
        seed=seed,
    )


def _other_bytes(tiers: int) -> int:
    """Bytes for the rest of a router block: signals per tier, counts per class and state."""
    return int(6_000 + 3_000 * tiers + 32 * 6 * 2**tiers)
