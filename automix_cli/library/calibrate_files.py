"""The profile that `calibrate` writes its router into, and what it says of that."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from automix_cli.errors import UsageError
from automix_cli.texts import count_of

if TYPE_CHECKING:
    from automix_cli.data.labelled import DataFile
    from automix_cli.evaluation.calibrate import Calibration
    from automix_cli.profile.model import Profile


def router_file(output: Path | None, profile: Profile, tiers: Sequence[str]) -> Path | None:
    """The file to write: as asked, else the profile's own, else automix.yaml; None where none fits.

    Raises:
        UsageError: a file is asked for, but the profile's tiers are not those of the rows.
        ProfileError: the file cannot take the router.
    """
    from automix_cli.profile.write import room_for_router

    if [t.name for t in profile.tiers] != list(tiers):
        if output is not None:
            raise UsageError(why_not_written(profile, tiers), hint=ways_to_names(profile, tiers))
        return None
    own = None if profile.origin == "bundled" else profile.path
    target = output or own or Path("automix.yaml")
    room_for_router(target, profile)
    return target


def router_file_or_refusal(
    output: Path | None, profile: Profile, tiers: Sequence[str]
) -> tuple[Path | None, UsageError | None]:
    """The file to write, or why it cannot be: what recorded rows come to is shown first."""
    try:
        return router_file(output, profile, tiers), None
    except UsageError as exc:
        return None, exc


def why_not_written(profile: Profile, tiers: Sequence[str]) -> str:
    """That the profile has other tiers than the rows, or that there is none."""
    mine = ", ".join(t.name for t in profile.tiers)
    theirs = f"those of the profile are {mine}" if mine else "no profile was given or found"
    return f"nothing written: the tiers of the rows are {', '.join(tiers)}, and {theirs}"


def ways_to_names(profile: Profile, tiers: Sequence[str]) -> str:
    """How to come to a profile whose tiers are named as the rows name them."""
    rule = f"the tiers of a profile must have the names that the rows use: {', '.join(tiers)}"
    models = ",".join(f"{tier}=MODEL" for tier in tiers)
    way = "name the tiers of the profile alike" if profile.tiers else "--profile NAME|FILE has such tiers"
    file = "" if not profile.tiers else " -o other.yaml"
    return f"{rule}\n{way}\nautomix profile init --tiers {shlex.quote(models)}{file}   makes one"


def written_words(result: Calibration, target: Path) -> str:
    """Which router is written, and that it is unproven where these rows do not show that it pays.

    A single tier is measured against nothing else, so that of it nothing is unproven.
    """
    from automix_cli.profile.bundled import shown_path

    router = result.router()
    alone = f": {router['tier']} alone" if router["kind"] == "always" else ""
    words = f"router of {shown_path(target)}{alone}"
    if not result.unproven or (alone and result.verdict is not None):
        return words
    if alone:
        return f"{words}; these rows do not show whether routing pays"
    return f"{words}, unproven: these rows do not show that it pays"


def use_option(target: Path, profile: Profile) -> str:
    """The option with which `ask` finds the file; none where it finds it by itself, and may use it so."""
    from automix_cli.profile.bundled import shown_path
    from automix_cli.profile.search import FILE_NAME
    from automix_cli.profile.trust import must_be_named

    near = shown_path(target)
    # A profile that had to be named, since it sends questions elsewhere, has to be named again.
    is_by_itself = profile.origin != "named" or profile.path is None or not must_be_named(profile.tiers)
    if near == FILE_NAME and is_by_itself:
        return ""
    return f" --profile {shlex.quote(f'./{near}' if near == FILE_NAME else near)}"


class FitLabels(NamedTuple):
    """What a router is fitted on.

    Attributes:
        rows: how many.
        labels: how many of them have one.
        beside: the tier whose answers the others are compared with; None where every row has a label.
    """

    rows: int
    labels: int
    beside: str | None = None

    @classmethod
    def of_router(cls, router: Mapping[str, Any] | None) -> FitLabels | None:
        """What a `router:` block says; None where it was fitted on nothing."""
        fitted = (router or {}).get("fitted")
        if not isinstance(fitted, Mapping) or not isinstance(fitted.get("rows"), int):
            return None
        rows, beside = fitted["rows"], fitted.get("labels_from")
        labels = fitted.get("labels", 0 if beside else rows)
        return cls(rows, labels if isinstance(labels, int) else rows, beside)

    @property
    def words(self) -> str:
        """In words.

        Example:
            >>> FitLabels(400, 400).words, FitLabels(400, 28, "large").words
            ('400 labelled rows', '28 labels of 400 rows')
            >>> FitLabels(400, 0, "large").words
            '400 rows without a label, by agreement with large'
        """
        if not self.labels:
            of = f", by agreement with {self.beside}" if self.beside else ""
            return f"{count_of(self.rows, 'row')} without a label{of}"
        if self.labels < self.rows:
            return f"{count_of(self.labels, 'label')} of {count_of(self.rows, 'row')}"
        return count_of(self.rows, "labelled row")


def check_replacement(target: Path, new: FitLabels, *, force: bool) -> str:
    """Say whether the router that is written replaces one of other evidence; "" where it does not.

    Raises:
        UsageError: it would replace one that was fitted on labels by one that saw none, or by one of rows
            that are too few to tell whether routing pays, where those of the other were enough.
    """
    from automix_cli.data.groups import FEWEST_GROUPS
    from automix_cli.profile.bundled import shown_path
    from automix_cli.profile.read import read_profile

    if not target.exists():
        return ""
    old = FitLabels.of_router(read_profile(target, trusted=True, origin="named").router)
    if old is None:
        return ""
    is_too_small = new.rows < FEWEST_GROUPS <= old.rows
    if bool(old.labels) == bool(new.labels) and not is_too_small:
        return ""
    if force or (new.labels and not is_too_small):
        return f"note: the router of {shown_path(target)}, fitted on {old.words}, is replaced"
    raise UsageError(
        f"{shown_path(target)} has a router that was fitted on {old.words}; this one would be fitted on "
        f"{new.words}",
        hint="-o OTHER.yaml keeps both\n--force replaces it",
    )


def with_origin(
    router: dict[str, Any],
    data: DataFile,
    profile: Profile,
    options: dict[str, Any],
    extra: dict[str, Any],
) -> dict[str, Any]:
    """The `router:` block: what was learned, and everything it was learned from."""
    from automix_cli import __version__
    from automix_cli.profile.router import fingerprint, prices_of

    origin = {
        "automix": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "data_sha256": data.sha256,
        **fingerprint(profile),
        "prices": prices_of(profile),
        **{key: value for key, value in options.items() if value is not None},
    }
    present = {key: value for key, value in extra.items() if value is not None}
    return {**router, **present, "fitted": {**router["fitted"], **origin}}
