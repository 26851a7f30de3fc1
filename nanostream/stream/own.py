"""A Ray of this process's own: in a folder of its own, closed to other machines, removed again."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import ray
from ray._private import ray_constants, worker

from nanostream.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NAMESPACE", "OwnRay", "alone", "line_of", "usable_cpus"]

NAMESPACE = "nanostream"
"""Ray namespace of the render workers' names."""

_STORE_BYTES = 1 << 30
_LEAST_BYTES = 100 << 20
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - looked at, not written to
_PORTS = 16
_GONE_SECONDS = 10.0
_SOCKET_BYTES = 24


class OwnRay:
    """A Ray that was started here; temp_dir: all that it writes.

    It listens on 127.0.0.1 alone. A process of its own, see reaper.py, ends what is left of it, also
    where this one is killed.
    """

    def __init__(self, temp_dir: str, reaper: subprocess.Popen[bytes]) -> None:
        self.temp_dir = temp_dir
        self._reaper = reaper

    @classmethod
    def start(cls) -> OwnRay:
        """Start it; StreamError where there is no room or no port for it, or where it does not start."""
        store_bytes = _store_bytes()
        _check_ports()
        # Ray puts Unix sockets below its folder, and their paths may have 107 bytes.
        root = tempfile.gettempdir()
        root = root if len(root) < _SOCKET_BYTES else "/tmp"  # noqa: S108
        temp_dir = tempfile.mkdtemp(prefix="nanostream-", dir=root)
        own = cls(temp_dir, _reaper(temp_dir))
        try:
            with alone(), _quiet():
                ray.init(
                    address="local",
                    num_cpus=usable_cpus(),
                    include_dashboard=False,
                    log_to_driver=False,
                    configure_logging=False,
                    namespace=NAMESPACE,
                    object_store_memory=store_bytes,
                    _temp_dir=temp_dir,
                )
        except BaseException as error:
            own.end()
            if not isinstance(error, Exception):
                raise
            msg = f"expected Ray to start on this machine, got {line_of(error)}; use engine='local', or name a cluster"
            raise StreamError(msg) from error
        _dismiss_helpers()
        return own

    def end(self) -> None:
        """End it, and remove its folder."""
        # Ray would ask its processes one after the other, and wait for each; the reaper kills them all at once.
        node: Any = worker._global_node  # noqa: SLF001
        kill = getattr(node, "kill_all_processes", None)
        if kill is not None:
            node.kill_all_processes = lambda **_: None
        with contextlib.suppress(Exception):
            ray.shutdown()
        assert self._reaper.stdin is not None
        with contextlib.suppress(OSError):
            # It reads this instead of an unexpected end, and spares the driver.
            self._reaper.stdin.write(b"closed")
            self._reaper.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._reaper.wait(timeout=_GONE_SECONDS)
        if kill is not None:
            # They are this process's children; and where somebody has killed the reaper, they are still there.
            kill(check_alive=False)
        shutil.rmtree(self.temp_dir, ignore_errors=True)


def usable_cpus() -> int:
    """CPUs that this process may use, by its affinity and its control group."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = pathlib.Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cpus = min(cpus, max(1, int(quota) // int(period)))
    return cpus


def line_of(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Have Ray take 127.0.0.1 for this machine's address.

    It does so by itself on Windows and macOS, against their firewalls' questions; there is no argument for it.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Ray says of its own start off stderr; errors still come through."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logger = logging.getLogger("ray")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _dismiss_helpers() -> None:
    """End what Ray starts for clusters in the cloud, for its pages and for logs on the terminal.

    They take a percent of two cores and 300 MB, and the first of them a second to end.
    """
    node: Any = worker._global_node  # noqa: SLF001
    for name in ("monitor", "log_monitor", "dashboard"):
        with contextlib.suppress(AttributeError):
            getattr(node, f"kill_{name}")(check_alive=False)


def _reaper(temp_dir: str) -> subprocess.Popen[bytes]:
    """A process that outlives this one by a second, to end a Ray whose driver was killed."""
    script = pathlib.Path(__file__).with_name("reaper.py")
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(script), temp_dir, str(os.getpgrp())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _store_bytes() -> int:
    free = shutil.disk_usage(_SHARED_MEMORY).free if pathlib.Path(_SHARED_MEMORY).is_dir() else 2 * _STORE_BYTES
    if free < _LEAST_BYTES:
        msg = (
            f"expected {_LEAST_BYTES >> 20} MiB free in {_SHARED_MEMORY} for Ray's object store, got {free >> 20} MiB; "
            "free some, start the container with --shm-size=1g, or use engine='local'"
        )
        raise StreamError(msg)
    return max(_LEAST_BYTES, min(_STORE_BYTES, free // 2))


def _check_ports() -> None:
    with contextlib.ExitStack() as held:
        for count in range(_PORTS):
            try:
                held.enter_context(socket.create_server(("127.0.0.1", 0)))
            except OSError as error:
                msg = (
                    f"expected {_PORTS} free ports on 127.0.0.1 for Ray, got {count} ({error.strerror}); "
                    "end what holds them, widen net.ipv4.ip_local_port_range, or use engine='local'"
                )
                raise StreamError(msg) from error
