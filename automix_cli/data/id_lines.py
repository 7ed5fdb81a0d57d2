"""The line in which each id of an input stands first, in a few bytes an id."""

from __future__ import annotations

from array import array

_DIGEST = (1 << 64) - 1
_LEAST = 1024  # places of a new table
_MOST_FULL = 0.6


class IdLines:
    """Lines by id, where ids are known by a hash of eight bytes.

    A dictionary of texts takes some 130 bytes an id, this table 27 to 53. Two ids with one hash would count
    as the same: among a million ids that happens once in some thirty million inputs.

    Example:
        >>> lines = IdLines()
        >>> lines.first("a", 7), lines.first("b", 8), lines.first("a", 9)
        (7, 8, 7)
        >>> "b" in lines, "c" in lines, len(lines)
        (True, False, 2)
    """

    def __init__(self) -> None:
        self._count = 0
        self._make(_LEAST)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, ident: str) -> bool:
        return self._digests[self._place(_digest_of(ident))] != 0

    def first(self, ident: str, line: int) -> int:
        """The first line of an id, which is this one where the id is new."""
        digest = _digest_of(ident)
        place = self._place(digest)
        if self._digests[place]:
            return self._lines[place]
        self._digests[place], self._lines[place] = digest, line
        self._count += 1
        if self._count > _MOST_FULL * len(self._digests):
            self._grow()
        return line

    def _place(self, digest: int) -> int:
        """Where a hash stands, or would: the places after its own are tried in turn."""
        digests, last = self._digests, len(self._digests) - 1
        place = digest & last
        while (other := digests[place]) and other != digest:
            place = (place + 1) & last
        return place

    def _make(self, size: int) -> None:
        """Make an empty table of so many places, a power of two; a hash of 0 stands for none."""
        self._digests, self._lines = array("Q", bytes(8 * size)), array("Q", bytes(8 * size))

    def _grow(self) -> None:
        digests, lines = self._digests, self._lines
        self._make(2 * len(digests))
        for digest, line in zip(digests, lines, strict=True):
            if digest:
                place = self._place(digest)
                self._digests[place], self._lines[place] = digest, line


def _digest_of(ident: str) -> int:
    return hash(ident) & _DIGEST or 1
