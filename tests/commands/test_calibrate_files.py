"""The option with which a profile that `calibrate` wrote is used: the shortest that works."""

from pathlib import Path

import pytest

from automix_cli.library.calibrate_files import use_option
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
