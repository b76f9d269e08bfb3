"""The head of an HTTP request, as nginx takes it: its line, its URI, its headers; pure.

``ngx_http_parse_request_line``, ``ngx_http_parse_complex_uri`` and ``ngx_http_parse_header_line``
(src/http/ngx_http_parse.c, nginx 1.22), and what ngx_http_request.c makes of them. A head is given
here up to its end (:func:`head_end`), in lines that end with CRLF (:func:`with_crlf`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from kubelb.config.virtual import host_name
from kubelb.reasons import ValueFault

_LINE: Final = re.compile(rb"([A-Z_-]+) +([^ ]+)(?: +(HTTP/([1-9][0-9]*)\.([0-9]{1,3})) *| *)")
_TARGET: Final = re.compile(
    rb"(?:[A-Za-z][A-Za-z0-9+.-]*://(\[[0-9A-Za-z:._~!$&'()*+,;=-]*\]|[A-Za-z0-9.-]*)(?::[0-9]*)?(?=[/?]|\Z)|(?=/))"
    rb"([^\0-\x20\x7f]*)"
)
_END: Final = re.compile(rb"\n\r?\n")
_HEADER: Final = re.compile(rb"([^\0-\x20\x7f:]+)(?::([^\0\r]*))?")
_NAME: Final = re.compile(rb"[A-Za-z0-9-]+")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})|%00")
_ONCE: Final = frozenset(
    b"authorization content_length content_range expect host if_match if_modified_since if_none_match if_range "
    b"if_unmodified_since transfer_encoding".split()
)


class Head(msgspec.Struct, frozen=True):
    """What of a request has a name. Of one with a fault only what comes before that."""

    line: bytes
    length: int
    """Bytes, with the empty line that ends it."""
    method: bytes = b""
    target: bytes = b""
    """Path and query as they came, without scheme and host."""
    path: bytes = b""
    """In its normal form."""
    query: bytes = b""
    protocol: bytes = b""
    """Such as ``HTTP/1.1``; of version 0.9 nothing."""
    version: tuple[int, int] = (0, 9)
    host: str = ""
    """What it asks for, of the form that :func:`kubelb.config.virtual.host_name` gives; "" where it need not."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Names in lower case, with underscores for hyphens."""
    keeps: bool = False
    """Whether the client will take another answer on the connection."""
    fault: int = 0
    """The status that refuses it; 0: there is nothing wrong."""

    def all(self, name: bytes) -> list[bytes]:
        return [value for one, value in self.headers if one == name]

    def first(self, name: bytes) -> bytes | None:
        return next(iter(self.all(name)), None)


def head_end(data: bytes) -> int:
    """How long the head is, with the empty line that ends it; 0: its end has not come yet."""
    match = _END.search(data)
    return match.end() if match else 0


def with_crlf(data: bytes) -> bytes:
    """A line may also end with LF alone."""
    return re.sub(rb"\r?\n", b"\r\n", data)


def too_large(data: bytes) -> Head:
    """Of a request whose head does not end in time: ``data`` is its beginning."""
    line, newline, _ = data.partition(b"\n")
    return Head(line.removesuffix(b"\r"), len(data), fault=400 if newline else 414)


def parse_head(data: bytes) -> Head:
    """``data`` ends with an empty line."""
    line, _, rest = data.partition(b"\r\n")
    head = Head(line, len(data), fault=400)
    match = _LINE.fullmatch(line)
    target = match and _TARGET.fullmatch(match[2])
    if match is None or target is None:
        return head
    # There may be thousands of digits, and two tell already that nobody knows that version.
    version = (int((match[4] or b"0")[:2]), int(match[5] or b"9"))
    head = msgspec.structs.replace(head, method=match[1], protocol=match[3] or b"", version=version)
    if version >= (2, 0):
        return msgspec.structs.replace(head, fault=505)
    try:
        head = _with_target(head, *target.groups())
        return _with_headers(head, rest)
    except ValueError:
        return head


def _with_target(head: Head, host: bytes | None, target: bytes) -> Head:
    before, _, _ = target.partition(b"#")
    path, _, query = before.partition(b"?")
    return msgspec.structs.replace(
        head,
        target=target or b"/",
        path=normal_path(path or b"/"),
        query=query,
        host="" if host is None else host_name(host.decode("latin-1")),
    )


def normal_path(path: bytes) -> bytes:
    """``path`` decoded, and without ``.``, ``..`` and repeated slashes. :class:`ValueFault`: it leads nowhere."""
    if _BAD_ESCAPE.search(path):
        raise ValueFault("no path")
    pieces = unquote_to_bytes(path).split(b"/")[1:]
    parts: list[bytes] = []
    for piece in pieces:
        if piece == b"..":
            if not parts:
                raise ValueFault("out of /")
            parts.pop()
        elif piece not in (b"", b"."):
            parts.append(piece)
    directory = bool(parts) and pieces[-1] in (b"", b".", b"..")
    return b"/" + b"/".join(parts) + (b"/" if directory else b"")


def _with_headers(head: Head, text: bytes) -> Head:
    headers = tuple(_headers(text))
    host = next((host_name(value.decode("latin-1")) for name, value in headers if name == b"host"), "")
    head = msgspec.structs.replace(head, headers=headers, host=head.host or host)
    if not _are_right([name for name, _ in headers], head.version):
        return head
    return msgspec.structs.replace(head, keeps=_keeps(head), fault=0)


def _are_right(names: Sequence[bytes], version: tuple[int, int]) -> bool:
    if version > (1, 0) and b"host" not in names:
        return False
    if b"transfer_encoding" in names and (version < (1, 1) or b"content_length" in names):
        return False
    return all(names.count(name) == 1 for name in _ONCE.intersection(names))


def _headers(text: bytes) -> list[tuple[bytes, bytes]]:
    """Those with other names are ignored, as nginx does unless it is told otherwise."""
    headers = []
    for line in filter(None, text.split(b"\r\n")):
        match = _HEADER.fullmatch(line)
        if match is None:
            raise ValueFault("no header")
        if _NAME.fullmatch(match[1]):
            headers.append((match[1].lower().replace(b"-", b"_"), (match[2] or b"").strip(b" ")))
    return headers


def _keeps(head: Head) -> bool:
    """The last header that says something counts (``ngx_http_process_connection``)."""
    for value in reversed([value.lower() for value in head.all(b"connection")]):
        if b"close" in value:
            return False
        if b"keep-alive" in value:
            return True
    return head.version > (1, 0)
