"""Where a profile comes from: the search, its order, and models named on the command line."""

import os
from pathlib import Path

import pytest
from profile_files import planted

from automix_cli.errors import ProfileError, UsageError
from automix_cli.profile.bundled import bundled_path
from automix_cli.profile.search import load_profile, ollama_answers, profile_of_models, user_config


def never() -> bool:
    return False


def found(cwd: Path, **environ: str) -> tuple[Path | None, str]:
    p = load_profile(cwd=cwd, environ={"HOME": str(cwd / "no-home"), **environ}, probe=never)
    return p.path, p.origin


def test_each_place_is_looked_into_before_the_next(folder: Path) -> None:
    home, project = folder / "home", folder / "home" / "project"
    env = planted(folder, "elsewhere", "e.yaml")
    near = planted(project, "automix.yaml")
    user = planted(home, ".config", "automix", "automix.yaml")
    places = {"HOME": str(home), "AUTOMIX_PROFILE": str(env), "ANTHROPIC_API_KEY": "x"}
    assert load_profile("demo", cwd=project, environ=places, probe=never).origin == "bundled"
    assert load_profile(str(near), cwd=project, environ=places, probe=never).origin == "named"
    assert found(project, **places) == (env, "environment")
    del places["AUTOMIX_PROFILE"]
    assert found(project, **places) == (near, "discovered")
    near.unlink()
    assert found(project, **places) == (user, "user")
    user.unlink()
    assert found(project, **places) == (bundled_path("anthropic"), "bundled")
    del places["ANTHROPIC_API_KEY"]
    p = load_profile(cwd=project, environ=places, probe=lambda: True)
    assert (p.name, p.origin) == ("ollama", "bundled")
    with pytest.raises(ProfileError):
        found(project, **places)


def test_only_a_file_that_was_searched_for_and_found_is_distrusted(folder: Path) -> None:
    near = planted(folder, "automix.yaml")
    environ = {"HOME": str(folder)}
    assert not load_profile(cwd=folder, environ=environ).trusted
    assert load_profile(str(near), cwd=folder, environ=environ).trusted
    assert load_profile(cwd=folder, environ={**environ, "AUTOMIX_PROFILE": "automix.yaml"}).trusted


def test_the_first_key_decides_among_bundled_profiles(folder: Path) -> None:
    keys = ["OPENROUTER_API_KEY", "GOOGLE_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY"]
    names = ["openrouter", "gemini", "anthropic", "openai"]
    for i, name in enumerate(names):
        environ = dict.fromkeys(keys[: i + 1], "x")
        assert found(folder, **environ) == (bundled_path(name), "bundled")


def test_an_empty_variable_is_no_key_and_no_profile(folder: Path) -> None:
    with pytest.raises(ProfileError):
        found(folder, OPENAI_API_KEY="", AUTOMIX_PROFILE="")


def test_the_search_ends_at_the_repository_root(folder: Path) -> None:
    home, root = folder / "home", folder / "home" / "repo"
    planted(home, "automix.yaml")
    (root / ".git").mkdir(parents=True)
    deep = root / "a" / "b"
    deep.mkdir(parents=True)
    with pytest.raises(ProfileError):
        found(deep, HOME=str(home))
    inside = planted(root, "automix.yaml")
    assert found(deep, HOME=str(home)) == (inside, "discovered")


def test_a_home_that_is_a_link_is_home_by_its_real_name_too(folder: Path) -> None:
    near = planted(folder, "real", "automix.yaml")
    (folder / "real" / "a").mkdir()
    (folder / "link").symlink_to("real")
    assert found(folder / "real" / "a", HOME=str(folder / "link"))[0] == near


def test_the_search_ends_at_home_even_inside_a_repository(folder: Path) -> None:
    (folder / ".git").mkdir()
    planted(folder, "automix.yaml")
    deep = folder / "home" / "a"
    deep.mkdir(parents=True)
    with pytest.raises(ProfileError):
        found(deep, HOME=str(folder / "home"))


def test_a_worktree_whose_git_is_a_file_is_a_repository_too(folder: Path) -> None:
    planted(folder, ".git", text="gitdir: elsewhere\n")
    near = planted(folder, "automix.yaml")
    (folder / "a").mkdir()
    assert found(folder / "a")[0] == near


def test_outside_a_repository_and_outside_home_only_this_folder_is_searched(folder: Path) -> None:
    planted(folder, "automix.yaml")
    (folder / "mine").mkdir()
    with pytest.raises(ProfileError):
        found(folder / "mine")
    here = planted(folder, "mine", "automix.yaml")
    assert found(folder / "mine") == (here, "discovered")


