"""Words that a shell cuts in two: Bash takes the colon of `separate:argmax` for the end of a word."""

from __future__ import annotations

import os
from collections.abc import MutableMapping, Sequence

WORD_HEAD = "_AUTOMIX_WORD_HEAD"
"""The variable that holds what stands before the part of a word that Bash completes."""


def join_words(environ: MutableMapping[str, str]) -> None:
    r"""Put words together again that Bash cut at colons, but for the part that it completes.

    Example:
        >>> environ = {"COMP_WORDS": "automix\nbench\n--policies\nseparate\n:\na", "COMP_CWORD": "5"}
        >>> join_words(environ)
        >>> environ["COMP_WORDS"].split("\n"), environ["COMP_CWORD"], environ[WORD_HEAD]
        (['automix', 'bench', '--policies', 'a'], '3', 'separate:')
    """
    parts = environ.get("COMP_WORDS", "").split("\n")
    if not any(part and not part.strip(":") for part in parts):
        return
    words: list[str] = []
    continues = False
    for part in parts[: int(environ.get("COMP_CWORD", "0")) + 1]:
        is_colon = bool(part) and not part.strip(":")
        if words and (is_colon or continues):
            words[-1] += part
        else:
            words.append(part)
        continues = is_colon
    head, colon, rest = words[-1].rpartition(":")
    words[-1] = rest
    environ.update(
        {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1), WORD_HEAD: f"{head}{colon}"}
    )


def ends_of(names: Sequence[str], incomplete: str) -> list[str]:
    """The names that a word may begin, without the part of it that Bash has cut off.

    Example:
        >>> ends_of(["separate:argmax", "threshold"], "sep")
        ['separate:argmax']
    """
    head = os.environ.get(WORD_HEAD, "")
    return [name.removeprefix(head) for name in names if name.startswith(f"{head}{incomplete}")]
