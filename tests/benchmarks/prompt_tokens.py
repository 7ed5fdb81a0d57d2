"""How near the tokens that dry runs expect of prompts are to what two tokenizers count.

AUTOMIX_DATA=FOLDER python tests/benchmarks/prompt_tokens.py

Up to 400 questions of each recorded set, evenly taken. The tokenizers come with LiteLLM: cl100k_base
(OpenAI's of GPT-4) and the one that Anthropic published for Claude 2. Nothing is downloaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from recorded import DATA

from automix_cli.prompts.token_count import tokens_of
from automix_cli.prompts.window import estimate_tokens
from automix_cli.records import Message

MOST = 400


def questions_in(path: Path) -> list[str]:
    """The questions of a set, evenly taken."""
    rows = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    texts = [row["question"] for row in rows if row.get("question")]
    return texts[:: max(1, len(texts) // MOST)][:MOST]


def tokenizers() -> dict[str, Callable[[str], int]]:
    """What counts the tokens of a text, by name."""
    import litellm
    from litellm.litellm_core_utils.default_encoding import encoding
    from tokenizers import Tokenizer

    [file] = Path(litellm.__file__).parent.rglob("anthropic_tokenizer.json")
    claude = Tokenizer.from_file(str(file))
    return {
        "cl100k_base": lambda text: len(encoding.encode(text, disallowed_special=())),
        "claude": lambda text: len(claude.encode(text).ids),
    }


def main() -> None:
    """Print a table: what is expected, and three bytes a token, as shares of what is counted."""
    if not DATA.is_dir():
        sys.exit("no recorded sets at hand: set AUTOMIX_DATA")
    counts = tokenizers()
    print("| set | questions |" + "".join(f" of {name} | by bytes |" for name in counts))
    print("|---|--:|" + "--:|--:|" * len(counts))
    for path in sorted(DATA.glob("*.jsonl")):
        texts = questions_in(path)
        if not texts:
            continue
        own = sum(map(tokens_of, texts))
        by_bytes = sum(estimate_tokens([Message("user", text)]) - 4 for text in texts)
        cells = ""
        for count in counts.values():
            whole = sum(map(count, texts))
            cells += f" {own / whole:.2f} | {by_bytes / whole:.2f} |"
        print(f"| {path.stem} | {len(texts)} |{cells}")


if __name__ == "__main__":
    main()
