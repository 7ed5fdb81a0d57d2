"""What a person sees of a row to label, and what their judgement makes of the row."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

from automix_cli.data.draws import uniform
from automix_cli.data.label_file import LabelFile, answers_of, has_judgement
from automix_cli.data.row_keys import LABEL_KEYS
from automix_cli.data.rows import question_from_dict
from automix_cli.records import Json, Question
from automix_cli.scoring import classes_of, comparison_of


class CardAnswer(NamedTuple):
    """An answer, and the tiers that gave it or an equal one."""

    text: str
    tiers: tuple[str, ...]


class AnswerCard(NamedTuple):
    """A question with its answers, each once, in an order that says nothing of the tiers."""

    question: Question
    answers: tuple[CardAnswer, ...]

    @classmethod
    def of(cls, row: Json, scorer: str, seed: int) -> AnswerCard:
        """The card of a row; answers are one where their canonical forms are equal.

        Example:
            >>> row = {"id": 1, "question": "6 * 7?", "tiers": {n: {"answer": a} for n, a in [("s", "42"), ("l", "42.0")]}}
            >>> AnswerCard.of(row, "numeric", 0).answers
            (CardAnswer(text='42', tiers=('s', 'l')),)
        """  # noqa: E501
        question = question_from_dict(row, textless=True)
        answers = answers_of(row)
        classes = classes_of(list(answers.values()), comparison_of(scorer), question.choices)
        names = list(answers)
        own = [
            CardAnswer(
                str(answers[names[k]]), tuple(n for n, c in zip(names, classes, strict=True) if c == k)
            )
            for k in sorted(set(classes) - {-1})
        ]
        own.sort(key=lambda answer: uniform("order of answers", seed, f"{question.id}:{answer.tiers[0]}"))
        return cls(question, tuple(own))

    def judge(self, row: Json, right: Set[int], by: str) -> Json:
        """The row with a label.

        Args:
            row: of this card.
            right: places of the answers that are right.
            by: who says so.
        """
        scores = {tier: float(k in right) for k, answer in enumerate(self.answers) for tier in answer.tiers}
        tiers = {
            name: {**(step or {}), "score": scores.get(name, 0.0)} for name, step in row["tiers"].items()
        }
        texts = [answer.text for k, answer in enumerate(self.answers) if k in right]
        expected = {"expected": texts[0] if len(texts) == 1 else texts} if texts else {}
        return {**without_label(row), "tiers": tiers, **expected, "labelled_by": by}


def without_label(row: Json) -> Json:
    """The row without what a label adds."""
    tiers = {
        name: {key: value for key, value in (step or {}).items() if key != "score"}
        for name, step in row["tiers"].items()
    }
    return {**{key: value for key, value in row.items() if key not in LABEL_KEYS}, "tiers": tiers}


class LabelSession:
    """A person's way through a file of rows to label: forward, and back by undo.

    Attributes:
        file: what they label.
        by: who they are.
    """

    def __init__(self, file: LabelFile, scorer: str, seed: int, by: str) -> None:
        self.file, self.scorer, self.seed, self.by = file, scorer, seed, by
        self._skips_again = all(self._is_done(row) for row in file.rows)
        self._history: list[tuple[int, Json]] = []
        self._back: int | None = None

    @staticmethod
    def _is_done(row: Json) -> bool:
        return has_judgement(row) or bool(row.get("skipped"))

    @property
    def n_done(self) -> int:
        """How many rows have a label or were skipped."""
        return sum(map(self._is_done, self.file.rows))

    @property
    def place(self) -> int | None:
        """The row to label now, None at the end; rows that were skipped come again in a later session."""
        if self._back is not None:  # what was taken back is what somebody wants to see
            return self._back
        this_time = {place for place, _ in self._history}
        for place, row in enumerate(self.file.rows):
            if not self._is_done(row):
                return place
            if self._skips_again and row.get("skipped") and place not in this_time:
                return place
        return None

    def card(self, place: int) -> AnswerCard:
        """What is to be seen of a row."""
        return AnswerCard.of(self.file.rows[place], self.scorer, self.seed)

    def label(self, place: int, right: Set[int]) -> None:
        """Write which answers of a row are right."""
        row = self.file.rows[place]
        self._put(place, self.card(place).judge(row, right, self.by))

    def skip(self, place: int) -> None:
        """Write that nobody can tell."""
        self._put(place, {**self.file.rows[place], "labelled_by": self.by, "skipped": True})

    def undo(self) -> bool:
        """Take the last label back, one of an earlier session, too; False where there is none."""
        if self._history:
            self._back, before = self._history.pop()
            self.file.put(self._back, before)
            return True
        own = [n for n, row in enumerate(self.file.rows) if self._is_done(row) and "labelled_by" in row]
        if not own:
            return False
        self._back = own[-1]
        self.file.put(self._back, without_label(self.file.rows[self._back]))
        return True

    def _put(self, place: int, row: Json) -> None:
        self._back = None
        self._history.append((place, self.file.rows[place]))
        self.file.put(place, row)
