"""A kubeconfig for one server that asks nobody who he is; pure."""

from __future__ import annotations

from base64 import b64encode

_TEXT = """\
apiVersion: v1
kind: Config
clusters:
- name: kubelb
  cluster:
    server: {server}
    certificate-authority-data: {authority}
contexts:
- name: kubelb
  context:
    cluster: kubelb
    user: nobody
current-context: kubelb
users:
- name: nobody
  user:
    token: none
"""


def kubeconfig(server: str, authority: bytes) -> str:
    """``server`` is its URL, ``authority`` the PEM of the certificate authority to trust.

    The token stands there because kubectl without any credentials asks for a user name.
    """
    return _TEXT.format(server=server, authority=b64encode(authority).decode())
