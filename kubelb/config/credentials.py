"""The files that probes are given, read once to see whether they will do. Opens and closes them itself; used before
the processes start and, later, in the supervisor's reader."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from kubelb.config.faults import ConfigFault, Fault, Places, fault_at
from kubelb.config.files import read_bytes
from kubelb.config.model.config import Config
from kubelb.config.model.pools import Health
from kubelb.tls_reasons import tls_reason_of

_TOKEN = re.compile(rb"\s*[!-~]+\s*")


def credential_faults(config: Config, places: Places) -> tuple[Fault, ...]:
    """One fault, at its setting's place, for each file that is missing, cannot be read or holds something else.

    What is wrong with a flag that counts for all pools is told once.
    """
    faults = (
        fault_at(places, ("pool", name, "health", setting), f'"{getattr(pool.health, setting)}" {what}')
        for name, pool in config.pools.items()
        for setting, what in _problems(pool.health)
    )
    return tuple(dict.fromkeys(faults))


def _problems(health: Health) -> Iterator[tuple[str, str]]:
    """The setting, and what is wrong with its file."""
    checks: dict[str, Callable[[str], str | None]] = {
        "ca_file": _no_certificate,
        "cert_file": _no_certificate,
        "key_file": lambda _: None,
        "token_file": _no_token,
    }
    found = [
        (setting, what)
        for setting, check in checks.items()
        if (path := getattr(health, setting)) is not None and (what := _unreadable(path) or check(path))
    ]
    yield from found
    if health.cert_file is not None and not {"cert_file", "key_file"} & {setting for setting, _ in found}:
        setting = "cert_file" if health.key_file is None else "key_file"
        if what := _no_key(health.cert_file, health.key_file):
            yield setting, what


def _unreadable(path: str) -> str | None:
    try:
        read_bytes(path)
    except ConfigFault as error:
        return error.faults[0].what
    return None


def _no_token(path: str) -> str | None:
    """It goes into a line of an HTTP request."""
    return None if _TOKEN.fullmatch(read_bytes(path)) else "holds no token"


def _no_certificate(path: str) -> str | None:
    import ssl  # A few MB in every process, and few configurations need it here.

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        return "is not a PEM certificate"
    return None if context.cert_store_stats()["x509"] else "is not a PEM certificate"


def _no_key(cert_file: str, key_file: str | None) -> str | None:
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, _no_passphrase)
    except _EncryptedError:
        return "holds an encrypted key, and there is nobody to ask for its passphrase"
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "holds a key that does not match the certificate"
        if error.reason is None or error.reason == "PEM_LIB":
            return "holds no private key in PEM form"
        return f"cannot be used: {tls_reason_of(error)}"
    return None


class _EncryptedError(Exception):
    """OpenSSL wants a passphrase; left alone it would ask the terminal."""


def _no_passphrase() -> str:
    raise _EncryptedError
