"""Profile files that several test files write and read."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from automix_cli.errors import ProfileError
from automix_cli.profile.model import Profile
from automix_cli.profile.read import read_profile

TWO = """\
tiers:
  - name: small
    model: demo/small
  - name: large
    model: demo/large
"""
FULL = """\
version: 1
name: my-project
tiers:
  - name: small
    model: openai/gpt-5-nano
    price: {input: 0.05, output: 0.40, cached_input: 0.005}
    params: {temperature: 0, max_tokens: 512, stop: [END, "\\n\\n"]}
    api_key_env: OPENAI_API_KEY
    rpm: 500
  - {name: large, model: hosted_vllm/big, api_base: "https://gpu.example/v1/"}
task: {instruction: Be brief., scorer: numeric, abstain_value: 0.2, pass_score: 1}
verification:
  signal: logprob
  logprob_of: answer
  max_votes: 12
  batch: [2, 6]
  temperature: 0.5
  max_tokens: 300
  last_tier: true
  examples:
    - {question: "2 + 2?", answer: "5", reasons: It is 4., correct: false, choices: [a, b], context: c}
router: {kind: threshold, votes: 4, cut: 0.5, prior: {"01": 3.5, "00": 0}}
limits: {concurrency: 8, timeout: 30, attempts: 2, max_cost: 1.5}
"""


def problems_of(text: str | bytes, *, trusted: bool = True, name: str = "p.yaml") -> list[str]:
    """What is said of a file with this text in the current folder, line by line."""
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        read_profile(Path(name), trusted=trusted, origin="named" if trusted else "discovered")
    except ProfileError as e:
        return e.message.splitlines()
    return []


def read(text: str, *, trusted: bool = True, name: str = "p.yaml") -> Profile:
    Path(name).write_text(text)
    return read_profile(Path(name), trusted=trusted, origin="named" if trusted else "discovered")


def planted(*parts: str | Path, text: str = TWO) -> Path:
    path = Path(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def with_mute_votes(profile: Profile, tier: str) -> Profile:
    """The profile with a router that has learned of a tier's votes that they say nothing."""
    block: Any = profile.router
    own = block["observations"][tier]
    votes = {"signal": "votes", "shapes": [[2.0, 2.0], [2.0, 2.0]], "unparsed": 0.0}
    observations = {**block["observations"], tier: {**own, "observation": votes}}
    return replace(profile, router={**block, "observations": observations})
