"""The rows of all shards in the order of the input, or what is missing of them.

    parts, each in the order of the input ──▶ a merge by place ──▶ rows as a single process writes them

Memory holds one row a part. Whether nothing is missing is known from the stamps of the rows: each says how
many rows its shard has, and how many all have together. Rows of a pipe do not say it: for them, and to find
out which rows are missing, the input itself is read beside the parts.
"""

from __future__ import annotations

import heapq
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from automix_cli.cascade.requests import input_sha
from automix_cli.data.shards import Shard, Stamp, shard_of
from automix_cli.errors import AutomixError, DataError, UsageError
from automix_cli.records import Json
from automix_cli.serving.parts import PartRow, ShardFile, same_file
from automix_cli.texts import count_of
from automix_cli.usage import add_money

if TYPE_CHECKING:
    from automix_cli.data.jsonl import Row
    from automix_cli.data.sources import Rows


class Merge(Struct):
    """Parts that are put together; `source` is their input, where that is at hand."""

    paths: Sequence[Path]
    source: Rows | None = None
    parts: list[ShardFile] = field(default_factory=list)
    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    missing_rows: Counter[int] = field(default_factory=Counter)
    cost_usd: float | None = 0.0
    spent_usd: float | None = 0.0

    def read(self) -> Iterator[dict[str, Json]]:
        """The rows in the order of the input, without their stamps; at their end all are known to be there.

        Raises:
            UsageError: a file is given twice, cannot be read, or is being written.
            DataError: rows do not belong together.
            AutomixError: rows are missing.
        """
        self.rows, self.cost_usd, self.spent_usd = 0, 0.0, 0.0
        self.missing_rows.clear()
        self._refuse_repeats()
        with ExitStack() as stack:
            self.parts = []
            _allow_open_files(len(self.paths))
            for path in self.paths:
                self.parts.append(ShardFile(path))
                stack.callback(self.parts[-1].close)
            rows_by_place = heapq.merge(*(part.read() for part in self.parts), key=lambda row: row.position)
            rows = _distinct(self._agreeing(rows_by_place))
            for row in rows if self.source is None else self._beside_input(rows, self.source.every_row()):
                self.rows += 1
                self.cost_usd = add_money(self.cost_usd, row.row["cost_usd"])
                self.spent_usd = add_money(self.spent_usd, row.row["spent_usd"])
                yield row.row
            self.statuses = sum((part.statuses for part in self.parts), Counter())
            self._check_complete()

    def _refuse_repeats(self) -> None:
        for number, path in enumerate(self.paths):
            if any(same_file(path, other) for other in self.paths[:number]):
                raise UsageError(f"{path}: is given twice")

    # ------------------------------------------------------------ do they belong together?

    def _agreeing(self, rows: Iterable[PartRow]) -> Iterator[PartRow]:
        """The rows, once the first of every part was compared with those of the others.

        `heapq.merge` has read the first row of each part when it gives the first of all.
        """
        is_compared = False
        for row in rows:
            if not is_compared:
                self._compare_parts()
                is_compared = True
            yield row
        self._compare_profiles()

    def _compare_parts(self) -> None:
        with_rows = [part for part in self.parts if part.stamp is not None]
        first, shards = with_rows[0], dict[Shard, ShardFile]()
        for part in with_rows:
            stamp, other = _stamp(part), _stamp(first)
            if stamp.shard.count != other.shard.count:
                raise DataError(
                    f"{part.path}: is shard {stamp.shard}, and {first.path} is shard {other.shard}",
                    hint="all parts must be of one number of shards",
                )
            if stamp.shard in shards:
                twice = shards[stamp.shard].path
                raise DataError(
                    f"{part.path}: shard {stamp.shard} stands in {twice}, too", hint="give one of them"
                )
            shards[stamp.shard] = part
            if stamp[2:] != other[2:]:
                raise DataError(
                    f"{part.path}: was made of another input than {first.path}",
                    hint=f"of the same one: {self._command(stamp.shard, part.path)}",
                )
        self._compare_profiles()

    def _compare_profiles(self) -> None:
        with_rows = [part for part in self.parts if part.profile_sha]
        for part in with_rows:
            if part.profile_sha != with_rows[0].profile_sha:
                raise DataError(
                    f"{part.path}: was not written with the profile and settings of {with_rows[0].path}",
                    hint=f"with the same one: {self._command(_stamp(part).shard, part.path, '--force')}",
                )

    def _beside_input(self, rows: Iterable[PartRow], source: Iterable[Row]) -> Iterator[PartRow]:
        """The rows, each compared with its row of the input; input rows without one are counted by shard."""
        left = iter(rows)
        at_hand = next(left, None)  # now the first row of every part was read
        count = next((part.stamp.shard.count for part in self.parts if part.stamp is not None), 0)
        for source_row in source:
            if at_hand is None or at_hand.position > source_row.index:
                self.missing_rows[shard_of(source_row.key, count) if count else 0] += 1
                continue
            if at_hand.position < source_row.index or not _is_of(at_hand, source_row):
                break
            yield at_hand
            at_hand = next(left, None)
        if at_hand is not None:
            raise DataError(
                f"{at_hand.place}: row {at_hand.position} is not the one of the input",
                hint="give the input, and --limit, --sample, --seed and --columns, that ask had",
            )

    # ------------------------------------------------------------ is all of it there?

    def _check_complete(self) -> None:
        """Refuse parts that are not all.

        Raises:
            AutomixError: naming what is missing, and the commands that make it.
        """
        stamps = [part.stamp for part in self.parts if part.stamp is not None]
        if self.source is None and (not stamps or stamps[0].input_rows is None):
            why = "their rows were read from a pipe" if stamps else "no part has a row"
            raise UsageError(
                f"how many rows there should be is not known: {why}", hint="give the input: -i FILE"
            )
        problems = [*self._cut_parts(), *self._missing_shards(stamps)]
        if problems:
            more = len(problems) - _MOST_NAMED
            texts = [what for what, _ in problems[:_MOST_NAMED]] + (
                [f"and {more} more parts"] if more > 0 else []
            )
            commands = dict.fromkeys(command for _, command in problems[:_MOST_NAMED] if command)
            raise AutomixError(
                f"rows are missing: {'; '.join(texts)}",
                hint="\n".join(["with the options of the other shards:", *commands] if commands else ()),
            )

    def _cut_parts(self) -> Iterator[tuple[str, str]]:
        """What each part lacks of its shard, and the command that makes it."""
        for part in self.parts:
            lack = self.missing_rows[part.stamp.shard.index] if self.source and part.stamp else part.missing
            cut = f"line {part.cut_line} is cut off" if part.cut_line else ""
            if part.stamp is None and cut:
                yield f"{part.path}: {cut}", ""
            elif part.stamp is not None and (lack or cut):
                total = part.stamp.rows if part.stamp.rows is not None else part.rows + lack
                short = f"{lack:,} of {count_of(total, 'row')} of shard {part.stamp.shard}" if lack else ""
                what = ", ".join(filter(None, (short, cut)))
                yield f"{part.path}: {what}", self._command(part.stamp.shard, part.path, "--resume")

    def _missing_shards(self, stamps: Sequence[Stamp]) -> Iterator[tuple[str, str]]:
        """The shards that no part is of, where rows are missing beyond what the parts lack."""
        if not stamps:
            if self.missing_rows:
                yield f"all {self.missing_rows.total():,}: no part has a row", ""
            return
        count, present = stamps[0].shard.count, {stamp.shard.index for stamp in stamps}
        absent = [index for index in range(count) if index not in present]
        if self.source is not None:
            for index in absent:
                if self.missing_rows[index]:
                    shard = Shard(index, count)
                    yield (
                        f"{count_of(self.missing_rows[index], 'row')} of shard {shard}",
                        self._command(shard),
                    )
            return
        lack = (stamps[0].input_rows or 0) - sum(stamp.rows or 0 for stamp in stamps)
        if lack and absent:
            names = ", ".join(str(Shard(index, count)) for index in absent[:10])
            more = "" if len(absent) <= 10 else f" and {len(absent) - 10} more"
            one = "" if len(absent) == 1 else "s"
            yield (
                f"{count_of(lack, 'row')} of shard{one} {names}{more}",
                self._command(Shard(absent[0], count)),
            )
        elif lack:
            yield f"{count_of(lack, 'row')} that no shard counted", ""

    def _command(self, shard: Shard, path: Path | None = None, option: str = "") -> str:
        """The command that makes the rows of a shard."""
        source = "INPUT" if self.source is None else self.source.name
        target = path or self._path_of(shard)
        words = ["automix", "ask", "-i", source, "-o", str(target), "--shard", str(shard), option]
        return shlex.join(filter(None, words))

    def _path_of(self, shard: Shard) -> Path:
        """How the part of a shard would be called, going by another part."""
        for part in self.parts:
            number = "" if part.stamp is None else str(part.stamp.shard.index)
            if number and part.path.name.count(number) == 1:
                return part.path.with_name(part.path.name.replace(number, str(shard.index)))
        return self.paths[0].with_name(f"part-{shard.index}.jsonl")


_MOST_NAMED = 10


def _stamp(part: ShardFile) -> Stamp:
    assert part.stamp is not None
    return part.stamp


def _is_of(part_row: PartRow, source_row: Row) -> bool:
    """Whether a row was made of this row of the input."""
    sha = part_row.row.get("input_sha")
    own = source_row.question
    is_same = own is None or not sha or sha == input_sha(own, question_class=part_row.row.get("class"))
    return str(part_row.row["id"]) == source_row.key and is_same


def _distinct(rows: Iterable[PartRow]) -> Iterator[PartRow]:
    """The rows, of which no two may be of one row of the input."""
    for index, same in groupby(rows, key=lambda row: row.position):
        first, *others = same
        if others:
            raise DataError(f"{others[0].place}: row {index} stands in {first.place}, too")
        yield first


def _allow_open_files(count: int) -> None:
    """Let this process have as many files open as it needs, if the system lets it."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = count + 100
    if soft < need <= hard or (soft < need and hard == resource.RLIM_INFINITY):
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))