@pytest.mark.parametrize("name", [".automix.yaml", "automix.yml", "automix.json", "Automix.yaml"])
def test_no_other_name_is_searched_for(folder: Path, name: str) -> None:
    planted(folder, name)
    with pytest.raises(ProfileError):
        found(folder)


def test_a_broken_link_is_refused_and_not_passed_over(folder: Path) -> None:
    (folder / "automix.yaml").symlink_to("gone")
    with pytest.raises(ProfileError, match="is a symbolic link"):
        found(folder)


@pytest.mark.parametrize(
    ("platform", "own"),
    [("linux", "/h/.config"), ("darwin", "/h/Library/Application Support")],
)
def test_the_users_folder_follows_xdg_and_the_system(platform: str, own: str) -> None:
    def user(**environ: str) -> str:
        return str(user_config({"HOME": "/h", **environ}, platform))

    assert user() == f"{own}/automix/automix.yaml"
    assert user(XDG_CONFIG_HOME="/x") == "/x/automix/automix.yaml"
    assert user(XDG_CONFIG_HOME="relative") == f"{own}/automix/automix.yaml"


def test_without_any_home_the_search_still_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert user_config({}) is None
    with pytest.raises(ProfileError, match="no profile, no key"):
        load_profile(cwd=folder, environ={}, probe=never)


def test_nothing_found_says_what_was_looked_for_and_three_ways_on(folder: Path) -> None:
    with pytest.raises(ProfileError) as nothing:
        found(folder)
    assert nothing.value.exit_code == 2
    for looked in (
        str(folder),
        "no-home/.config/automix",
        "OPENAI_API_KEY",
        "GEMINI_API_KEY",
        "127.0.0.1:11434",
    ):
        assert looked in nothing.value.message
    for way, on in zip(
        nothing.value.hint.splitlines(),
        ("export OPENAI", "ollama serve", "automix profile init --api-base URL", "--profile demo"),
        strict=True,
    ):
        assert on in way


def test_a_name_is_a_bundled_profile_first_and_a_path_else(folder: Path) -> None:
    planted(folder, "demo", text="not a profile")
    assert load_profile("demo", cwd=folder).path == bundled_path("demo")
    with pytest.raises(ProfileError, match="demo:1: expected a mapping"):
        load_profile("./demo", cwd=folder)
    with pytest.raises(
        ProfileError, match="opnai: no such file, and no bundled profile; did you mean openai"
    ):
        load_profile("opnai", cwd=folder)


def test_the_probe_sees_a_listening_socket_and_no_other() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert ollama_answers(address)
    assert not ollama_answers(address)


# ── Models without a file ─────────────────────────────────────────────────────────────────────


def test_models_on_the_command_line_make_a_profile() -> None:
    p = profile_of_models(["openai/gpt-4.1-mini", "openai/gpt-4.1"])
    assert [(t.name, t.model) for t in p.tiers] == [
        ("gpt-4.1-mini", "openai/gpt-4.1-mini"),
        ("gpt-4.1", "openai/gpt-4.1"),
    ]
    assert (p.origin, p.path, p.router, p.trusted) == ("tiers-option", None, None, True)


def test_models_of_one_name_and_two_providers_keep_their_providers() -> None:
    p = profile_of_models(["ollama/x", "hosted_vllm/x"])
    assert [t.name for t in p.tiers] == ["ollama/x", "hosted_vllm/x"]


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ([], "--tiers: expected 1 to 6 models, got 0"),
        ([f"demo/{i}" for i in range(7)], "--tiers: expected 1 to 6 models, got 7"),
        (["demo/a", "demo/a"], "--tiers: is named demo/a like tiers[0]"),
        (["opnai/x"], "--tiers: unknown provider opnai; did you mean openai?"),
        (
            ["openai/gpt-4.1", "openai/gpt-4.1-mini"],
            "--tiers: costs less than tiers[0]: put the cheapest tier first",
        ),
    ],
)
def test_models_that_make_no_profile_are_a_usage_error(models: list[str], told: str) -> None:
    with pytest.raises(UsageError) as refused:
        profile_of_models(models)
    assert refused.value.message == told


def test_a_tier_is_asked_for_by_its_name() -> None:
    p = profile_of_models(["demo/small", "demo/large"])
    assert p.tier("large").model == "demo/large"
    with pytest.raises(UsageError, match="has no tier larg; did you mean large"):
        p.tier("larg")
