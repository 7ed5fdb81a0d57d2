"""`automix profile init`: a profile made of what this machine has, and rows to begin with."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automix_cli.commands import options as o
from automix_cli.errors import ProfileError, StorageError, UsageError
from automix_cli.streams import stderr
from automix_cli.views.terminal import unbroken, width_of

if TYPE_CHECKING:
    from automix_cli.profile.model import Tier
    from automix_cli.profile.proposal import Proposal

_OWN_SERVER = "openai-compatible"
_ROWS_FILE = "labelled.jsonl"
_OTHER_FILE = "automix profile init -o other.yaml   start another one beside it"


def init(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A bundled profile, else what this machine has.")
    ] = None,
    tiers: Annotated[
        str | None,
        typer.Option("--tiers", metavar="small=MODEL,large=MODEL", help="The tiers, cheapest first."),
    ] = None,
    api_base: Annotated[
        str | None, typer.Option("--api-base", metavar="URL", help="A server of the OpenAI protocol.")
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option("--api-key-env", metavar="NAME", help="The variable that holds its key."),
    ] = None,
    output: Annotated[Path, o.output_file("The file to start.")] = Path("automix.yaml"),
    quiet: o.Quiet = False,
) -> None:
    """Start a profile for this folder, with what this machine has.

    Keys are looked for by name, and servers on this machine are asked for their models. In a
    terminal at most three questions are asked, elsewhere none. Nothing is overwritten. Beside the
    profile stand its JSON schema, for editors, and ten labelled rows to replace by your own.

    \b
    Examples:
      automix profile init
      automix profile init openai
      automix profile init --tiers small=openai/gpt-6-luna,large=openai/gpt-6.1-sol
      automix profile init --tiers small=NAME,large=NAME --api-base http://127.0.0.1:8000/v1
    """  # noqa: D301
    if output.exists():
        raise _is_there(output)
    own, scorer = _proposals(name, tiers, api_base, api_key_env, is_new=output != Path("automix.yaml")), None
    proposal = own[0]
    if _is_terminal() and name in (None, _OWN_SERVER) and tiers is None:
        proposal, scorer = _with_answers(own)
    _write(proposal, scorer, output, lambda text: _note(text, quiet))
    for line in _notes(proposal, output, asks_server=tiers is not None):
        _note(line, quiet)


# ---------------------------------------------------------------- what can be asked


def _proposals(
    name: str | None, tiers: str | None, api_base: str | None, api_key_env: str | None, *, is_new: bool
) -> list[Proposal]:
    """What the options name, else all that this machine has, the first one first.

    `is_new` says that a file is named with -o, which may stand beside a profile that is used here.

    Raises:
        ProfileError: there is nothing.
        UsageError: the options do not go together, or a profile is used here already.
    """
    from automix_cli.profile.proposal import Proposal, tiers_of_option

    if name not in (None, _OWN_SERVER) and (tiers or api_base):
        raise UsageError("NAME takes a bundled profile as it is; --tiers and --api-base make another")
    if api_key_env is not None and api_base is None:
        raise UsageError("--api-key-env goes with --api-base")
    _check_endpoint(api_base, api_key_env)
    if tiers is not None:
        return [Proposal("tiers", "as --tiers says", tiers_of_option(tiers, api_base, api_key_env))]
    if api_base is not None:
        return [_of_server(api_base, api_key_env)]
    if name not in (None, _OWN_SERVER):
        return [_of_bundled(str(name))]
    return _of_machine(servers_only=name == _OWN_SERVER, is_new=is_new)


def _check_endpoint(api_base: str | None, api_key_env: str | None) -> None:
    """Refuse an address or a variable that a profile cannot hold."""
    from automix_cli.backends.catalog import URL, is_loopback
    from automix_cli.profile.layout import variable_problem

    if api_base is not None and not URL.fullmatch(api_base):
        raise UsageError("--api-base: expected an http:// or https:// address, without user and query")
    if api_key_env is not None and (problem := variable_problem(api_key_env)):
        raise UsageError(f"--api-key-env: {problem}")
    if api_key_env and str(api_base).startswith("http:") and not is_loopback(str(api_base)):
        raise UsageError("--api-base: the key would be sent in the clear", hint="use an https:// address")


def _of_bundled(name: str) -> Proposal:
    """The tiers of a bundled profile."""
    from automix_cli.profile.proposal import Proposal
    from automix_cli.profile.search import load_profile

    if (name.endswith((".yaml", ".yml")) or "/" in name) and not Path(name).exists():
        hint = f"automix profile init -o {shlex.quote(name)}   starts this file"
        raise UsageError(f"{name}: NAME is a bundled profile to start from, not the file to start", hint=hint)
    profile = load_profile(name)
    if profile.origin != "bundled":
        raise UsageError(f"{name} is a file, and can be used as it is", hint=f"--profile {name}")
    return Proposal(name, "bundled", profile.tiers, extends=name)


def _of_server(api_base: str, api_key_env: str | None) -> Proposal:
    """The models that the server at an address lists."""
    from msgspec.structs import replace

    from automix_cli.backends.local_servers import LocalServer, ask_for_models
    from automix_cli.profile.proposal import proposal_of

    key = os.environ.get(api_key_env, "").strip() if api_key_env else ""
    reply = ask_for_models(api_base, 5.0, key)
    own = proposal_of(LocalServer("the server", api_base.rstrip("/"), "hosted_vllm"), reply)
    if own is None:
        problem = reply.problem or f"lists no models (status {reply.status})"
        raise UsageError(f"{api_base}: {problem}", hint="--tiers small=NAME,large=NAME names its models")
    tiers, models = (tuple(replace(t, api_key_env=api_key_env) for t in ts) for ts in (own.tiers, own.models))
    return own._replace(tiers=tiers, models=models)


def _of_machine(*, servers_only: bool, is_new: bool) -> list[Proposal]:
    """All that this machine has."""
    from automix_cli.profile.proposal import proposals
    from automix_cli.profile.search import profile_files

    files = profile_files(Path.cwd(), os.environ)
    if files and not servers_only and not is_new:
        hint = f"automix profile show\n{_OTHER_FILE}"
        raise UsageError(f"{files[0][0]} is already used here", hint=hint)
    own = [p for p in proposals(os.environ) if not (servers_only and p.extends)]
    if not own:
        raise ProfileError(
            "no server on this machine lists models" if servers_only else "no key, and no server with models",
            hint="ollama serve, and ollama pull gemma3:4b    run models on this machine\n"
            "--tiers small=NAME,large=NAME --api-base URL   name a server and its models\n"
            "export OPENAI_API_KEY=…                        use a provider's models\n"
            "automix profile init demo                      simulated models, no key and no network",
        )
    return own


# ---------------------------------------------------------------- questions


def _with_answers(own: list[Proposal]) -> tuple[Proposal, str | None]:
    """The proposal and the scorer that a person at the terminal chooses, in at most three questions."""
    from automix_cli.profile.proposal import named_tiers
    from automix_cli.scoring import SCORERS

    proposal = own[0]
    if len(own) > 1:
        for number, other in enumerate(own, 1):
            _note(f"  {number}  {other.name}: {other.reason}", False)
        proposal = own[_number("Whose models", len(own)) - 1]
    if len(proposal.models) > 1:
        for number, model in enumerate(proposal.models, 1):
            _note(f"  {number}  {model.name}", False)
        default = f"1,{len(proposal.models)}"
        numbers = _ask(
            "Which ones, the cheapest first and the dearest last",
            default,
            lambda text: _picks(text, len(proposal.models)),
        )
        tiers = named_tiers([proposal.models[n - 1] for n in _picks(numbers, len(proposal.models)) or ()])
        proposal = proposal._replace(tiers=tiers, guess="")
    scorer = _ask(f"How are answers judged ({', '.join(SCORERS)})", "exact", lambda text: text in SCORERS)
    return proposal, None if scorer == "exact" else scorer


def _ask(question: str, default: str, is_answer: Callable[[str], object]) -> str:
    """Ask until there is an answer that can be used."""
    while True:
        answer = str(typer.prompt(question, default=default, err=True)).strip()
        if is_answer(answer):
            return answer


def _number(question: str, most: int) -> int:
    return int(_ask(question, "1", lambda text: text.isdecimal() and 1 <= int(text) <= most))


def _picks(text: str, most: int) -> list[int] | None:
    """The different numbers of a list, at most six of 1 to `most`; None where it is none."""
    parts = [part.strip() for part in text.split(",")]
    numbers = [int(part) for part in parts if part.isdecimal()]
    fits = len(numbers) == len(parts) == len(set(numbers)) <= 6 and all(1 <= n <= most for n in numbers)
    return numbers if fits else None


# ---------------------------------------------------------------- files


def _write(proposal: Proposal, scorer: str | None, output: Path, say: Callable[[str], None]) -> None:
    """Write the profile, and beside it what is not there yet; say what comes next."""
    from json import dumps

    from automix_cli.profile.json_schema import profile_schema
    from automix_cli.profile.starter import SCHEMA_FILE, labelled_rows, price_words, starter_text

    rows = "".join(f"{dumps(row, ensure_ascii=False)}\n" for row in labelled_rows())
    texts = {
        output: starter_text(proposal, scorer),
        output.parent / SCHEMA_FILE: f"{dumps(profile_schema(), indent=2)}\n",
        output.parent / _ROWS_FILE: rows,
    }
    say(f"wrote {', '.join(str(path) for path, text in texts.items() if _write_new(path, text, output))}")
    for tier in proposal.tiers:
        say(f"  {tier.name}: {tier.model}, {price_words(tier)}")
    if len(proposal.tiers) == 1:
        say(f"note: with one tier there is nothing to route; add a better one to {output}")
    use = _option(output, proposal.tiers)
    if use and output == Path("automix.yaml"):
        say(f"note: it sends a key or questions elsewhere, so it is used only where it is named:{use}")
    say(f'next: automix ask{use} "Who wrote Dune?"')
    say(f"then: put rows of your own into {_ROWS_FILE}; automix calibrate {_ROWS_FILE}{use} --dry-run")


def _notes(proposal: Proposal, output: Path, *, asks_server: bool) -> Iterator[str]:
    """What may be wrong with the tiers: their order where it is a guess, a server that does not answer."""
    if proposal.guess and len(proposal.tiers) > 1:
        first, last = proposal.tiers[0], proposal.tiers[-1]
        yield (
            f"note: that {first.name} is the cheaper one is a guess, by {proposal.guess}; "
            f"until it is calibrated, {last.name} answers everything. If it is the other way round:"
        )
        yield f"  {_swap_command(first, last, output)}"
    if asks_server and (problem := _server_problem(proposal.tiers, _option(output, proposal.tiers))):
        yield problem


def _swap_command(first: Tier, last: Tier, output: Path) -> str:
    """The command that makes the same profile with the dearer tier first."""
    words = ["automix", "profile", "init", "--tiers", f"{first.name}={last.model},{last.name}={first.model}"]
    words += ["--api-base", first.api_base] if first.api_base else []
    words += ["--api-key-env", first.api_key_env] if first.api_key_env else []
    words += [] if output == Path("automix.yaml") else ["-o", str(output)]
    return f"rm {shlex.quote(str(output))}; {shlex.join(words)}"


def _server_problem(tiers: tuple[Tier, ...], use: str) -> str:
    """That the server of the tiers does not answer; "" where it does, or there is none of their own.

    `use` is the option with which the profile is used.
    """
    from automix_cli.backends.catalog import is_loopback
    from automix_cli.backends.local_servers import ask_for_models

    tier = tiers[0]
    if tier.api_base is None:
        return ""
    key = os.environ.get(tier.api_key_env, "").strip() if tier.api_key_env else ""
    reply = ask_for_models(tier.api_base, 2.0, key)
    if reply.is_reachable:
        return ""
    ping = "" if is_loopback(tier.api_base) else " --ping"
    return (
        f"note: {tier.api_base} does not answer now ({reply.problem}); "
        f"start the server before you ask: automix doctor{use}{ping} shows whether it answers"
    )


def _write_new(path: Path, text: str, profile: Path) -> bool:
    """Write a file that is not there; whether it was written. Only the profile itself must be new."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        if path == profile:
            raise _is_there(path) from None
        return False
    except OSError as exc:
        raise StorageError(f"{path}: cannot be written: {exc.strerror}") from exc
    return True


def _is_there(path: Path) -> UsageError:
    """The error of a file that exists."""
    hint = f"automix profile check {path}\n{_OTHER_FILE}"
    return UsageError(f"{path} exists and is left as it is", hint=hint)


def _option(output: Path, tiers: tuple[Tier, ...]) -> str:
    """The option with which the profile is used: none where it is found, and may be used so."""
    from automix_cli.profile.trust import must_be_named

    if output == Path("automix.yaml") and not must_be_named(tiers):
        return ""
    return f" --profile {output if output.is_absolute() else f'./{output}'}"


def _is_terminal() -> bool:
    """Whether somebody can be asked."""
    err = stderr()
    return bool(sys.stdin and sys.stdin.isatty() and err and err.isatty())


def _note(text: str, quiet: bool) -> None:
    if not quiet:
        print(unbroken(text, width_of(stderr())), file=stderr())
