"""Text files are UTF-8; any other is named as what it looks like, with the remedy."""

from __future__ import annotations

__all__ = ["why_not_text"]


def why_not_text(content: bytes) -> str:
    """Why a file is no UTF-8 text, as the end of a sentence; empty when it is one."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "is no UTF-8 text but UTF-16; save it as UTF-8"
    if b"\0" in content:
        return "is no UTF-8 text (it holds zero bytes, as UTF-16 does); save it as UTF-8"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        return f"is no UTF-8 text (byte 0x{byte:02x} in line {line}, perhaps Latin-1); save it as UTF-8"
    return ""
