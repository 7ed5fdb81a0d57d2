"""Labelled rows for `calibrate` and `bench`: questions to be answered, or recorded traces."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs
from msgspec.structs import replace

from automix_cli.data.choice_places import ChoicePlaces, find_places
from automix_cli.data.columns import ColumnMapping, read_amounts, read_columns
from automix_cli.data.documents import PROMPTFOO, is_promptfoo, promptfoo_rows
from automix_cli.data.file_formats import FileRecord, form_of_content, read_records
from automix_cli.data.jsonl import (
    IdCheck,
    open_input,
    parse_line,
    printable,
    read_chunks,
    row_of_value,
    split_lines,
    stdin_kind,
)
from automix_cli.data.rows import answer_text, has_gold, question_from_dict
from automix_cli.data.suggested_columns import columns_option, name_under, names_in
from automix_cli.errors import DataError, UsageError
from automix_cli.records import Json, Question
from automix_cli.scoring import score

if TYPE_CHECKING:
    from automix_cli.data.groups import Grouping
    from automix_cli.data.traces import TraceTable


class TableOptions(Struct, frozen=True, kw_only=True):
    """The options for reading a file of traces; texts are those of the command line.

    `judge_samples`: read and judge recorded samples too, which takes longer.
    """

    tiers: str | None = None
    costs: str | None = None
    vote_costs: str | None = None
    group: str | None = None
    class_column: str | None = None
    signal: str | None = None
    drop_incomplete: bool = False
    judge_samples: bool = False


class DataFile(Struct, frozen=True):
    """The bytes of a data file, read once, so that the digest is that of the rows parsed.

    `records` are its rows where it is no JSONL; `columns` maps their columns onto the keys of a row;
    `places` says how right answers count choices, where they do.
    """

    name: str
    content: bytes
    records: tuple[FileRecord, ...] | None = None
    columns: ColumnMapping | None = None
    places: ChoicePlaces | None = None

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return sha256(self.content).hexdigest()

    def numbered_rows(self) -> Iterator[tuple[int, Json]]:
        """All rows with their line numbers, their columns mapped.

        Raises:
            DataError: naming file and line.
            UsageError: a mapped column that no row has.
        """
        rows = self._mapped_rows()
        return rows if self.places is None else ((n, self.places.resolve(row)) for n, row in rows)

    def with_places(self) -> DataFile:
        """The same file, with right answers that are places of choices read as those choices.

        Raises:
            DataError: some count from 0, and others from 1.
        """
        return replace(self, places=find_places(self._readable_rows, self.name))

    def _readable_rows(self) -> Iterator[tuple[int, Json]]:
        """All rows up to the first that cannot be read, which is refused later."""
        with suppress(DataError, UsageError):
            yield from self._mapped_rows()

    def _mapped_rows(self) -> Iterator[tuple[int, Json]]:
        """All rows, their columns mapped."""
        return self._own_rows() if self.columns is None else self.columns.map_rows(self._own_rows())

    def _own_rows(self) -> Iterator[tuple[int, Json]]:
        """All rows as they stand in the file."""
        for number, row, fault in self._lines() if self.records is None else self.records:
            if fault or not isinstance(row, dict):
                raise DataError(f"{self.name}:{number}: {fault or 'expected a JSON object'}")
            yield number, row

    def _lines(self) -> Iterator[tuple[int, Json, str]]:
        """The lines of a JSONL file as records; one that cannot be read has a fault."""
        for line in split_lines((self.content,)):
            try:
                yield line.number, parse_line(line), ""
            except DataError as exc:
                yield line.number, None, exc.message

    def holds_traces(self) -> bool:
        """Whether the rows are traces; the first row decides.

        Raises:
            DataError: there are no rows.
        """
        first = next(self._located_rows(), None)
        if first is None:
            raise DataError(f"{self.name}: there are no rows")
        return "tiers" in first[1]

    def labelled_questions(self, baseline: str | None, *, ignores_labels: bool = False) -> list[Question]:
        """The rows as questions with gold answers, as far as they have some.

        Args:
            baseline: the tier whose answers take the place of gold answers; None where none was named.
            ignores_labels: whether gold answers are not looked at.

        Raises:
            DataError: naming file and line, or that no row has a gold answer, and no baseline was named.
        """
        rows = self._question_rows()
        questions = [question for question, _ in rows]
        if ignores_labels:
            return [structs.replace(q, expected=()) for q in questions]
        if baseline is None and not any(q.expected for q in questions):
            raise self._no_label(rows[0][1], len(rows))
        return questions

    def reading_line(self) -> str:
        """Which columns are read as the question and the right answer, with the first pair of both."""
        rows = self._question_rows()
        question, row = next(((q, row) for q, row in rows if q.expected), rows[0])
        names = [f"question={self._column(row, 'question')}"]
        names += [f"expected={self._column(row, 'expected')}"] if question.expected else ["no expected"]
        pair = [_short_text(question.text), *(_short_text(text) for text in question.expected[:1])]
        how = "" if self.places is None else f" ({self.places.words()})"
        return f"read: {', '.join(names)}{how}; first: {' → '.join(pair)}"

    def guess_line(self) -> str:
        """The same where columns have other names than the project's own, or places are read; else ""."""
        row = self._question_rows()[0][1]
        is_plain = self.columns is not None or all(name_under(row, k) == k for k in ("question", "expected"))
        return "" if is_plain and self.places is None else self.reading_line()

    def _column(self, row: Mapping[str, Json], key: str) -> str:
        """The file's column that a key of a row comes from."""
        columns = () if self.columns is None else self.columns.columns
        own = (m.column for m in columns if not m.tier and m.key == key)
        return next(own, None) or name_under(row, key)

    def _no_label(self, row: Mapping[str, Json], n_rows: int) -> DataError:
        """The error of rows without a gold answer; it names the columns, and the option that maps one."""
        names = columns_option(row, ("expected",))
        is_found = "expected=" in names  # an answer that is recorded beside it may pass for it
        option = names if is_found else "--columns expected=COLUMN"
        promptfoo = "\nequals, contains and the like among promptfoo's assertions hold right answers"
        return DataError(
            f'{self.name}: {n_rows} of {n_rows} rows have no "expected"; '
            f"the columns are {', '.join(names_in(row))}",
            hint=f"{option}   names the column that holds them"
            f"{promptfoo if row.get('schema') == PROMPTFOO else ''}\n"
            "--baseline TIER      bounds what can be lost against that tier, without any label\n"
            "--labels-from TIER   takes that tier's answers for the right ones\n"
            "automix label        asks for labels, where they tell most, of the rows that --baseline TIER\n"
            "                     --traces rows.jsonl has recorded",
        )

    def questions(self) -> list[Question]:
        """The rows as questions; a bad line or a duplicate id is an error.

        Raises:
            DataError: naming file and line.
        """
        return [question for question, _ in self._question_rows()]

    def _question_rows(self) -> list[tuple[Question, Mapping[str, Json]]]:
        """The questions, each with the row that it was read from."""
        ids, rows = IdCheck(), []
        for index, (number, raw) in enumerate(self._located_rows()):
            row = ids.check(row_of_value(raw, index, number))
            if row.question is None:
                raise DataError(f"{self.name}:{row.line}: {row.fault}", hint=row.hint)
            rows.append((row.question, row.raw))
        if not rows:
            raise DataError(f"{self.name}: there are no rows")
        return rows

    def _located_rows(self) -> Iterator[tuple[int, Json]]:
        """All rows; an error of a mapped column names the file too."""
        try:
            yield from self.numbered_rows()
        except DataError as exc:
            raise DataError(locate(exc.message, self.name), hint=exc.hint) from None

    def grouping(self, column: str | None) -> Grouping:
        """Which rows ask the same question, before any tier was asked; `column` as of `--group`.

        Raises:
            DataError: naming file and line.
            UsageError: no row has a value in the column.
        """
        from automix_cli.data.groups import group_questions

        questions, rows = zip(*self._question_rows(), strict=True)
        return group_questions(questions, rows, column)

    def column_values(self, option: str, column: str) -> dict[str | int, Json]:
        """The values of the column that an option names, by the ids of the rows that have one.

        Raises:
            UsageError: none has.
        """
        from automix_cli.data.groups import column_value, empty_column
        from automix_cli.data.question_classes import class_value, is_blank

        rows, names_class = self._question_rows(), option == "--class-column"
        value_of = class_value if names_class else column_value
        values = {question.id: value_of(row, column) for question, row in rows}
        present = {
            ident: value
            for ident, value in values.items()
            if value is not None and not (names_class and is_blank(value))
        }
        if not present:
            raise empty_column(option, column, rows[0][1])
        return present

    def values_of_possible_classes(self) -> dict[str | int, dict[str, Json]]:
        """The values of the columns that could name a class of questions, by the ids of the rows."""
        from automix_cli.data.question_classes import possible_classes

        rows = self._question_rows()
        columns = possible_classes([row for _, row in rows])
        return {
            question.id: {column: row[column] for column in columns if row.get(column) is not None}
            for question, row in rows
        }


