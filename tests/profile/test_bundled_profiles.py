"""The profiles that ship with automix: known models, prices that rise, and nothing that needs a reader."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from automix_cli.backends import catalog
from automix_cli.backends.litellm_library import load_litellm
from automix_cli.cascade.requests import RequestBuilder
from automix_cli.profile import search
from automix_cli.profile.bundled import bundled_names, bundled_path, folder_of_bundled
from automix_cli.profile.model import Profile, Tier
from automix_cli.profile.read import read_profile
from automix_cli.profile.search import load_profile
from automix_cli.records import Question
from automix_cli.usage import Price

NAMES = ("anthropic", "demo", "gemini", "ollama", "openai", "openai-compatible", "openrouter")
TIERS = [
    pytest.param(name, tier, id=f"{name}:{tier.name}") for name in NAMES for tier in load_profile(name).tiers
]
CHARGING = [p for p in TIERS if not catalog.is_local(p.values[1].model)]


def test_these_and_no_others_are_bundled() -> None:
    assert bundled_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_profile_is_complete_and_uncalibrated(name: str) -> None:
    p = load_profile(name)
    assert (p.name, p.origin, p.path) == (name, "bundled", bundled_path(name))
    rule = {"kind": "majority"} if name == "demo" else None  # something to see in a demonstration
    assert p.router == rule, "a router is learned from the user's own questions"
    assert len(p.tiers) >= 2
    assert p.tiers[0].name == "small"
    assert p.tiers[-1].name == "large"


@pytest.mark.parametrize("name", NAMES)
def test_a_found_file_may_extend_any_bundled_profile(name: str, tmp_path: Path) -> None:
    path = tmp_path / "automix.yaml"
    path.write_text(f"extends: {name}\n")
    assert read_profile(path, trusted=False, origin="discovered").tiers == load_profile(name).tiers


def test_the_profile_that_is_meant_to_be_copied_is_allowed_as_a_found_file() -> None:
    path = bundled_path("openai-compatible")
    assert read_profile(path, trusted=False, origin="discovered").sha


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_profile_is_short_and_says_how_to_use_it(name: str) -> None:
    text = bundled_path(name).read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"--profile {name} " in text or "--profile ./NAME.yaml " in text
    assert len(text.splitlines()) <= 40
    for key in load_profile(name).tiers[0].key_envs()[:1]:
        assert f"Needs {key}" in text


@pytest.mark.contract
@pytest.mark.parametrize(("name", "tier"), TIERS)
def test_a_bundled_model_is_known_to_litellm(name: str, tier: Tier) -> None:
    provider, _, model = tier.model.partition("/")
    assert catalog.provider_of(tier.model) == provider
    if provider == "openrouter":
        # Its models are its suppliers', under the suppliers' names.
        supplier, _, model = model.partition("/")
        assert catalog.provider_of(model) == supplier
    elif provider != "demo" and not catalog.is_local(tier.model):
        entry = catalog._entry(tier.model)
        assert entry["mode"] == "chat"
        assert "deprecation_date" not in entry


@pytest.mark.contract
@pytest.mark.parametrize(("name", "tier"), CHARGING)
def test_a_bundled_model_of_a_provider_that_charges_has_a_price(name: str, tier: Tier) -> None:
    price = tier.list_price()
    assert price is not None
    assert price.input > 0
    assert price.output > 0
    assert price.cached_input is None or 0 < price.cached_input <= price.input


@pytest.mark.contract
def test_openrouter_asks_what_its_supplier_asks() -> None:
    for tier in load_profile("openrouter").tiers:
        price = catalog.list_price(tier.model.removeprefix("openrouter/"))
        assert price is not None
        assert tier.price == replace(price, cache_write=None)


@pytest.mark.parametrize("name", NAMES)
def test_bundled_tiers_go_from_cheap_to_dear(name: str) -> None:
    prices = [tier.list_price() for tier in load_profile(name).tiers]
    assert None not in prices
    known = [p for p in prices if p is not None]
    if all(catalog.is_local(t.model) for t in load_profile(name).tiers):
        assert set(known) == {Price(input=0.0, output=0.0)}
    else:
        assert all(a.input < b.input and a.output < b.output for a, b in pairwise(known))


def test_no_two_bundled_profiles_are_taken_for_one_another() -> None:
    assert len({load_profile(name).sha for name in NAMES}) == len(NAMES)


def test_local_profiles_stay_on_this_machine() -> None:
    for name in ("ollama", "openai-compatible", "demo"):
        for tier in load_profile(name).tiers:
            assert tier.api_base is None or catalog.is_loopback(tier.api_base)
            assert tier.key_envs() == ()


def test_the_demo_is_two_simulated_tiers_with_prices_of_their_own() -> None:
    small, large = load_profile("demo").tiers
    assert (small.model, small.price) == ("demo/small", Price(input=0.10, output=0.40))
    assert (large.model, large.price) == ("demo/large", Price(input=2.00, output=8.00))
    assert load_profile("demo").task.scorer == "exact"


def test_the_bundled_folder_is_the_packages_own_where_it_has_one(tmp_path: Path) -> None:
    """In a wheel the profiles are inside the package, in a checkout beside it."""
    package = tmp_path / "automix_cli"
    package.mkdir()
    assert folder_of_bundled(package) == tmp_path / "profiles"
    (package / "profiles").mkdir()
    assert folder_of_bundled(package) == package / "profiles"


def calls_of(p: Profile) -> list[tuple[str, dict[str, object]]]:
    """Model and parameters of an answer and of a vote, for each tier."""
    answer = [(t.model, dict(t.params)) for t in p.tiers]
    question, calls = Question(text="q"), RequestBuilder(p)
    vote = [(t.model, dict(calls.for_votes(question, "a", t, first=0, n=2)[0].params)) for t in p.tiers]
    return answer + vote


def test_a_bundled_profile_sends_nothing_that_a_hosted_model_may_refuse() -> None:
    """Only how much to write is taken by all; how to sample is refused by more and more models."""
    for name in NAMES:
        for model, params in calls_of(load_profile(name)):
            allowed = {"max_tokens"}
            if catalog.is_local(model) or model.startswith("demo/"):
                allowed.add("temperature")  # servers that people run themselves take it from everybody
            assert params.keys() <= allowed, (name, model)


@pytest.mark.contract
def test_litellm_accepts_the_parameters_of_every_bundled_tier() -> None:
    """Reasoning models refuse, for one, any temperature but 1."""
    calls = [call for name in NAMES if name != "demo" for call in calls_of(load_profile(name))]
    litellm = load_litellm()
    for model, params in calls:
        provider, _, name = model.partition("/")
        litellm.get_optional_params(model=name, custom_llm_provider=provider, **params)


@pytest.mark.contract
def test_models_named_in_comments_and_hints_are_real() -> None:
    source = Path(catalog.__file__).read_text() + Path(search.__file__).read_text()
    models = set(re.findall(r"openai/gpt-[0-9][a-z0-9.-]*", source))
    assert models
    assert all(catalog.list_price(model) for model in models)


# ---------------------------------------------------------------- examples to copy

EXAMPLES = sorted((bundled_path("demo").parent / "examples").glob("*.yaml"))


@pytest.mark.contract
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_works_as_a_found_file_and_says_how_to_use_it(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "automix.yaml"
    copy.write_bytes(path.read_bytes())
    example = read_profile(copy, trusted=False, origin="discovered")
    assert example.name == path.stem
    assert example.router is None
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"profiles/examples/{path.name} automix.yaml" in text
    litellm = load_litellm()
    for tier, (model, params) in zip([*example.tiers, *example.tiers], calls_of(example), strict=True):
        assert all(key in text for key in tier.key_envs()[:1])
        assert tier.list_price() is not None
        provider, _, name = model.partition("/")
        litellm.get_optional_params(model=name, custom_llm_provider=provider, **params)


def test_the_examples_are_two_families_and_two_efforts() -> None:
    efforts, families = (read_profile(path, trusted=True, origin="named") for path in EXAMPLES)
    assert len({tier.model.partition("/")[0] for tier in families.tiers}) == 2
    assert len({tier.model for tier in efforts.tiers}) == 1
    assert [dict(tier.params)["reasoning_effort"] for tier in efforts.tiers] == ["low", "high"]
