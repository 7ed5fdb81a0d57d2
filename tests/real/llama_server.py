"""llama.cpp's own server with a model of random numbers; runs in the environment of `environment.py`.

    python llama_server.py FOLDER

Prints one line of JSON, the addresses of three servers, and serves until its stdin ends:

    chat     2 slots of 8,192 tokens    what it says is noise; a prompt has a token for each character
    short    2 slots of 512 tokens
    embed    embeddings
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

WIDTH = 32
SPECIAL = ("<unk>", "<s>", "</s>")
WORDS = (
    "Verification",
    " Decision",
    ":",
    " The",
    " AI",
    " generated",
    " answer",
    " is",
    " ",
    "Correct",
    "Incorrect",
)
CHARACTERS = (" ", *map(chr, range(33, 127)))
TEXTS = (*CHARACTERS, *(word for word in WORDS if word not in CHARACTERS))
TOKENS = (*SPECIAL, *(f"<0x{i:02X}>" for i in range(256)), *(text.replace(" ", "\u2581") for text in TEXTS))
TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


def write_model(path: Path) -> None:
    """Write a model of one layer."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(65_536)
    writer.add_block_count(1)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(WIDTH // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    add_tokens(writer)
    add_weights(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokens(writer: gguf.GGUFWriter) -> None:
    """One token for each printable character, each byte, and each word of a verdict."""
    kind = gguf.TokenType
    kinds = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL, *[kind.BYTE] * 256]
    kinds += [kind.NORMAL] * (len(TOKENS) - len(kinds))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(TOKENS))
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types([int(k) for k in kinds])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)


def add_weights(writer: gguf.GGUFWriter) -> None:
    """Random numbers, the same each time; the words of a verdict are likelier than the rest."""
    draw = np.random.default_rng(0)
    block = "blk.0."
    shapes = {
        "token_embd": (len(TOKENS), WIDTH),
        "output": (len(TOKENS), WIDTH),
        **{f"{block}attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")},
        f"{block}ffn_gate": (2 * WIDTH, WIDTH),
        f"{block}ffn_up": (2 * WIDTH, WIDTH),
        f"{block}ffn_down": (WIDTH, 2 * WIDTH),
    }
    weights = {name: draw.standard_normal(shape) / np.sqrt(shape[-1]) for name, shape in shapes.items()}
    weights["token_embd"] += 1  # what all tokens have in common, and the output of some looks for
    likely = [TOKENS.index(word.replace(" ", "\u2581")) for word in WORDS]
    weights["output"][likely] += 0.2
    weights["output"][[TOKENS.index("Correct"), TOKENS.index("Incorrect")]] += 0.1
    for name, numbers in weights.items():
        writer.add_tensor(f"{name}.weight", numbers.astype(np.float32))
    for name in ("output_norm", f"{block}attn_norm", f"{block}ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))


def start(model: Path, context: int, *, embeds: bool = False) -> xllamacpp.Server:
    """A server on a free port, with two slots."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_parallel, params.n_ctx, params.port = 2, 2 * context, 0
    params.cpuparams.n_threads = 1
    params.embedding = embeds
    if embeds:
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return xllamacpp.Server(params)


def main() -> None:
    """Serve until stdin ends."""
    model = Path(sys.argv[1]) / "noise.gguf"
    write_model(model)
    servers = {
        "chat": start(model, 8192),
        "short": start(model, 512),
        "embed": start(model, 2048, embeds=True),
    }
    print(json.dumps({name: server.listening_address for name, server in servers.items()}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
