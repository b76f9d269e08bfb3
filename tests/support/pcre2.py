"""PCRE2 itself, the library that nginx has its regular expressions from."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Sequence

from tests.support.requirements import missing

_CASELESS = 8
_UNSET = ctypes.c_size_t(-1).value


def _library() -> ctypes.CDLL:
    name = ctypes.util.find_library("pcre2-8") or missing("libpcre2-8")
    library = ctypes.CDLL(name)
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    library.pcre2_compile_8.restype = pointer
    library.pcre2_compile_8.argtypes = [ctypes.c_char_p, size, ctypes.c_uint32, pointer, pointer, pointer]
    library.pcre2_match_data_create_from_pattern_8.restype = pointer
    library.pcre2_match_data_create_from_pattern_8.argtypes = [pointer, pointer]
    library.pcre2_match_8.argtypes = [pointer, ctypes.c_char_p, size, size, ctypes.c_uint32, pointer, pointer]
    library.pcre2_get_ovector_count_8.argtypes = [pointer]
    library.pcre2_get_ovector_pointer_8.restype = ctypes.POINTER(size)
    library.pcre2_get_ovector_pointer_8.argtypes = [pointer]
    library.pcre2_match_data_free_8.argtypes = [pointer]
    library.pcre2_code_free_8.argtypes = [pointer]
    return library


class Pcre2:
    """Compiles and searches as nginx does."""

    def __init__(self) -> None:
        self._library = _library()

    def accepts(self, pattern: bytes, caseless: bool) -> bool:
        code = self._compiled(pattern, caseless)
        self._library.pcre2_code_free_8(code)
        return code is not None

    def search(self, pattern: bytes, caseless: bool, text: bytes) -> Sequence[bytes | None] | None:
        """What all and each group have matched; None: nothing has. Raises :class:`ValueError` for no pattern."""
        code = self._compiled(pattern, caseless)
        if code is None:
            raise ValueError("PCRE2 refuses it")
        data = self._library.pcre2_match_data_create_from_pattern_8(code, None)
        try:
            status = self._library.pcre2_match_8(code, text, len(text), 0, 0, data, None)
            assert status >= -1, f"PCRE2 gave up: {status}"
            if status < 0:
                return None
            ends = self._library.pcre2_get_ovector_pointer_8(data)
            count = self._library.pcre2_get_ovector_count_8(data)
            spans = [(ends[2 * i], ends[2 * i + 1]) for i in range(count)]
            return [None if begin == _UNSET else text[begin:end] for begin, end in spans]
        finally:
            self._library.pcre2_match_data_free_8(data)
            self._library.pcre2_code_free_8(code)

    def _compiled(self, pattern: bytes, caseless: bool) -> int | None:
        error, offset = ctypes.c_int(), ctypes.c_size_t()
        code: int | None = self._library.pcre2_compile_8(
            pattern, len(pattern), _CASELESS if caseless else 0, ctypes.byref(error), ctypes.byref(offset), None
        )
        return code
