"""Which names of models a server answers to: the profile, and each of its tiers alone."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from automix_cli.cascade.cascade import Cascade
from automix_cli.profile.model import Tier
from automix_cli.records import Json

ALIAS = "automix"
"""The profile by a name that stays when another profile is served."""


class ServedModels:
    """The cascades of a server by the names that clients ask for.

    A tier whose name is that of the profile cannot be asked for alone.
    """

    def __init__(self, cascade: Cascade) -> None:
        self.whole = cascade
        tiers = {tier.name: alone(cascade, tier) for tier in cascade.profile.tiers}
        self._cascades = {**tiers, cascade.profile.name: cascade}

    @property
    def names(self) -> tuple[str, ...]:
        """The profile's name, then those of the tiers."""
        name = self.whole.profile.name
        return (name, *(other for other in self._cascades if other != name))

    def find(self, name: Json) -> Cascade | None:
        """The cascade of a name; None where there is no such model."""
        if not isinstance(name, str):
            return None
        return self.whole if name == ALIAS else self._cascades.get(name)

    def to_json(self, unix_time: int) -> Iterator[dict[str, Json]]:
        """The entries of `/v1/models`."""
        for name in self.names:
            tiers = [tier.model for tier in self._cascades[name].profile.tiers]
            yield {"id": name, "object": "model", "created": unix_time, "owned_by": ALIAS, "tiers": tiers}


def alone(cascade: Cascade, tier: Tier) -> Cascade:
    """One tier of a cascade, asked once: no votes, no escalation, the same cache and budget."""
    profile = replace(cascade.profile, tiers=(tier,), router=None)
    return Cascade(profile, cascade.backend)
