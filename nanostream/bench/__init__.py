"""What `nanostream bench` measures on the user's machine."""

from __future__ import annotations
