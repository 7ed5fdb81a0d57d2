"""Every tier asked, every vote bought: the traces that fitting and replay read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from msgspec.structs import replace

from automix_cli.backends.embedding import unpack_vector
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.jobs import Ending, RowJob
from automix_cli.cascade.visit import list_cost
from automix_cli.data.jsonl import Row
from automix_cli.errors import BackendError, BudgetError, DataError, Unauthorised, UnknownModel
from automix_cli.profile.model import Tier
from automix_cli.records import Completion, Json, Question, Trace
from automix_cli.usage import add_money

if TYPE_CHECKING:
    from automix_cli.data.traces import TraceTable

# ---------------------------------------------------------------- many questions


class Purchase(Protocol):
    """What can be bought for a question."""

    def to_dict(self) -> dict[str, Json]:
        """The row that is written of it."""
        ...


P = TypeVar("P", bound=Purchase)


class Embedded(NamedTuple):
    """A text with the completion that holds its embedding."""

    text: str
    completion: Completion

    def to_dict(self) -> dict[str, Json]:
        """The text and its embedding, packed."""
        return {"text": self.text, "embedding": self.completion.text}


class CollectedRow(NamedTuple):
    """A trace, with the columns of the question's row that are kept beside it."""

    trace: Trace
    columns: Mapping[str, Json]

    def to_dict(self) -> dict[str, Json]:
        """The trace row, with the columns."""
        return {**self.columns, **self.trace.to_dict()}


class CollectResult(NamedTuple, Generic[P]):
    """What was bought for a question, or why there is nothing."""

    purchase: P | None
    error: BackendError | None


class CollectJob(RowJob[CollectResult[P]]):
    """Buys something for every question, once, and keeps it in the order of the questions."""

    def __init__(self, cascade: Cascade, buy: Callable[[Cascade, Question], Awaitable[P]]) -> None:
        super().__init__(cascade)
        self.buy = buy
        self.purchases: list[P] = []
        self.errors: list[BackendError] = []

    async def work(self, row: Row) -> CollectResult[P]:
        """What is bought for a row; every row holds a question here."""
        if row.question is None:
            raise ValueError(f"line {row.line} holds no question")
        try:
            return CollectResult(await self.buy(self.cascade, row.question), None)
        except BackendError as exc:
            return CollectResult(None, exc)

    def to_dict(self, result: CollectResult[P]) -> Mapping[str, Json]:
        """The row of what was bought; nothing is written of a question that failed."""
        return {} if result.purchase is None else result.purchase.to_dict()

    def ends_run(self, result: CollectResult[P]) -> bool:
        """Whether the error will meet every other question, or the money is spent."""
        return result.error is not None and (result.error.fatal or isinstance(result.error, BudgetError))

    def count(self, result: CollectResult[P]) -> None:
        """Keep what was bought, and what failed."""
        if result.purchase is not None:
            self.purchases.append(result.purchase)
        elif result.error is not None:
            self.errors.append(result.error)

    @property
    def lost_usd(self) -> float | None:
        """List price of what was bought for the questions that failed; None where a price is unknown."""
        return add_money(*(error.row_usd for error in self.errors))

    def check(self, ending: Ending[CollectResult[P]]) -> str:
        """A sentence about the questions that failed; "" where none did.

        Raises:
            BackendError: no further call could succeed, or none did; what was paid for is in the cache.
        """
        if not self.errors:
            return ""
        last = next((e for e in self.errors if e.fatal and e.attempts), self.errors[-1])
        if ending.stops or not self.purchases:
            is_unpaid = not self.purchases and self.lost_usd == 0
            if isinstance(last, Unauthorised | UnknownModel) and is_unpaid:
                last.exit_code = 2  # as good as a wrong profile, and nothing was spent
            raise last
        total = len(self.purchases) + len(self.errors)
        hint = f" ({last.hint})" if last.hint else ""
        return f"{len(self.errors)} of {total} questions failed and are left out: {last}{hint}"


class GivenRows:
    """Questions that are in memory already, as a source of rows."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions = questions

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.questions)

    async def stream(self) -> AsyncIterator[Row]:
        """The rows in order."""
        for index, question in enumerate(self.questions):
            yield Row(index, index + 1, question)


# ---------------------------------------------------------------- what was collected, as a table


def with_embeddings(table: TraceTable, tier: Tier, purchases: Iterable[Embedded]) -> TraceTable:
    """The rows whose question could be embedded, with its embedding, what that cost and how long it took.

    Raises:
        DataError: the embeddings are not all of one length.
    """
    import numpy as np

    from automix_cli.data.traces import Embeddings

    by_text = {text: (unpack_vector(c.text), list_cost(tier, c), c.latency_s) for text, c in purchases}
    if len(widths := {len(vector) for vector, _, _ in by_text.values()}) > 1:
        numbers = " and of ".join(map(str, sorted(widths)))
        raise DataError(
            f"{tier.model}: embeddings of {numbers} numbers: the model has changed",
            hint="--refresh buys all anew",
        )
    rows = table.without_rows(np.array([str(text) not in by_text for text in table.texts], dtype=bool))
    vectors, costs, seconds = zip(*(by_text[str(text)] for text in rows.texts), strict=True)
    embeddings = Embeddings(tier.model, np.array(vectors), np.array(costs, dtype=float), np.array(seconds))
    return replace(rows, embeddings=embeddings)
