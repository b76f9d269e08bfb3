"""The files that probes are given, read once to see whether they will do. Opens and closes them itself; used before
the processes start and, later, in the supervisor's reader."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kubelb.config.faults import ConfigFault, Fault, Places, fault_at, fault_of
from kubelb.config.files import pem_path, read_bytes, read_text
from kubelb.config.kubeconfig import Kubeconfig, Pem, parse_kubeconfig
from kubelb.config.model.config import Config
from kubelb.config.model.pools import Health
from kubelb.reasons import ValueFault
from kubelb.tls_reasons import tls_reason_of

_TOKEN = re.compile(rb"\s*[!-~]+\s*")

_PEMS: Final = ("ca_file", "cert_file", "key_file")
Problem = tuple[str, str]
"""A setting and, of what stands behind it, what is wrong."""


def credential_faults(config: Config, places: Places) -> tuple[Fault, ...]:
    """One fault, at its setting's place, for each file that is missing, cannot be read or holds something else.

    What is wrong with a flag that counts for all pools is told once.
    """
    faults = (
        fault
        for name, pool in config.pools.items()
        for fault in (
            *_faults_of_files(pool.health, ("pool", name, "health"), places),
            *_faults_of_kubeconfig(pool.health, ("pool", name, "health", "kubeconfig"), places),
        )
    )
    return tuple(dict.fromkeys(faults))


def _faults_of_files(health: Health, key: tuple[str, ...], places: Places) -> Iterator[Fault]:
    pems = {name: Pem(path) for name in _PEMS if (path := getattr(health, name)) is not None}
    for setting, what in (*_pem_problems(pems), *_token_problems("token_file", health.token_file)):
        yield fault_at(places, (*key, setting), f'"{getattr(health, setting)}" {what}')


def _faults_of_kubeconfig(health: Health, key: tuple[str, ...], places: Places) -> Iterator[Fault]:
    if (path := health.kubeconfig) is None:
        return
    try:
        found = parse_kubeconfig(read_text(path), path)
    except ConfigFault as error:
        yield fault_at(places, key, f'"{path}" {error.faults[0].what}')
        return
    except ValueFault as error:
        fault = fault_of(error)
        yield fault_at(places, key, f'"{path}": {fault.what}', fault.instead)
        return
    if health.ca_file is None and (unverified := found.unverified()):
        yield fault_at(places, key, f'"{path}": {unverified}', "write ca_file too, or --health-ca")
    for setting, what in _kubeconfig_problems(found):
        yield fault_at(places, key, f'"{path}": {setting} {what}')


def _kubeconfig_problems(found: Kubeconfig) -> Iterator[Problem]:
    given = {"ca_file": found.ca, "cert_file": found.cert, "key_file": found.key}
    names = {"ca_file": "certificate-authority", "cert_file": "client-certificate", "key_file": "client-key"}
    pems = {name: pem for name, pem in given.items() if pem is not None}
    for name, what in _pem_problems(pems):
        pem = pems[name]
        yield names[name], f'"{pem.name}" {what}' if pem.data is None else what
    for name, what in _token_problems("tokenFile", found.token_file):
        yield name, f'"{found.token_file}" {what}'


def _pem_problems(pems: dict[str, Pem]) -> Iterator[Problem]:
    found = {name: what for name, pem in pems.items() if (what := _problem(name, pem))}
    yield from found.items()
    if "cert_file" in pems and not {"cert_file", "key_file"} & set(found):
        key = "key_file" if "key_file" in pems else "cert_file"
        if what := _no_key(pems["cert_file"], pems[key]):
            yield key, what


def _problem(name: str, pem: Pem) -> str | None:
    return _unreadable(pem) or (None if name == "key_file" else _no_certificate(pem))


def _token_problems(setting: str, path: str | None) -> Iterator[Problem]:
    if path is not None and (what := _unreadable(Pem(path)) or _no_token(path)):
        yield setting, what


def _unreadable(pem: Pem) -> str | None:
    if pem.data is None:
        try:
            read_bytes(pem.name)
        except ConfigFault as error:
            return error.faults[0].what
    return None


def _no_token(path: str) -> str | None:
    """It goes into a line of an HTTP request."""
    return None if _TOKEN.fullmatch(read_bytes(path)) else "holds no token"


def _no_certificate(pem: Pem) -> str | None:
    import ssl  # A few MB in every process, and few configurations need it here.

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        with pem_path(pem) as path:
            context.load_verify_locations(path)
    except ssl.SSLError:
        return "is not a PEM certificate"
    return None if context.cert_store_stats()["x509"] else "is not a PEM certificate"


def _no_key(cert: Pem, key: Pem) -> str | None:
    import ssl

    try:
        with pem_path(cert) as cert_path, pem_path(key) as key_path:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_path, key_path, _no_passphrase)
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
