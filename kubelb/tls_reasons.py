"""What was wrong with a TLS connection or a certificate, in kubelb's own words; pure.

OpenSSL's texts differ from version to version. Its numbers and symbols stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl

_UNKNOWN_AUTHORITY: Final = "the certificate is from an unknown authority"
_OTHER_NAME: Final = "the certificate is not for {name}"
_NO_AUTHORITY: Final = "what has signed the certificate is no authority"
_CUT: Final = "the certificate cannot be read"
_VERIFY: Final[Mapping[int, str]] = {
    2: _UNKNOWN_AUTHORITY,
    4: _CUT,
    6: _CUT,
    7: "the signature of the certificate is wrong",
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
    13: _CUT,
    14: _CUT,
    18: "the certificate is self-signed",
    19: "the certificate is from an unknown authority, which is self-signed",
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
    22: "there are too many certificates up to the authority",
    23: "the certificate is revoked",
    24: _NO_AUTHORITY,
    25: "there are too many certificates up to the authority",
    26: "the certificate is not for this use",
    27: _UNKNOWN_AUTHORITY,
    28: "the authority refuses such a use",
    32: _NO_AUTHORITY,
    62: _OTHER_NAME,
    64: _OTHER_NAME,
    66: "the key of the certificate is too short",
    67: "the key of the authority is too short",
    68: "the certificate is signed with too weak a hash",
    79: _NO_AUTHORITY,
}
"""X509_V_ERR_* of OpenSSL's x509_vfy.h."""
_NOT_TLS: Final = "what it speaks is not TLS"
_TOO_OLD: Final = "it speaks no version of TLS from 1.2 on"
_NO_CIPHER: Final = "it has no cipher in common with this machine"
_SYMBOLS: Final[Mapping[str, str]] = {
    "BAD_RECORD_TYPE": _NOT_TLS,
    "HTTP_REQUEST": _NOT_TLS,
    "INVALID_RECORD_TYPE": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "RECORD_TOO_SMALL": _NOT_TLS,
    "UNKNOWN_PROTOCOL": _NOT_TLS,
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "UNSUPPORTED_PROTOCOL": _TOO_OLD,
    "VERSION_TOO_LOW": _TOO_OLD,
    "NO_CIPHERS_AVAILABLE": _NO_CIPHER,
    "NO_SHARED_CIPHER": _NO_CIPHER,
    "WRONG_CIPHER_RETURNED": _NO_CIPHER,
    "DH_KEY_TOO_SMALL": "its key for the handshake is too short",
    "EE_KEY_TOO_SMALL": "the key of the certificate is too short",
    "CA_KEY_TOO_SMALL": "the key of the authority is too short",
    "CA_MD_TOO_WEAK": "the certificate is signed with too weak a hash",
    "KEY_VALUES_MISMATCH": "the key does not match the certificate",
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED": "it knows no secure renegotiation",
}
"""SSL_R_* and X509_R_*: what this end finds wrong."""
_ALERTS: Final[Mapping[str, str]] = {
    "ACCESS_DENIED": "it denies access with this certificate",
    "BAD_CERTIFICATE": "it refuses the certificate it is shown",
    "BAD_RECORD_MAC": "it cannot decrypt what it is sent",
    "CERTIFICATE_EXPIRED": "it finds the certificate it is shown expired",
    "CERTIFICATE_REQUIRED": "it wants to be shown a certificate",
    "CERTIFICATE_REVOKED": "it finds the certificate it is shown revoked",
    "CERTIFICATE_UNKNOWN": "it refuses the certificate it is shown",
    "DECODE_ERROR": "it cannot read what it is sent",
    "DECRYPTION_FAILED": "it cannot decrypt what it is sent",
    "DECRYPT_ERROR": "it cannot decrypt what it is sent",
    "HANDSHAKE_FAILURE": "it refuses the handshake",
    "ILLEGAL_PARAMETER": "it refuses the handshake",
    "INSUFFICIENT_SECURITY": "it wants stronger ciphers",
    "INTERNAL_ERROR": "it has an internal error",
    "NO_APPLICATION_PROTOCOL": "it does not speak http/1.1",
    "PROTOCOL_VERSION": "it speaks no version of TLS that this machine speaks",
    "UNEXPECTED_MESSAGE": "it refuses the handshake",
    "UNKNOWN_CA": "it does not know the authority of the certificate it is shown",
    "UNRECOGNIZED_NAME": "it knows no server of that name",
    "UNSUPPORTED_CERTIFICATE": "it refuses the certificate it is shown",
    "USER_CANCELLED": "it gives up",
}
"""What the other end finds wrong (RFC 8446, 6.2)."""
_ALERT: Final = re.compile(r"[A-Z0-9]+_ALERT_([A-Z_]+)")
_SYMBOL: Final = re.compile(r"[A-Z0-9_]+")


def tls_reason_of(error: ssl.SSLError, name: str = "the server") -> str:
    """What went wrong, as in the middle of a sentence; "it" is the other end, whom a certificate should ``name``."""
    number = getattr(error, "verify_code", None)
    if number is not None:
        return _VERIFY.get(number, f"the certificate is not accepted (verify error {number})").format(name=name)
    symbol = error.reason or ""
    alert = _ALERT.fullmatch(symbol)
    if alert is not None and alert[1] in _ALERTS:
        return _ALERTS[alert[1]]
    if symbol in _SYMBOLS:
        return _SYMBOLS[symbol]
    return f"it fails with {symbol if _SYMBOL.fullmatch(symbol) else f'error {error.errno}'}"
