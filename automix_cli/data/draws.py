"""Draws that depend on nothing but a seed and a row's id, so that every run draws the same rows."""

from __future__ import annotations

from hashlib import sha256


def uniform(purpose: str, seed: int, ident: str | int) -> float:
    """Return the number in [0, 1) that belongs to a row: the first 53 bits of a SHA-256.

    Draws for different purposes are independent, so that one does not pick from the rows that another
    has picked; `1` and `"1"` are the same id, as everywhere.

    Example:
        >>> uniform("shadow", 0, "q7") == uniform("shadow", 0, "q7")
        True
        >>> uniform("shadow", 0, "q7") == uniform("shadow", 1, "q7")
        False
    """
    digest = sha256(f"{purpose}:{seed}:{ident}".encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
