"""The profile: its short hash, its prices, the keys it may use."""

import json
import random
import re
from pathlib import Path

import pytest
from msgspec.structs import replace
from profile_files import FULL, read

from automix_cli.backends import catalog
from automix_cli.backends.catalog import list_price
from automix_cli.profile.model import Tier
from automix_cli.usage import Price

# ── The short hash ────────────────────────────────────────────────────────────────────────────


def test_the_hash_changes_with_all_that_changes_answers_or_routing(folder: Path) -> None:
    base = read(FULL)
    changes = [
        ("name: small", "name: tiny"),
        ("gpt-5-nano", "gpt-5-mini"),
        ("output: 0.40", "output: 0.41"),
        ("temperature: 0,", "temperature: 0.1,"),
        ("gpu.example", "gpv.example"),
        ("Be brief.", "Be quick."),
        ("numeric", "exact"),
        ("abstain_value: 0.2", "abstain_value: null"),
        ("pass_score: 1", "pass_score: 0.9"),
        ("signal: logprob", "signal: votes"),
        ("max_votes: 12", "max_votes: 11"),
        ("[2, 6]", "[2, 5]"),
        ("It is 4.", "It is four."),
        ("cut: 0.5", "cut: 0.6"),
        ("last_tier: true", "last_tier: false"),
    ]
    shas = {read(FULL.replace(old, new)).sha for old, new in changes}
    assert all(old in FULL for old, _ in changes)
    assert len(shas) == len(changes)
    assert base.sha not in shas


def test_the_hash_does_not_change_with_limits_keys_names_or_the_story_of_the_fit(folder: Path) -> None:
    base = read(FULL).sha
    for old, new in (
        ("my-project", "other"),
        ("concurrency: 8", "concurrency: 9"),
        ("max_cost: 1.5", "max_cost: 2"),
        ("OPENAI_API_KEY", "MY_KEY"),
        ("rpm: 500", "rpm: 501"),
        ("kind: threshold,", 'kind: threshold, fitted: {rows: 4, date: "2026-11-01"},'),
        ("version: 1\n", "version: 1\n# a comment\n"),
    ):
        assert old in FULL
        assert read(FULL.replace(old, new)).sha == base, new
    assert re.fullmatch("[0-9a-f]{12}", base)


# ── Prices, keys, providers ───────────────────────────────────────────────────────────────────


def test_a_list_price_is_the_tables_in_dollars_per_million() -> None:
    table = json.loads(catalog._price_table())
    for model in ("gpt-4.1-mini", "gemini/gemini-2.5-flash", "claude-haiku-4-5"):
        entry, price = table[model], list_price(model)
        assert price is not None
        assert price.input == pytest.approx(entry["input_cost_per_token"] * 1e6)
        assert price.output == pytest.approx(entry["output_cost_per_token"] * 1e6)
        assert price.cached_input == pytest.approx(entry["cache_read_input_token_cost"] * 1e6)
        assert catalog.context_window(model) == entry["max_input_tokens"]


