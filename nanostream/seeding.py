"""Independent random numbers for each sample and each purpose, from counters alone.

A sample is a pure function of (recipe, seed, index), so nothing here keeps state: Philox is keyed
with the seed and the purpose, and its counter is set from the index.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

import enum
import operator

import numpy as np

from nanostream.errors import SampleIndexError

__all__ = ["MAX_INDEX", "MAX_SEED", "Purpose", "check_index", "check_seed", "generator"]

MAX_INDEX = 2**53
"""Largest sample index: every integer up to it is exact in JSON and in a float64."""

MAX_SEED = 2**53


class Purpose(enum.IntEnum):
    """What the numbers are for; each purpose of each sample has a sequence of its own."""

    SCENE = 1
    TEXTURE = 2
    RAYS = 4
    DETECTOR = 5
    TRAINING = 6


def check_index(index: int) -> int:
    """Return the index as int; raise SampleIndexError unless 0 <= index <= 2^53."""
    return _check(index, "index", MAX_INDEX)


def check_seed(seed: int) -> int:
    """Return the seed as int; raise SampleIndexError unless 0 <= seed <= 2^53."""
    return _check(seed, "seed", MAX_SEED)


def generator(seed: int, index: int, purpose: Purpose) -> np.random.Generator:
    """Random generator of one purpose of one sample; the same arguments give the same numbers."""
    # The index fills the counter's third word: 2^128 numbers lie between two indices.
    return np.random.Generator(
        np.random.Philox(key=[check_seed(seed), int(purpose)], counter=[0, 0, check_index(index), 0])
    )


def _check(value: int, name: str, most: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        msg = f"expected {name} to be a whole number from 0 to 2^53, got {value!r}"
        raise SampleIndexError(msg) from None
    if isinstance(value, bool) or not 0 <= number <= most:
        msg = f"expected {name} to be a whole number from 0 to 2^53, got {value!r}"
        raise SampleIndexError(msg)
    return number
