"""Sizes as people write them."""

from __future__ import annotations

import re

from nanostream.errors import StoreError

__all__ = ["parse_bytes"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_bytes(text: str) -> int:
    """Bytes of a text such as "512MB", "20 GB" or "64MiB". Raises StoreError if it is no size."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?|)b?\s*", text.lower())
    nbytes = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if nbytes < 1:
        msg = f"expected a size such as 512MB or 20GB, got {text!r}: give a number and a unit"
        raise StoreError(msg)
    return nbytes
