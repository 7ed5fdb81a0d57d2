"""Who speaks decides about a warning, not whom it blames."""

import asyncio
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from automix_cli.backends.foreign_warnings import Foreign, ignore_foreign_warnings

SOURCE = """
import warnings
from warnings import warn

def speak(level=1):
    warnings.warn("a", UserWarning, stacklevel=level)

def speak_directly(level=1):
    warn("a", DeprecationWarning, stacklevel=level)

def relay(call, *args):
    return call(*args)

async def wait_and_speak(level):
    warnings.warn("a", FutureWarning, stacklevel=level)
"""


def module(name: str) -> Any:
    made = types.ModuleType(name)
    exec(SOURCE, vars(made))
    return made


OURS, THEIRS = module("automix_cli.some"), module("library.some")


@pytest.fixture(autouse=True)
def only_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("error")
        ignore_foreign_warnings()
        yield


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("relay", [OURS.relay, THEIRS.relay])
@pytest.mark.parametrize("name", ["speak", "speak_directly"])
def test_a_warning_is_an_error_where_we_give_it_and_nowhere_else(
    name: str, relay: Callable[..., None], level: int
) -> None:
    relay(getattr(THEIRS, name), level)
    with pytest.raises(Warning, match="a"):
        relay(getattr(OURS, name), level)


def test_concurrent_calls_do_not_undo_one_another() -> None:
    async def main() -> None:
        await asyncio.gather(*(THEIRS.wait_and_speak(level) for level in range(1, 9)))
        with pytest.raises(FutureWarning):
            await OURS.wait_and_speak(1)

    asyncio.run(main())


def test_a_module_of_a_name_that_only_begins_like_ours_is_not_ours() -> None:
    module("automix_client").speak()


def test_one_filter_is_enough() -> None:
    ignore_foreign_warnings()
    assert sum(isinstance(f[3], Foreign) for f in warnings.filters) == 1


def test_a_warning_of_c_code_is_that_of_the_module_that_called_it() -> None:
    import numpy as np

    for name in ("automix_cli.sums", "library.sums"):
        names: dict[str, Any] = {"__name__": name, "np": np}
        exec("def divide(): return np.float64(1) / np.float64(0)", names)
        if name.startswith("automix"):
            with pytest.raises(RuntimeWarning):
                names["divide"]()
        else:
            names["divide"]()


def test_the_command_keeps_the_warnings_of_libraries_from_a_run() -> None:
    import subprocess

    code = "import automix_cli.cli, warnings; warnings.warn_explicit('x', UserWarning, 'f', 1, 'library')"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