def _short_text(text: str, longest: int = 60) -> str:
    """A text in quotes on one line, cut where it is long."""
    short = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return printable(json.dumps(short, ensure_ascii=False))


def read_data(
    path: Path, columns: str | None = None, say: Callable[[str], None] = lambda text: None
) -> DataFile:
    """Read a file, or stdin for `-`, with its columns mapped; `say` takes a note on how it was read.

    Raises:
        DataError: naming the file, that it cannot be read.
        UsageError: nothing is piped into stdin, `columns` is no mapping, or a package is missing that
            reads the format.
    """
    mapping = None if columns is None else read_columns(columns)
    if str(path) == "-":
        if stdin_kind() not in ("pipe", "file"):
            raise UsageError("- reads stdin, and nothing is piped into it")
        return replace(_data_file("stdin", b"".join(read_chunks(0)), say), columns=mapping).with_places()
    with open_input(path) as file:
        content = file.read()
    return replace(_data_file(str(path), content, say), columns=mapping).with_places()


def _data_file(name: str, content: bytes, say: Callable[[str], None]) -> DataFile:
    """A file of the format that its name says, or that its content shows."""
    data, form = DataFile(name, content), form_of_content(name, content)
    if form != "jsonl":
        return replace(data, records=tuple(read_records(content, form, name, say)))
    rows = [row for _, row, _ in islice(data._lines(), 1)]
    if rows and is_promptfoo(rows[0]):
        results = promptfoo_rows([row for _, row in data.numbered_rows()], say)
        return replace(data, records=tuple(FileRecord(number, row) for number, row in enumerate(results, 1)))
    return data