@pytest.mark.parametrize("most", [4096, 40])
def test_a_single_entry_is_read_as_the_whole_table_has_it(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_MOST_OF_ENTRIES", most)
    catalog._table_entry.cache_clear()
    table = json.loads(catalog._price_table())
    for model in random.Random(0).sample(sorted(table.keys() - {"sample_spec"}), 60):
        assert catalog._table_entry(model) == table[model]


def test_the_providers_prefix_is_found_where_the_table_leaves_it_out() -> None:
    assert list_price("openai/gpt-4.1") == list_price("gpt-4.1")
    assert list_price("anthropic/claude-haiku-4-5") == list_price("claude-haiku-4-5")
    assert list_price("groq/gpt-4.1") is None, "another provider's price is not this one's"


@pytest.mark.parametrize(
    "model",
    [
        "gemini/gemini-exp-1206",
        "perplexity/pplx-70b-online",
        "openai/unheard-of",
        "demo/small",
        "sample_spec",
    ],
)
def test_a_zero_or_a_gap_in_the_table_of_a_provider_that_charges_is_unknown(model: str) -> None:
    assert list_price(model) is None


@pytest.mark.parametrize(
    "model", ["ollama/llama3", "ollama_chat/anything:8b", "lm_studio/x", "hosted_vllm/a/b", "llamafile/x"]
)
def test_a_server_of_ones_own_is_free(model: str) -> None:
    assert list_price(model) == Price(input=0.0, output=0.0)


def test_a_server_of_somebody_elses_is_not_free() -> None:
    assert list_price("ollama/gpt-oss:120b-cloud") is None
    assert list_price("ollama_chat/kimi-k2:cloud") is None
    assert Tier(name="a", model="hosted_vllm/x", api_base="https://gpu.example/v1").list_price() is None
    assert Tier(name="a", model="hosted_vllm/x", api_base="http://127.0.0.1:1/v1").list_price() == Price(
        input=0, output=0
    )


def test_a_price_in_the_profile_comes_before_the_table() -> None:
    own = Price(input=1, output=2)
    assert Tier(name="a", model="openai/gpt-4.1", price=own).list_price() == own


def test_a_key_is_read_for_its_own_host_only() -> None:
    assert Tier(name="a", model="openai/x").key_envs() == ("OPENAI_API_KEY",)
    assert Tier(name="a", model="openai/x", api_base="https://gw.example").key_envs() == ()
    gateway = Tier(name="a", model="openai/x", api_base="https://gw.example", api_key_env="GW_KEY")
    assert gateway.key_envs() == ("GW_KEY",)
    assert Tier(name="a", model="demo/small").key_envs() == ()


@pytest.mark.contract
def test_every_provider_of_litellm_is_known() -> None:
    for provider in (
        "openai",
        "xai",
        "modelscope",
        "inception",
        "github_copilot",
        "parasail",
        "vertex_ai_beta",
    ):
        assert catalog.provider_of(f"{provider}/x") == provider
    assert catalog.provider_of("gpt-4.1") == "openai"
    assert catalog.provider_of("nobody/x") is None


def test_a_budget_counts_a_found_price_never_below_the_table(folder: Path) -> None:
    text = "tiers: [{name: a, model: openai/gpt-4.1, price: {input: 0, output: 9, cached_input: 0}}]"
    table = list_price("openai/gpt-4.1")
    assert table is not None
    found = read(text, trusted=False)
    counted = found.budget_price(found.tiers[0])
    assert counted == Price(
        input=table.input, output=9.0, cached_input=table.cached_input, cache_write=table.input
    )
    named = read(text)
    assert named.budget_price(named.tiers[0]) == named.tiers[0].price


def test_a_found_price_of_zero_is_unknown_to_a_budget_where_the_table_knows_nothing(folder: Path) -> None:
    for price, counted in (
        ("{input: 0, output: 0}", None),
        ("{input: 1, output: 2}", Price(input=1, output=2)),
    ):
        p = read(f"tiers: [{{name: a, model: openai/unheard-of, price: {price}}}]", trusted=False)
        assert p.budget_price(p.tiers[0]) == counted


@pytest.mark.usefixtures("folder")
def test_the_client_of_a_tier_is_its_own_choice_and_changes_no_answer() -> None:
    tier = "tiers: [{{name: a, model: ollama_chat/m, price: {{input: 0, output: 0}}{more}}}]"
    profiles = [
        read(tier.format(more=more))
        for more in ("", ", backend: auto", ", backend: direct", ", backend: litellm")
    ]
    assert [p.tiers[0].client() for p in profiles] == ["direct", "direct", "direct", "litellm"]
    assert len({p.sha for p in profiles}) == 1
    assert [p.to_dict()["tiers"][0].get("backend") for p in profiles] == [None, None, "direct", "litellm"]
    native = read(tier.format(more=", params: {num_ctx: 8192, keep_alive: -1}"))
    assert native.tiers[0].client() == "litellm"


@pytest.mark.parametrize(
    ("service", "own", "rates"),
    [
        ("flex", None, (0.625, 5.0, 0.0625)),
        ("priority", None, (2.5, 20.0, 0.25)),
        ("standard", None, (1.25, 10.0, 0.125)),
        ("flex", Price(input=1.0, output=8.0), (0.5, 4.0, 0.5)),  # the table halves all of them
    ],
)
def test_a_service_is_priced_as_the_table_has_it(
    service: str, own: Price | None, rates: tuple[float, float, float]
) -> None:
    tier = Tier(name="a", model="openai/gpt-5", price=own, service_tier=service)
    price = tier.list_price()
    assert (price.input, price.output, price.cached_rate) == pytest.approx(rates)
    most, standard = tier.most_price(), tier.standard_price()
    assert (most.input, most.output) == (
        max(price.input, standard.input),
        max(price.output, standard.output),
    )


def test_a_service_that_the_table_does_not_know_has_no_price_but_that_of_the_profile() -> None:
    tier = Tier(name="a", model="openai/gpt-4", service_tier="flex")
    assert tier.list_price() is None
    own = Price(input=1.0, output=2.0)
    assert replace(tier, price=own).list_price() == own
    assert replace(tier, service_tier=None).price_of("flex") == tier.standard_price()
