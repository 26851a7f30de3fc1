"""JSON files that carry the SHA-256 of themselves, so that a change in them is seen."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NoReturn

from nanostream.errors import StoreError
from nanostream.formats.codec import MAX_FIELD_BYTES, dump_json, parse_json

if TYPE_CHECKING:
    from nanostream.formats.folder import Folder

__all__ = ["damaged", "read_json", "sealed"]


def sealed(values: dict[str, Any]) -> bytes:
    """JSON that carries the SHA-256 of itself without it."""
    return dump_json({**values, "seal": hashlib.sha256(dump_json(values)).hexdigest()}) + b"\n"


def read_json(folder: Folder, name: str) -> dict[str, Any]:
    """What `sealed` wrote into a file. Raises StoreError if it is missing or was changed."""
    # One byte more than any may have; the parser refuses it with the rest unread.
    values = parse_json(folder.read(name, 0, MAX_FIELD_BYTES + 1), f"{name} of {folder}")
    seal = values.pop("seal", None)
    if seal != hashlib.sha256(dump_json(values)).hexdigest():
        damaged(f"{name} of {folder}", "the SHA-256 of its content as 'seal'", seal)
    return values


def damaged(name: str, expected: str, got: object) -> NoReturn:
    """Raise the StoreError of a file that does not hold what it should."""
    msg = f"{name} is damaged: expected {expected}, got {got!r}; export or copy it again"
    raise StoreError(msg)
