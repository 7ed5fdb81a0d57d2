"""Contexts for TLS that are made without certificates, and get them later."""

from __future__ import annotations

import ssl

import certifi
import pytest

from automix_cli.backends.bare_contexts import bare_contexts, fill_contexts
from automix_cli.process import own_process


@pytest.fixture(autouse=True)
def certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's certificates are those of a file that is there."""
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())


def authorities(context: ssl.SSLContext) -> int:
    """How many authorities a context trusts."""
    return context.cert_store_stats()["x509_ca"]


def test_a_context_made_meanwhile_trusts_nobody_until_it_is_filled() -> None:
    with own_process(), bare_contexts():
        context = ssl.create_default_context()
    whole = ssl.create_default_context()
    assert (authorities(context), context.verify_mode) == (0, ssl.CERT_REQUIRED)
    fill_contexts()
    assert authorities(context) == authorities(whole) > 0


def test_in_somebody_elses_program_contexts_are_made_whole() -> None:
    with bare_contexts():
        assert authorities(ssl.create_default_context()) > 0