def scored_rows(rows: Iterator[tuple[int, Json]], scorer: str) -> Iterator[tuple[int, Json]]:
    """Trace rows with a score for every answer that has none and can be judged."""
    for line, row in rows:
        tiers = row.get("tiers")
        if isinstance(tiers, dict) and any(map(_lacks_score, tiers.values())):
            try:
                row = _score_answers(row, scorer)
            except DataError as exc:
                raise DataError(f"line {line}: {exc.message}", hint=exc.hint) from None
        yield line, row


def _lacks_score(step: Json) -> bool:
    return isinstance(step, dict) and "answer" in step and not {"score", "correct"} & step.keys()


def _score_answers(row: Json, scorer: str) -> Json:
    """A trace row with a score for every answer that can be judged."""
    if not has_gold(row):
        return row
    question = question_from_dict({"question": "?", **row})
    gold, choices = question.expected, question.choices
    steps = {
        name: {**step, "score": score(str(answer_text(step["answer"])), gold, scorer, choices)}
        if _lacks_score(step) and answer_text(step["answer"]) is not None
        else step
        for name, step in row["tiers"].items()
    }
    return {**row, "tiers": steps}


def _no_tiers(name: str) -> DataError:
    """The error of rows without recorded answers: how to record them, or which columns hold them."""
    file = "FILE" if name == "stdin" else shlex.quote(name)
    return DataError(
        f"{name}: the rows hold no answers of tiers",
        hint=f"automix calibrate {file} --baseline TIER --traces rows.jsonl -o bound.yaml   asks all tiers,\n"
        "without a label, and writes rows.jsonl with the answers (-o leaves your profile's router as it is)\n"
        "--columns small.score=COLUMN,large.score=COLUMN   where columns hold them",
    )


def table_of(
    rows: Iterator[tuple[int, Any]], options: TableOptions, name: str, scorer: str, compare: str
) -> TraceTable:
    """Numbered rows as a table, with the options applied; rows may lack scores.

    Args:
        rows: as `scored_rows` yields them.
        options: of the command line.
        name: of the file.
        scorer: that judges samples.
        compare: the scorer in whose canonical form answers are compared.
    """
    from automix_cli.data.read_traces import read_table

    try:
        first = next(rows, None)
    except DataError as exc:
        raise with_file_name(exc, name) from None
    if first is None:
        raise DataError(f"{name}: there are no rows")
    if "tiers" not in first[1]:
        raise _no_tiers(name)
    try:
        return read_table(
            chain((first,), rows),
            tiers=[] if options.tiers is None else [t.strip() for t in options.tiers.split(",")],
            costs=read_amounts(options.costs, "--costs") if options.costs else {},
            vote_costs=read_amounts(options.vote_costs, "--vote-costs") if options.vote_costs else {},
            scorer=scorer if options.judge_samples else None,
            compare=compare,
            group_column=options.group,
            class_column=options.class_column,
            confidences=options.signal,
        )
    except DataError as exc:
        raise with_file_name(exc, name) from None


class LabelFileError(DataError):
    """An error in the file of labels, which it names: the rows are not to blame."""


def with_file_name(error: DataError, name: str) -> DataError:
    """The error with the name of the file of the rows before it, unless it names another file."""
    if isinstance(error, LabelFileError):
        return error
    return DataError(locate(error.message, name), hint=error.hint)


def locate(message: str, name: str) -> str:
    """A message that begins with the file, and the line where it names one.

    Example:
        >>> locate("line 7: id '5' stands twice", "rows.jsonl")
        "rows.jsonl:7: id '5' stands twice"
    """
    if message.startswith(f"{name}:"):
        return message
    line = re.match(r"line (\d+): ", message)
    return f"{name}:{line[1]}: {message[line.end() :]}" if line else f"{name}: {message}"


def recorded_questions(table: TraceTable, name: str) -> list[Question]:
    """The recorded questions.

    Raises:
        DataError: some row records none.
    """
    blank = sum(not str(text).strip() for text in table.texts)
    if blank:
        raise DataError(f"{name}: {blank:,} of {len(table):,} rows record no question to embed")
    return [Question(text=str(text)) for text in table.texts]
