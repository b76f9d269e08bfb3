from __future__ import annotations

import sys
from base64 import b64encode
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.kubeconfig import Kubeconfig, Pem, parse_kubeconfig
from kubelb.reasons import ValueFault

PATH = "/etc/kubernetes/kubelet.conf"

KUBELET = """\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: Y2E=
    server: https://127.0.0.1:6443
  name: default-cluster
contexts:
- context:
    cluster: default-cluster
    namespace: default
    user: default-auth
  name: default-context
current-context: default-context
kind: Config
preferences: {}
users:
- name: default-auth
  user:
    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem
    client-key: /var/lib/kubelet/pki/kubelet-client-current.pem
"""
"""As kubeadm writes it on a node."""


def document(user: Any = None, cluster: Any = None, **others: Any) -> dict[str, Any]:
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "ours", "user": "me"}}],
        "clusters": [
            {"name": "ours", "cluster": cluster if cluster is not None else {"certificate-authority": "/ca"}}
        ],
        "users": [{"name": "me", "user": user if user is not None else {"token": "secret"}}],
        **others,
    }


def parsed(value: object) -> Kubeconfig:
    return parse_kubeconfig(yaml.safe_dump(value), PATH)


def fault(text: str) -> str:
    with pytest.raises(ValueFault) as caught:
        parse_kubeconfig(text, PATH)
    return str(caught.value)


def test_that_of_a_kubelet() -> None:
    current = Pem("/var/lib/kubelet/pki/kubelet-client-current.pem")
    ca = Pem(f"{PATH}: certificate-authority-data", b"ca")
    assert parse_kubeconfig(KUBELET, PATH) == Kubeconfig(ca=ca, cert=current, key=current)


def test_everything_in_the_file() -> None:
    user = {"client-certificate-data": "Y2VydA==", "client-key-data": "a2\nV5", "token": "secret"}
    cluster = {"certificate-authority-data": "Y2E=", "tls-server-name": "kubernetes", "proxy-url": "http://x"}
    assert parsed(document(user, cluster)) == Kubeconfig(
        ca=Pem(f"{PATH}: certificate-authority-data", b"ca"),
        server_name="kubernetes",
        cert=Pem(f"{PATH}: client-certificate-data", b"cert"),
        key=Pem(f"{PATH}: client-key-data", b"key"),
        token="secret",
    )


def test_what_it_names_relatively_is_beside_it() -> None:
    user = {"client-certificate": "pki/c", "client-key": "/k", "tokenFile": "token"}
    assert parsed(document(user, {"certificate-authority": "../ca"})) == Kubeconfig(
        ca=Pem("/etc/kubernetes/../ca"),
        cert=Pem("/etc/kubernetes/pki/c"),
        key=Pem("/k"),
        token_file="/etc/kubernetes/token",
    )
    assert parse_kubeconfig(yaml.safe_dump(document({"tokenFile": "t"})), "k.conf").token_file == "t"


def test_data_goes_before_a_file() -> None:
    user = {
        "client-certificate": "/c",
        "client-certificate-data": "Yw==",
        "client-key": "/k",
        "client-key-data": "aw==",
    }
    found = parsed(document(user, {"certificate-authority": "/ca", "certificate-authority-data": "YQ=="}))
    assert [pem and pem.data for pem in (found.ca, found.cert, found.key)] == [b"a", b"c", b"k"]


def test_the_current_context_counts() -> None:
    contexts = [{"name": name, "context": {"cluster": name, "user": name}} for name in "ab"]
    clusters = [{"name": name, "cluster": {"certificate-authority": f"/{name}"}} for name in "ab"]
    users = [{"name": "a", "user": {"exec": {"command": "aws"}}}, {"name": "b", "user": {"token": "b"}}]
    value = {"current-context": "b", "contexts": contexts, "clusters": clusters, "users": users}
    assert parsed(value) == Kubeconfig(ca=Pem("/b"), token="b")


def test_what_is_null_has_not_been_said() -> None:
    user = {"token": None, "exec": None, "client-key": None}
    assert parsed(document(user, {"certificate-authority": "/ca", "tls-server-name": None}, extensions=None)) == (
        Kubeconfig(ca=Pem("/ca"))
    )


def test_what_is_empty_has_not_been_said() -> None:
    assert parsed(document({"token": "", "tokenFile": ""}) | {"clusters": [{"name": "ours"}]}) == Kubeconfig()
    assert parsed(document() | {"users": [{"name": "me"}]}) == Kubeconfig(ca=Pem("/ca"))


