"""Embeddings of questions: bought like completions, one text a request.

    embedding_request(tier…) ─▶ Backend.complete ─▶ Completion whose text is the vector ─▶ unpack_vector

A vector travels as text: its numbers as little-endian 32-bit floats in base64, the form in
which OpenAI sends it. So the cache, with its checksums, its leases and its single flight, the
budget and the retries serve embeddings as they serve answers, and know nothing of them.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Sequence
from hashlib import sha256

from automix_cli.errors import DataError

MOST_BYTES = 16_000
"""Of a text that is embedded: what nearly every embedding model takes in one request."""

DEMO_MODEL = "demo/embed"
DEMO_WIDTH = 256
_PIECE = 4  # characters


def pack_vector(vector: Sequence[float]) -> str:
    """A vector as text.

    Example:
        >>> pack_vector([1.0, -0.5])
        'AACAPwAAAL8='
    """
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def unpack_vector(text: str) -> tuple[float, ...]:
    """The vector that `pack_vector` wrote.

    Raises:
        DataError: it is none.

    Example:
        >>> unpack_vector(pack_vector([1.0, -0.5]))
        (1.0, -0.5)
    """
    try:
        data = base64.b64decode(text, validate=True)
        return struct.unpack(f"<{len(data) // 4}f", data)
    except (binascii.Error, struct.error, ValueError) as exc:
        raise DataError(f"an embedding cannot be read: {exc}") from exc


def flaw(vector: object) -> str:
    """What is wrong with what came as a vector; "" when it is one.

    Example:
        >>> flaw([0.5, 0.1]), flaw([]), flaw([0.5, float("nan")])
        ('', 'is empty', 'holds what is no finite number')
    """
    if not isinstance(vector, list | tuple) or not vector:
        return "is empty"
    if not all(isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < 1e30 for x in vector):
        return "holds what is no finite number"
    return "" if any(vector) else "holds nothing but zeros"


def demo_vector(text: str) -> list[float]:
    """The simulated embedding: words and pieces of words hashed into a few dimensions, unit length.

    Example:
        >>> same, other = demo_vector("What is 2 + 2?"), demo_vector("What is 3 + 3?")
        >>> len(same), 0.5 < sum(a * b for a, b in zip(same, other, strict=True)) < 1
        (256, True)
    """
    words = text.casefold().split()
    line = f" {' '.join(words)} "
    pieces = [line[i : i + _PIECE] for i in range(max(1, len(line) - _PIECE + 1))]
    vector = [0.0] * DEMO_WIDTH
    for part in [*words, *pieces]:
        mark = sha256(part.encode("utf-8", "surrogatepass")).digest()
        vector[mark[0]] += 1.0 if mark[1] % 2 else -1.0
    length = math.sqrt(math.fsum(x * x for x in vector))
    return [x / length for x in vector] if length else [1.0, *vector[1:]]
