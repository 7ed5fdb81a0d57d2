"""What a plan decided before, kept with the completions.

A question that was answered already is answered from the cache; with its decisions at hand the answer
needs no plan either, and so no NumPy, which takes longer to load than all the rest takes to run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs

from automix_cli import fitting, pomdp
from automix_cli.pomdp.problem import Action, ActionKind, Facts, Observation, Policy

if TYPE_CHECKING:
    from automix_cli.backends.store import Store
    from automix_cli.fitting.router_block import Settings

MOST_TURNS = 500
"""Decisions kept for one profile; the oldest go first."""


class MemoBelief(NamedTuple):
    """What was known before any call, each action with what it showed, and the policy's own belief.

    `own` is None until it is needed.
    """

    facts: Facts
    trail: tuple[tuple[Action, Observation], ...] = ()
    own: Any = None

    @property
    def key(self) -> str:
        """This belief as text."""
        return json.dumps([self.facts, self.trail])


class MemoTurn(NamedTuple):
    """A decision, the chance of each tier asked to be right, and the reason."""

    kind: ActionKind
    tier: int
    votes: int
    confidences: tuple[float | None, ...]
    reason: str


class PlanMemo:
    """A policy that remembers what another one decided, and has it made only for what is new.

    Args:
        make: makes the policy.
        tiers: how many tiers it decides about.
        text: what `to_text` gave, of the same policy; "" for nothing.

    Example:
        >>> from automix_cli.pomdp.rules import MajorityPolicy
        >>> memo = PlanMemo(lambda: MajorityPolicy(tiers=2, max_votes=0), 2)
        >>> memo.action(memo.begin(Facts()))
        Action(kind='start', tier=0, votes=0)
        >>> again = PlanMemo(lambda: 1 / 0, 2, memo.to_text())
        >>> again.action(again.begin(Facts()))
        Action(kind='start', tier=0, votes=0)
    """

    def __init__(self, make: Callable[[], Policy[Any]], tiers: int, text: str = "") -> None:
        self._make, self._tiers = make, tiers
        self._policy: Policy[Any] | None = None
        self._compares: bool | None = None
        self.turns: dict[str, MemoTurn] = {}
        self.is_new = False  # whether it holds more than it was made with
        if text:
            block = json.loads(text)
            self._compares = bool(block["compares"])
            self.turns = {key: MemoTurn(*turn) for key, turn in block["turns"].items()}

    def to_text(self) -> str:
        """What it remembers."""
        turns = list(self.turns.items())[-MOST_TURNS:]
        return json.dumps({"compares": self.compares, "turns": dict(turns)})

    @property
    def policy(self) -> Policy[Any]:
        """The policy, made on first use."""
        if self._policy is None:
            self._policy = self._make()
        return self._policy

    def _turn(self, belief: MemoBelief) -> MemoTurn:
        key = belief.key
        if key not in self.turns:
            own = self._own(belief)
            confidences = tuple(self.policy.confidence(own, tier) for tier in range(self._tiers))
            self.turns[key] = MemoTurn(*self.policy.action(own), confidences, self.policy.reason(own))
            self.is_new = True
        return self.turns[key]

    def _own(self, belief: MemoBelief) -> Any:
        """The policy's own belief."""
        if belief.own is not None:
            return belief.own
        own = self.policy.begin(belief.facts)
        for action, observation in belief.trail:
            own = self.policy.update(own, action, observation)
        return own

    # ------------------------------------------------------------ a policy

    def relevant(self, facts: Facts) -> Facts:
        """See `Policy`."""
        return self.policy.relevant(facts)

    def begin(self, facts: Facts) -> MemoBelief:
        """See `Policy`."""
        return MemoBelief(facts)

    def update(self, belief: MemoBelief, action: Action, observation: Observation) -> MemoBelief:
        """See `Policy`; what is impossible is refused where it was not met before."""
        new = MemoBelief(belief.facts, (*belief.trail, (action, observation)))
        return new if new.key in self.turns else new._replace(own=self._own(new))

    def action(self, belief: MemoBelief) -> Action:
        """See `Policy`."""
        turn = self._turn(belief)
        return Action(turn.kind, turn.tier, turn.votes)

    def confidence(self, belief: MemoBelief, tier: int) -> float | None:
        """See `Policy`."""
        return self._turn(belief).confidences[tier]

    def reason(self, belief: MemoBelief) -> str:
        """See `Policy`."""
        return self._turn(belief).reason

    def cuts(self, tier: int) -> tuple[float, ...]:
        """See `Policy`."""
        return self.policy.cuts(tier)

    @property
    def compares(self) -> bool:
        """See `Policy`."""
        if self._compares is None:
            self._compares = self.policy.compares
        return self._compares


# ---------------------------------------------------------------- kept with the completions


def memo_key(router: Mapping[str, Any], settings: Settings, tiers: tuple[str, ...]) -> str:
    """The name of a policy's decisions: it changes with all that the policy is made of, our own code too."""
    parts = [router, structs.asdict(settings), tiers, *map(_code_stamp, (fitting, pomdp))]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def _code_stamp(package: Any) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a package's files."""
    files = sorted(Path(package.__path__[0]).glob("*.py"))
    return [(path.name, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in files]


def open_memo(store: Store, key: str, make: Callable[[], Policy[Any]], tiers: int) -> PlanMemo:
    """The memo that the store holds under a key, else an empty one.

    Raises:
        DataError: the store holds none, and the policy cannot be made.
    """
    memo = PlanMemo(make, tiers, store.get_memo(key))
    if not memo.turns:
        _ = memo.policy  # a block that cannot be read is refused before anything is spent
    return memo


def keep_memo(store: Store, key: str, memo: PlanMemo) -> None:
    """Store what was added to a memo.

    Raises:
        StorageError: it cannot be written now; nothing but time is lost.
    """
    if memo.is_new:
        store.put_memo(key, memo.to_text())
