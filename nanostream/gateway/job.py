"""What one consumer of a gateway wants rendered, and how far it has come."""

from __future__ import annotations

import collections
import uuid
from typing import TYPE_CHECKING

from nanostream.stream.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nanostream.formats.encoded import Encoded
    from nanostream.gateway.order import Order

__all__ = ["Job"]


class Job:
    """Samples of some indices, in order.

    `deliver` gets lists of samples, then None, or the error that ends it; in the desk's thread.
    ahead: samples to have asked for and not yet `consumed`.
    """

    def __init__(
        self,
        order: Order,
        indices: Iterable[range],
        *,
        ahead: int,
        deliver: Callable[[list[Encoded] | Exception | None], None],
    ) -> None:
        self.order = order
        self.name = uuid.uuid4().hex
        self.terms = order.terms()
        self.deliver = deliver
        self.consumed = 0
        self.cancelled = False
        self.window: collections.deque[Lease] = collections.deque()
        self._indices = iter(indices)
        self._rest = range(0)
        self._taken = 0
        self._ahead = ahead
        self.ended = False

    def next_lease(self, size: int) -> Lease | None:
        """What somebody has to be asked for: a lease that nobody has, or a new one of at most `size` samples."""
        for lease in self.window:
            if lease.unasked:
                return lease
        room = self._ahead - (self._taken - self.consumed)
        if self.ended or room < 1:
            return None
        if not self._rest:
            rest = next(self._indices, None)
            if rest is None:
                self.ended = True
                return None
            self._rest = rest
        lease = Lease(self._rest[: min(size, room)])
        self._rest = self._rest[len(lease.left) :]
        self._taken += len(lease.left)
        self.window.append(lease)
        return lease

    def flush(self, count: Callable[[int], None]) -> bool:
        """Deliver what is there; whether that was the end. count: told the bytes of each sample."""
        while self.window:
            head = self.window[0]
            if head.samples:
                for sample in head.samples:
                    count(sample.nbytes)
                self.deliver(list(head.samples))  # type: ignore[arg-type]  # workers of a desk encode
                head.samples.clear()
            if head.error is not None:
                self.deliver(head.error)
                return True
            if head.left:
                return False
            self.window.popleft()
        if self.ended:
            self.deliver(None)
        return self.ended