def test_json_is_yaml() -> None:
    assert parse_kubeconfig(
        '{"current-context":"c","contexts":[{"name":"c","context":{"cluster":"k"}}],'
        '"clusters":[{"name":"k","cluster":{"certificate-authority":"/ca"}}]}',
        PATH,
    ) == (Kubeconfig(ca=Pem("/ca")))


def test_aliases_are_followed_and_lead_nowhere_else() -> None:
    text = "x: &x [*x, *x]\na0: &a0 [0, 0]\n"
    text += "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    assert parse_kubeconfig(KUBELET + text, PATH) == parse_kubeconfig(KUBELET, PATH)
    assert fault("users: &users [*users]") == "not a kubeconfig: users[0]: not a list"


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"certificate-authority": "/ca"}, ""),
        ({}, "no certificate-authority to verify servers by"),
        (
            {"certificate-authority": "/ca", "insecure-skip-tls-verify": True},
            "insecure-skip-tls-verify: no credentials for a server that nobody verifies",
        ),
    ],
)
def test_servers_have_to_be_verified(cluster: dict[str, Any], words: str) -> None:
    assert parsed(document(cluster=cluster)).unverified() == words


_INSTEAD = "write cert_file and key_file, or token_file, and ca_file in its place"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            document({"exec": {"command": "aws"}}),
            f'user "me" gets its credentials from a program (exec), which probes do not run; {_INSTEAD}',
        ),
        (
            document({"auth-provider": {"name": "gcp"}}),
            f'user "me" gets its credentials by an auth-provider, which probes do not have; {_INSTEAD}',
        ),
        (
            document({"username": "me", "password": "x"}),
            f'user "me" has a name and a password, which no apiserver takes any more; {_INSTEAD}',
        ),
        (document({"client-key": "/k"}), 'user "me" has a client-key alone; write client-certificate too'),
        (
            document({"client-certificate-data": "Yw=="}),
            'user "me" has a client-certificate alone; write client-key too',
        ),
        (document({"token": "a b"}), 'user "me" has a token with spaces or control characters in it'),
        (document({"client-key-data": "?"}), "client-key-data is not in base64"),
        (document({"client-key-data": "\u00e9"}), "client-key-data is not in base64"),
        (document() | {"current-context": None}, "no current-context; write its name, known here: here"),
        ({}, "no current-context; write its name"),
        (
            {"contexts": [{"name": name, "context": {"cluster": name}} for name in "ab"]},
            "no current-context; write its name, known here: a, b",
        ),
        (document() | {"current-context": "x"}, 'no context "x"; add that context, known here: here'),
        (document(clusters=[]), 'no cluster "ours"; add that cluster'),
        (document(users=None), 'no user "me"; add that user'),
        (document(users="me"), 'not a kubeconfig: users: not "me"'),
        (document(users=[{"user": {}}]), "not a kubeconfig: users[0].name: missing"),
        (document({"token": 5}), "not a kubeconfig: users[0].user.token: not 5"),
        (document({"token": True}), "not a kubeconfig: users[0].user.token: not true"),
        (["a"], "not a kubeconfig: not a list"),
    ],
)
def test_what_will_not_do_is_told(value: object, words: str) -> None:
    assert fault(yaml.safe_dump(value)) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a kubeconfig: not null"),
        ("a: b: c", "not YAML, line 1"),
        ("a: 1\nb: [", "not YAML, line 2"),
        ("a: &x\n- !!python/object:os.system {}\n", "not YAML, line 2"),
        ("a: 2001-99-99", "not YAML"),
        ("\x00", "not YAML"),
        ("[" * 5000, "not YAML"),
    ],
)
def test_what_is_no_kubeconfig_at_all(text: str, words: str) -> None:
    assert fault(text) == words


def test_without_pyyaml_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert fault(KUBELET) == (f"PyYAML is not installed, which reads it; install kubelb[kubeconfig], or {_INSTEAD}")


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
names = st.sampled_from(
    [
        "name",
        "user",
        "users",
        "cluster",
        "clusters",
        "context",
        "contexts",
        "current-context",
        "token",
        "client-key-data",
    ]
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4))


@given(st.text(max_size=200) | values.map(yaml.safe_dump))
def test_whatever_it_holds_it_is_read_or_refused(text: str) -> None:
    with suppress(ValueFault):
        parse_kubeconfig(text, PATH)


@given(st.binary(min_size=1), st.binary(min_size=1))
def test_data_is_taken_to_the_byte(cert: bytes, key: bytes) -> None:
    user = {"client-certificate-data": b64encode(cert).decode(), "client-key-data": b64encode(key).decode()}
    found = parsed(document(user))
    assert (found.cert, found.key) == (
        Pem(f"{PATH}: client-certificate-data", cert),
        Pem(f"{PATH}: client-key-data", key),
    )
