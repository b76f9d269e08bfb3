"""What is wrong with TLS is told of by OpenSSL's numbers and symbols, here from real handshakes in memory."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from kubelb.tls_reasons import tls_reason_of

NAME = "api.example"
_NOW = datetime.now(timezone.utc)
_DAY = timedelta(days=1)


def failure(client: ssl.SSLContext, server: ssl.SSLContext, name: str = NAME) -> ssl.SSLError:
    """What the client's handshake, or its first read, comes to."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(incoming, outgoing, server_hostname=name)
    theirs = server.wrap_bio(outgoing, incoming, server_side=True)
    steps: list[Callable[[], object]] = [ours.do_handshake, theirs.do_handshake]
    for _ in range(10):
        for step in steps:
            try:
                step()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                if step.__self__ is ours:  # type: ignore[attr-defined]
                    return error
            else:
                # A client certificate is asked for only after the client thinks all is well (RFC 8446, 2).
                steps[steps.index(step)] = ours.read if step.__self__ is ours else theirs.read  # type: ignore[attr-defined]
    raise AssertionError("all is well")


def client_for(authority: trustme.CA | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority is not None:
        authority.configure_trust(context)
    return context


def server_with(certificate: trustme.LeafCert | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate is not None:
        certificate.configure_cert(context)
    return context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def test_certificates(authority: trustme.CA) -> None:
    def reason(certificate: trustme.LeafCert, trusted: trustme.CA = authority, name: str = NAME) -> str:
        return tls_reason_of(failure(client_for(trusted), server_with(certificate), name), name)

    good = authority.issue_cert(NAME)
    assert reason(authority.issue_cert(NAME, not_after=_NOW - _DAY)) == "the certificate has expired"
    assert reason(authority.issue_cert(NAME, not_before=_NOW + _DAY)) == "the certificate is not valid yet"
    assert reason(good, trustme.CA()) == "the certificate is from an unknown authority"
    assert reason(good, name="other.example") == "the certificate is not for other.example"
    assert reason(good, name="10.0.0.1") == "the certificate is not for 10.0.0.1"
    chained = authority.create_child_ca().issue_cert(NAME)
    assert reason(chained, trustme.CA()) == "the certificate is from an unknown authority"


def test_a_certificate_that_is_asked_for(authority: trustme.CA) -> None:
    server = server_with(authority.issue_cert(NAME))
    server.verify_mode = ssl.CERT_REQUIRED
    assert tls_reason_of(failure(client_for(authority), server)) == "it wants to be shown a certificate"
    stranger = client_for(authority)
    trustme.CA().issue_cert("client@example").configure_cert(stranger)
    authority.configure_trust(server)
    assert tls_reason_of(failure(stranger, server)) == "it does not know the authority of the certificate it is shown"


def test_versions(authority: trustme.CA) -> None:
    client, server = client_for(authority), server_with(authority.issue_cert(NAME))
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    assert tls_reason_of(failure(client, server)) == "it speaks no version of TLS that this machine speaks"


def test_no_cipher(authority: trustme.CA) -> None:
    client, server = client_for(authority), server_with(authority.issue_cert(NAME))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256")
    server.set_ciphers("ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-GCM-SHA384")
    assert tls_reason_of(failure(client, server)) == "it refuses the handshake"


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 20])
def test_what_is_not_tls(said: bytes) -> None:
    incoming = ssl.MemoryBIO()
    incoming.write(said)
    with pytest.raises(ssl.SSLError) as caught:
        client_for(None).wrap_bio(incoming, ssl.MemoryBIO(), server_hostname=NAME).do_handshake()
    assert tls_reason_of(caught.value) == "what it speaks is not TLS"


@given(st.integers(0, 200), st.text(min_size=1), st.text(min_size=1))
def test_what_openssl_says_of_a_certificate_does_not_matter(number: int, text: str, other: str) -> None:
    def told(said: str) -> str:
        error = ssl.SSLCertVerificationError(1, said)
        error.verify_code, error.verify_message, error.reason = number, said, "CERTIFICATE_VERIFY_FAILED"
        return tls_reason_of(error, NAME)

    assert told(text) == told(other)
    assert told(text).startswith(("the certificate", "the signature", "the key", "the authority", "there", "what"))


@given(st.sampled_from(["", "TLSV1_ALERT_NEW_ONE", "NEW_REASON", "SSLV3_ALERT_BAD_CERTIFICATE"]), st.text(min_size=1))
def test_what_openssl_says_of_a_handshake_does_not_matter(symbol: str, text: str) -> None:
    error = ssl.SSLError(1, text)
    error.reason = symbol
    assert tls_reason_of(error) in (
        "it fails with error 1",
        "it fails with TLSV1_ALERT_NEW_ONE",
        "it fails with NEW_REASON",
        "it refuses the certificate it is shown",
    )


def test_a_reason_in_prose_is_not_shown() -> None:
    error = ssl.SSLError(1, "x")
    error.reason = "unknown error of some kind"
    assert tls_reason_of(error) == "it fails with error 1"
