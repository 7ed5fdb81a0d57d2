"""Questions at work side by side, as many as the profile allows, with their rows in order."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future

from msgspec.structs import replace

from automix_cli.cascade.batch import AHEAD
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.jobs import AnswerJob, fault_row
from automix_cli.data.jsonl import IdCheck, Row
from automix_cli.library.questions import Askable, row_of
from automix_cli.library.session import OpenProfile
from automix_cli.records import Answer, RowError
from automix_cli.views.stops import stop_error


class RowWindow:
    """The rows that were started and not taken yet; one window for each run over questions."""

    def __init__(self, session: OpenProfile) -> None:
        self._session = session
        self._concurrency = session.profile.limits.concurrency
        self._slots = asyncio.Semaphore(self._concurrency)  # belongs to the session's loop once it is used
        self._job: AnswerJob | None = None
        self._ids, self._count = IdCheck(), 0
        self._stops: list[RowError] = []
        self.next_rows: deque[Future[Answer]] = deque()

    @property
    def next(self) -> Future[Answer]:
        """The row whose turn it is."""
        return self.next_rows[0]

    @property
    def is_full(self) -> bool:
        """Whether no more rows are to be held back for their order."""
        return len(self.next_rows) >= AHEAD * self._concurrency

    @property
    def has_next(self) -> bool:
        """Whether the row whose turn it is has come."""
        return bool(self.next_rows) and self.next.done()

    @property
    def is_over(self) -> bool:
        """Whether a row has met an error that every other one would meet."""
        return bool(self._stops)

    def add(self, question: Askable) -> None:
        """Start a row."""
        row = self._ids.check(row_of(question, self._count))
        self._count += 1
        self.next_rows.append(self._session.start(lambda cascade: self._work(cascade, row)))

    async def _work(self, cascade: Cascade, row: Row) -> Answer:
        """The row of a question, once a slot is free; on the session's loop."""
        if self._job is None:
            self._job = AnswerJob(cascade)
        async with self._slots:
            if self._stops:
                return fault_row(row).with_error(replace(self._stops[0], attempts=0))
            answer = await self._job.work(row)
        assert isinstance(answer, Answer)  # no earlier run has rows here
        if self._job.ends_run(answer) and answer.error is not None:
            self._stops.append(answer.error)
        return answer

    def take(self, answer: Answer) -> Answer:
        """Take the row whose turn it is, and count it."""
        self.next_rows.popleft()
        if self._job is not None:
            self._job.count(answer)
        return answer

    def check(self) -> None:
        """Raise the error that ended the run.

        Raises:
            AutomixError: one did.
        """
        spent_usd = None if self._job is None else self._job.tally.spent_usd
        if (stop := stop_error(self._stops, spent_usd)) is not None:
            raise stop

    def cancel(self) -> None:
        """Give up the rows under way."""
        while self.next_rows:
            self.next_rows.popleft().cancel()
