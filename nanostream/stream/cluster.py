"""The Ray that this process uses: joined where there is one, else one of its own."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import ipaddress
import multiprocessing
import os
import re
import socket
import sys
import tempfile
import time
import urllib.parse
from typing import TYPE_CHECKING

import ray
from ray._private import ray_logging, services

from nanostream.errors import StreamError
from nanostream.stream.engine import fork_error
from nanostream.stream.own import NAMESPACE, OwnRay, alone, line_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Cluster", "acquire", "authentication", "release"]

_REACH_SECONDS = 5.0
_CHILDREN_SECONDS = 0.5
_WAIT = "RAY_gcs_server_port_wait_time_s"
_WAIT_SECONDS = "3"
_TRY = re.compile(rb"^\[.*(gcs_client\.cc|rpc_client\.h):")
# The pool sees to a worker that dies; Ray would tell of each on stdout, in the midst of what a command prints.
_NOTICE = re.compile(r"^A worker died or was killed while executing a task")


@dataclasses.dataclass(slots=True)
class Cluster:
    """A connection to Ray. joined: by `acquire`, not by the user before. own: the Ray that was started for it."""

    address: str
    joined: bool
    own: OwnRay | None = None
    pid: int = dataclasses.field(default_factory=os.getpid)
    users: int = 1


_current: Cluster | None = None


def authentication() -> dict[str, str]:
    """Environment that another process on this machine needs to be let into the same Ray."""
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH_")}


def acquire(address: str | None) -> Cluster:
    """Connect to the Ray at `address`, to the one this process holds, or to one started here.

    Without an address: the one held, the one that RAY_ADDRESS names, or a new one. Each call is
    paired with `release`. Raises ForkError in a process forked from one that holds Ray, StreamError
    where Ray cannot be reached or started.
    """
    global _current  # noqa: PLW0603 - Ray itself is one for each process
    if _current is not None and _current.pid != os.getpid():
        raise fork_error()
    if _current is not None and ray.is_initialized():
        _current.users += 1
        return _current
    if ray.is_initialized():
        _current = Cluster(_gcs_address(address), joined=False)
        return _current
    address = address or os.environ.get("RAY_ADDRESS")
    own = OwnRay.start() if address in (None, "", "local") else _join(str(address))
    with contextlib.suppress(AttributeError):
        ray_logging.stdout_deduplicator.skip_re = _NOTICE
    _current = Cluster(_gcs_address(address), joined=True, own=own)
    atexit.register(_end_at_exit, _current)
    return _current


def release(cluster: Cluster) -> None:
    """Give the connection back; the last one to do so ends what `acquire` began."""
    cluster.users -= 1
    if cluster.users <= 0 and cluster.pid == os.getpid():
        _end(cluster)
        atexit.unregister(_end_at_exit)


def _join(address: str) -> None:
    """Connect to a cluster; StreamError where it is not there, or does not let this process in."""
    try:
        with _silently(), alone() if _is_alone(address) else contextlib.nullcontext():
            try:
                _init(address)
            except ConnectionAbortedError:
                # Behind ray:// each client has a server of its own, whose port may be taken: the next one has another.
                _init(address)
    except Exception as error:
        msg = f"expected a Ray cluster at {address!r} that this process may join, got {_reason(error)}"
        raise StreamError(msg) from error


def _init(address: str) -> None:
    ray.init(address=address, log_to_driver=False, configure_logging=False, namespace=NAMESPACE)


def _is_alone(address: str) -> bool:
    """Whether what is at the address listens on 127.0.0.1 alone, as a Ray that OwnRay starts; OSError for nothing."""
    if address == "auto":
        address = services.canonicalize_bootstrap_address(address) or ""
    parts = urllib.parse.urlsplit(address if "//" in address else f"//{address}")
    if parts.port is None:
        return False
    # Where nobody listens Ray itself tries for minutes.
    with socket.create_connection((parts.hostname, parts.port), timeout=_REACH_SECONDS) as here:
        if not ipaddress.ip_address(here.getpeername()[0]).is_loopback or parts.scheme:
            return False
    with contextlib.suppress(OSError), socket.create_connection((ray.util.get_node_ip_address(), parts.port), 1.0):
        return False
    return True


def _reason(error: BaseException) -> str:
    """Why Ray lets nobody in, and what to do; Ray hides it behind other errors."""
    reasons: list[BaseException] = [error]
    while (before := reasons[-1].__cause__ or reasons[-1].__context__) is not None:
        reasons.append(before)
    text = " ".join(map(str, reasons))
    if "InvalidAuthToken" in text or "Authentication" in text:
        return (
            "one that wants another token, or one at all; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or have the "
            "cluster's token in ~/.ray/auth_token, before Ray is imported"
        )
    versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", text)
    if "ersion mismatch" in text or len(versions) > 1:
        there = f"one of Ray {versions[0][0]} and Python {versions[0][1]}" if versions else "one of another version"
        here = f"Ray {ray.__version__} and Python {sys.version.split()[0]}"
        return f"{there} where this process has {here}; install the same versions here and there"
    return f"{line_of(error)}; check the address, and that the cluster runs"


@contextlib.contextmanager
def _silently() -> Iterator[None]:
    """Try for a few seconds, and keep what Ray's library writes of each try off stderr."""
    before = os.environ.get(_WAIT)
    os.environ.setdefault(_WAIT, _WAIT_SECONDS)
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            if before is None:
                del os.environ[_WAIT]
            held.seek(0)
            os.write(2, b"".join(line for line in held if not _TRY.search(line)))


def _gcs_address(address: str | None) -> str:
    if address is not None and address.startswith("ray://"):
        return address
    return ray.get_runtime_context().gcs_address


def _end(cluster: Cluster) -> None:
    global _current  # noqa: PLW0603 - Ray itself is one for each process
    if cluster.pid != os.getpid():
        return
    if _current is cluster:
        _current = None
    if cluster.own is not None:
        cluster.own.end()
    elif cluster.joined and ray.is_initialized():
        ray.shutdown()


def _end_at_exit(cluster: Cluster) -> None:
    # A child that still talks to a Ray that is gone would hold up the end of this process for many seconds, and one
    # that is just joining it would write into its folder; multiprocessing ends its daemons a moment later anyway.
    if cluster.own is not None and cluster.pid == os.getpid():
        children = [child for child in multiprocessing.active_children() if child.daemon]
        for child in children:
            child.terminate()
        until = time.monotonic() + _CHILDREN_SECONDS
        for child in children:
            child.join(max(0.0, until - time.monotonic()))
            if child.is_alive():
                child.kill()
                child.join(_CHILDREN_SECONDS)
    _end(cluster)
