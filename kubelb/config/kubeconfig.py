"""What probes take from a kubeconfig: whom to trust, and as whom to ask; pure.

The form is that of k8s.io/client-go, tools/clientcmd/api/v1: of the current context the cluster and the user. Which
server the cluster has does not matter here, for probes go to the servers of a pool.
"""

from __future__ import annotations

import binascii
import posixpath
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from kubelb.config.misfits import misfit
from kubelb.reasons import ValueFault

TOKEN: Final = re.compile(r"[!-~]+")
"""A bearer token: it goes into a line of an HTTP request."""
_INSTEAD: Final = "write cert_file and key_file, or token_file, and ca_file in its place"
"""What does without a kubeconfig."""


class Pem(NamedTuple):
    """A certificate or a key."""

    name: str
    """The path of its file; else where it stands."""
    data: bytes | None = None
    """It is this, and in no file."""


class Kubeconfig(NamedTuple):
    """What is not there is None."""

    ca: Pem | None = None
    insecure: bool = False
    """Servers are not to be verified."""
    server_name: str = ""
    """What servers have to be verified as; empty: as what they are called."""
    cert: Pem | None = None
    key: Pem | None = None
    token: str | None = None
    token_file: str | None = None
    """It goes before :attr:`token`."""

    def unverified(self) -> str:
        """Why servers could not be verified; empty: they can. Credentials are not for whoever answers."""
        if self.insecure:
            return "insecure-skip-tls-verify: no credentials for a server that nobody verifies"
        return "" if self.ca else "no certificate-authority to verify servers by"


# What is null has not been said, as client-go reads it.


class _Cluster(msgspec.Struct, frozen=True, rename="kebab"):
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    insecure_skip_tls_verify: bool | None = None
    tls_server_name: str | None = None


class _User(msgspec.Struct, frozen=True, rename="kebab"):
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    token: str | None = None
    token_file: str | None = msgspec.field(default=None, name="tokenFile")
    exec: Any = None
    auth_provider: Any = None
    username: str | None = None


class _Context(msgspec.Struct, frozen=True):
    cluster: str
    user: str | None = None


class _NamedCluster(msgspec.Struct, frozen=True):
    name: str
    cluster: _Cluster | None = None


class _NamedUser(msgspec.Struct, frozen=True):
    name: str
    user: _User | None = None


class _NamedContext(msgspec.Struct, frozen=True):
    name: str
    context: _Context


class _Document(msgspec.Struct, frozen=True, rename="kebab"):
    clusters: tuple[_NamedCluster, ...] | None = None
    users: tuple[_NamedUser, ...] | None = None
    contexts: tuple[_NamedContext, ...] | None = None
    current_context: str | None = None


N = TypeVar("N", _NamedCluster, _NamedUser, _NamedContext)


def parse_kubeconfig(text: str, path: str) -> Kubeconfig:
    """``path`` is the file's; what it names relatively is beside it. Raises :class:`ValueFault`."""
    document = _document(text)
    if not document.current_context:
        raise ValueFault(f"no current-context; {_one_of('write its name', document.contexts)}")
    context = _named("context", document.current_context, document.contexts).context
    cluster = _named("cluster", context.cluster, document.clusters).cluster or _Cluster()
    user = (_named("user", context.user, document.users).user if context.user else None) or _User()
    _refuse_programs(context.user, user)
    pems = _Pems(path)
    cert = pems.of("client-certificate", user.client_certificate, user.client_certificate_data)
    key = pems.of("client-key", user.client_key, user.client_key_data)
    if (cert is None) != (key is None):
        given, other = ("client-certificate", "client-key") if cert else ("client-key", "client-certificate")
        raise ValueFault(f'user "{context.user}" has a {given} alone; write {other} too')
    if user.token and not TOKEN.fullmatch(user.token):
        raise ValueFault(f'user "{context.user}" has a token with spaces or control characters in it')
    return Kubeconfig(
        ca=pems.of("certificate-authority", cluster.certificate_authority, cluster.certificate_authority_data),
        insecure=bool(cluster.insecure_skip_tls_verify),
        server_name=cluster.tls_server_name or "",
        cert=cert,
        key=key,
        token=user.token or None,
        token_file=posixpath.join(posixpath.dirname(path), user.token_file) if user.token_file else None,
    )


class _Pems(NamedTuple):
    path: str

    def of(self, setting: str, file: str | None, data: str | None) -> Pem | None:
        """As client-go has it, data goes before a file."""
        if data:
            try:
                return Pem(f"{self.path}: {setting}-data", b64decode("".join(data.split()), validate=True))
            except (binascii.Error, ValueError):
                raise ValueFault(f"{setting}-data is not in base64") from None
        return Pem(posixpath.join(posixpath.dirname(self.path), file)) if file else None


def _document(text: str) -> _Document:
    value = _plain(text)
    if wrong := misfit(value, _Document):
        raise ValueFault(f"not a kubeconfig: {wrong}")
    return msgspec.convert(value, _Document)


def _plain(text: str) -> object:
    try:
        # A MB or two, which a proxy that is given no kubeconfig does without.
        import yaml
    except ModuleNotFoundError:
        raise ValueFault(
            f"PyYAML is not installed, which reads it; install kubelb[kubeconfig], or {_INSTEAD}"
        ) from None
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueFault(f"not YAML{line}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ValueFault("not YAML") from None


def _named(kind: str, name: str, known: Sequence[N] | None) -> N:
    for one in known or ():
        if one.name == name:
            return one
    raise ValueFault(f'no {kind} "{name}"; {_one_of(f"add that {kind}", known)}')


def _one_of(right: str, known: Sequence[N] | None) -> str:
    names = ", ".join(one.name for one in known or ())
    return f"{right}, known here: {names}" if names else right


def _refuse_programs(name: str | None, user: _User) -> None:
    for what, given in _not_taken(user):
        if given:
            raise ValueFault(f'user "{name}" {what}; {_INSTEAD}')


def _not_taken(user: _User) -> Iterator[tuple[str, bool]]:
    yield "gets its credentials from a program (exec), which probes do not run", user.exec is not None
    yield "gets its credentials by an auth-provider, which probes do not have", user.auth_provider is not None
    yield "has a name and a password, which no apiserver takes any more", bool(user.username)
