"""The file that `calibrate` writes: how it is used, and when a router that is there stays."""

from pathlib import Path

import pytest
from shell import ROOT, automix

from automix_cli.errors import UsageError
from automix_cli.library.calibrate_files import FitLabels, check_replacement, use_option
from automix_cli.profile.model import Origin, Profile, Tier

OWN = Tier(name="small", model="hosted_vllm/x", api_base="http://127.0.0.1:8000/v1")
FOREIGN = Tier(name="small", model="hosted_vllm/x", api_base="https://models.example/v1")


@pytest.mark.parametrize(
    ("file", "tier", "origin", "option"),
    [
        ("automix.yaml", OWN, "discovered", ""),
        ("automix.yaml", OWN, "named", ""),
        ("automix.yaml", FOREIGN, "named", " --profile ./automix.yaml"),
        ("other file.yaml", OWN, "named", " --profile 'other file.yaml'"),
        ("sub/automix.yaml", OWN, "named", " --profile sub/automix.yaml"),
    ],
)
@pytest.mark.parametrize("is_absolute", [False, True])
def test_a_file_of_this_folder_is_named_briefly(
    file: str,
    tier: Tier,
    origin: Origin,
    option: str,
    is_absolute: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / file
    profile = Profile(name="own", tiers=(tier,), origin=origin, path=path)
    assert use_option(path if is_absolute else Path(file), profile) == option


ROUTERS = {
    "labels": "{kind: always, tier: small, fitted: {rows: 400}}",
    "few labels": "{kind: always, tier: small, fitted: {rows: 400, labels: 28, labels_from: large}}",
    "no label": "{kind: always, tier: small, fitted: {rows: 400, labels_from: large}}",
    "by hand": "{kind: always, tier: small}",
    "none": "null",
}
LABELS, FEW, NO_LABEL = FitLabels(90, 90), FitLabels(90, 9, "large"), FitLabels(90, 0, "large")
TOO_SMALL = FitLabels(29, 29)


@pytest.mark.parametrize(
    ("there", "new", "outcome"),
    [
        ("labels", NO_LABEL, "refused"),
        ("labels", TOO_SMALL, "refused"),
        ("no label", TOO_SMALL, "refused"),
        ("none", TOO_SMALL, ""),
        ("few labels", NO_LABEL, "refused"),
        ("no label", LABELS, "note"),
        ("no label", FEW, "note"),
        ("labels", LABELS, ""),
        ("labels", FEW, ""),
        ("no label", NO_LABEL, ""),
        ("by hand", NO_LABEL, ""),
        ("none", NO_LABEL, ""),
    ],
)
def test_a_router_of_labels_is_replaced_by_one_without_only_where_that_is_asked_for(
    there: str, new: FitLabels, outcome: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"version: 1\nextends: demo\nrouter: {ROUTERS[there]}\n")
    if outcome == "refused":
        with pytest.raises(UsageError, match="has a router that was fitted on") as caught:
            check_replacement(path, new, force=False)
        assert "--force" in caught.value.hint
        assert "is replaced" in check_replacement(path, new, force=True)
    else:
        assert ("is replaced" in check_replacement(path, new, force=False)) == bool(outcome)
    assert check_replacement(tmp_path / "another.yaml", new, force=False) == ""


def test_calibrate_keeps_a_router_of_labels_and_says_how_it_goes_on(tmp_path: Path) -> None:
    rows, path = tmp_path / "rows.jsonl", tmp_path / "own.yaml"
    lines = (ROOT / "profiles" / "demo-questions.jsonl").read_text().splitlines(keepends=True)
    rows.write_text("".join(lines[:30]))
    with_labels = ("calibrate", rows, "--profile", "demo", "-o", path)
    assert automix(*with_labels).code == 0
    before = path.read_bytes()
    refused = automix(*with_labels, "--labels-from", "large")
    assert (refused.code, path.read_bytes()) == (2, before)
    assert "fitted on 30 labelled rows; this one would be fitted on 30 rows without a label" in refused.err
    assert "--force replaces it" in refused.err
    forced = automix(*with_labels, "--labels-from", "large", "--force")
    assert (forced.code, path.read_bytes() == before) == (0, False)
    assert "fitted on 30 labelled rows, is replaced" in forced.err
    again = automix(*with_labels)
    assert "fitted on 30 rows without a label, by agreement with large, is replaced" in again.err
