"""Pools of render workers: new ones, or those of another process joined."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from nanostream.errors import StreamError
from nanostream.stream import cluster
from nanostream.stream.crew import find, hire, known
from nanostream.stream.pool import Pool
from nanostream.stream.room import free_workers, most_workers
from nanostream.stream.roster import Roster

if TYPE_CHECKING:
    from nanostream.stream.crew import Terms
    from nanostream.stream.engine import Ticket
    from nanostream.stream.worker import Worker
    from nanostream.telemetry import StreamCounters

__all__ = ["join_pool", "start_pool"]


def start_pool(
    terms: Terms,
    *,
    span: tuple[int, int],
    name: str | None,
    address: str | None,
    most_resident_bytes: int | None,
    counters: StreamCounters,
) -> Pool:
    """New workers: as many as asked for, or fewer, with a warning, where Ray has no room for them.

    With a name, or with a span that leaves a choice, they belong to a keeper, and a pool of that
    name that is already there is joined. A span is asked for in full on a cluster that was joined:
    workers that wait there for room are what its autoscaler adds nodes for.
    """
    connection = cluster.acquire(address)
    made: list[Worker] = []
    try:
        token = uuid.uuid4().hex[:12]
        if name is not None or span[0] < span[1]:
            keeper = f"pool-{name or token}"
            if not known(keeper) and (span[0] == span[1] or connection.own is not None):
                try:
                    least = free_workers(span[0], terms.needs)
                    span = least, max(least, most_workers(span[1], terms.needs))
                except StreamError:
                    # Another consumer may have been quicker: then the room is taken by the pool itself.
                    if not known(keeper):
                        raise
            roster = Roster.open(keeper, terms, span=span, counters=counters)
            return Pool(connection, [], owner=False, roster=roster, most_resident_bytes=most_resident_bytes)
        count = free_workers(span[0], terms.needs)
        made.extend(hire(f"render-{token}-{number}", terms) for number in range(count))
    except BaseException:
        Pool(connection, made, owner=True).close()
        raise
    return Pool(connection, made, owner=True, most_resident_bytes=most_resident_bytes)


def join_pool(ticket: Ticket, *, counters: StreamCounters) -> Pool:
    """The workers of another process's pool; StreamError where they are gone."""
    connection = cluster.acquire(ticket.address)
    try:
        if ticket.keeper is not None:
            return Pool(connection, [], owner=False, roster=Roster.join(ticket.keeper, counters=counters))
        return Pool(connection, [find(name) for name in ticket.names], owner=False)
    except Exception as error:
        cluster.release(connection)
        msg = (
            "expected the render workers of the process that started this one, got none "
            f"({error}); keep its dataset open"
        )
        raise StreamError(msg) from error
