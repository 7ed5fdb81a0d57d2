"""What servers have shown: how they count tokens, how long they write, whether they share prompts.

The cache keeps it of each model at each address, apart for answers and votes, as sums and without any
text, so that a dry run need not guess what other questions have shown.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

from automix_cli import prompts
from automix_cli.backends.base import Request
from automix_cli.backends.choice import client_for
from automix_cli.backends.store import Store
from automix_cli.errors import StorageError
from automix_cli.records import Completion

_MOST_PROMPTS = 1_000  # of one kind that a run adds: enough for means


def prompt_tokens(request: Request) -> int:
    """The tokens that a server is expected to count for a prompt; simulated tiers count by bytes."""
    count = prompts.estimate_tokens if client_for(request) == "demo" else prompts.expected_tokens
    return count(request.messages)


class Lengths(NamedTuple):
    """The tokens of completions and of their prompts, added up.

    Attributes:
        tokens: written.
        completions: how many.
        prompt_tokens: of their prompts as servers count them, each completion's own or shared one in full.
        estimated_tokens: of the same prompts as they are estimated before a call.
        joint: completions that came with others for one prompt.
        single: completions of a server that gives one for a prompt.
        prompts: how many were asked; replies to one are alike.
        squares: of the mean length of the replies to each, added up.
    """

    tokens: int = 0
    completions: int = 0
    prompt_tokens: int = 0
    estimated_tokens: int = 0
    joint: int = 0
    single: int = 0
    prompts: int = 0
    squares: int = 0

    @classmethod
    def of(cls, completions: Sequence[Completion], estimate: int = 0) -> Lengths:
        """Count completions of one prompt, whose tokens were estimated."""
        counts = [(c.prompt or c.usage).input_tokens for c in completions]
        return cls(
            tokens=sum(c.usage.output_tokens for c in completions),
            completions=len(completions),
            prompt_tokens=sum(counts),
            estimated_tokens=estimate * sum(count > 0 for count in counts),
            joint=sum(
                c.prompt is not None and c.usage.input_tokens < c.prompt.input_tokens for c in completions
            ),
            single=sum(c.prompt is None for c in completions),
            prompts=min(1, len(completions)),
            squares=round((sum(c.usage.output_tokens for c in completions) / max(1, len(completions))) ** 2),
        )

    def plus(self, other: Lengths) -> Lengths:
        """Both together."""
        return Lengths(*(a + b for a, b in zip(self, other, strict=True)))

    def scaled_by(self, ratio: float) -> Lengths:
        """The same if every completion were so many times as long."""
        return self._replace(tokens=round(self.tokens * ratio), squares=round(self.squares * ratio**2))

    @property
    def square_spread(self) -> float | None:
        """The squares of what prompts' replies differ from the mean by, in shares of it, added up.

        None where that was not counted.

        Example:
            >>> Lengths(40, 2, prompts=2, squares=100 + 900).square_spread
            0.5
        """
        if not (self.prompts and self.mean):
            return None
        return max(0.0, self.squares / self.mean**2 - self.prompts)

    @property
    def scale(self) -> float:
        """How many tokens a server counts for one that is estimated; 1 where none was counted."""
        return (
            self.prompt_tokens / self.estimated_tokens
            if self.prompt_tokens and self.estimated_tokens
            else 1.0
        )

    @property
    def shares_prompt(self) -> bool | None:
        """Whether the server gave several completions for one prompt; None where that was not seen.

        One that did and did not counts as one that does not.
        """
        if self.single:
            return False
        return True if self.joint else None

    @property
    def mean(self) -> float | None:
        """Output tokens of one completion; None where there was none.

        Example:
            >>> Lengths(30, 2).mean, Lengths().mean
            (15.0, None)
        """
        return self.tokens / self.completions if self.completions else None


def recorded_lengths(store: Store, request: Request) -> Lengths:
    """What the server of a request has shown before on requests of its kind, whatever the question."""
    try:
        return Lengths(*map(int, json.loads(store.get_memo(_record_name(request)) or "[]")))
    except (TypeError, ValueError):
        return Lengths()


class ServerRecord:
    """What servers show in one run, until it is added to what the cache keeps."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Request, Lengths]] = {}
        self._prompts: dict[str, int] = {}

    def note(self, request: Request, completions: Sequence[Completion]) -> None:
        """Count completions that were bought together."""
        if request.embeds:
            return
        name = _record_name(request)
        self._prompts[name] = self._prompts.get(name, 0) + 1
        if self._prompts[name] <= _MOST_PROMPTS:
            before = self._sums.get(name, (request, Lengths()))[1]
            self._sums[name] = request, before.plus(Lengths.of(completions, prompt_tokens(request)))

    def save(self, store: Store) -> None:
        """Add it to what the store keeps; a store that cannot take it goes without."""
        with contextlib.suppress(StorageError):
            for name, (request, sums) in self._sums.items():
                store.put_memo(name, json.dumps(recorded_lengths(store, request).plus(sums)))
        self._sums.clear()


def _record_name(request: Request) -> str:
    """The name of the memo."""
    kind = "votes" if prompts.is_verification(request.messages) else "answers"
    return _memo_name(request.model, request.api_base, kind)


@functools.lru_cache(maxsize=64)
def _memo_name(model: str, api_base: str | None, kind: str) -> str:
    return hashlib.sha256(json.dumps(["server", model, api_base, kind]).encode()).hexdigest()
