"""The Ray that this process uses: joined where there is one, else started here and removed again."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import multiprocessing
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from typing import TYPE_CHECKING

import ray

from nanostream.errors import StreamError
from nanostream.stream.engine import fork_error

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "NAMESPACE",
    "Cluster",
    "acquire",
    "authentication",
    "free_workers",
    "most_workers",
    "release",
    "usable_cpus",
]

NAMESPACE = "nanostream"
"""Ray namespace of the render workers' names."""

_STORE_BYTES = 1 << 30
_LEAST_BYTES = 100 << 20
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - looked at, not written to
_GONE_SECONDS = 10.0


@dataclasses.dataclass(slots=True)
class Cluster:
    """A connection to Ray. temp_dir: folder of a Ray that was started here, else None."""

    address: str
    joined: bool
    temp_dir: str | None
    pid: int
    users: int = 1
    reaper: subprocess.Popen[bytes] | None = None


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
        _current = Cluster(_gcs_address(address), joined=False, temp_dir=None, pid=os.getpid())
        return _current
    address = address or os.environ.get("RAY_ADDRESS")
    _current = _start() if address in (None, "", "local") else _join(str(address))
    atexit.register(_end_at_exit, _current)
    return _current


def release(cluster: Cluster) -> None:
    """Give the connection back; the last one to do so ends what `acquire` began."""
    cluster.users -= 1
    if cluster.users <= 0 and cluster.pid == os.getpid():
        _end(cluster)
        atexit.unregister(_end_at_exit)


def free_workers(wanted: int, *, num_cpus: float) -> int:
    """How many workers of `num_cpus` each Ray has room for, at most `wanted`; warns where it is fewer.

    Raises StreamError where there is room for none.
    """
    total = ray.cluster_resources().get("CPU", 0.0)
    most = wanted if num_cpus <= 0 else min(wanted, int(total / num_cpus))
    free = 0
    # Ray counts the CPUs of actors that have just ended as taken for a moment.
    for _ in range(50):
        cpus = ray.available_resources().get("CPU", 0.0)
        free = wanted if num_cpus <= 0 else min(wanted, int(cpus / num_cpus))
        if free >= most:
            break
        time.sleep(0.1)
    if free < 1:
        msg = (
            f"expected a free CPU in Ray for at least one render worker, got {total:g} CPUs, all taken; "
            "end other work there, or use engine='local'"
        )
        raise StreamError(msg)
    if free < wanted:
        msg = f"{wanted} render workers were asked for and Ray has free CPUs for {free}: going on with {free}"
        warnings.warn(msg, stacklevel=2)
    return free


def most_workers(wanted: int, cluster: Cluster, *, num_cpus: float) -> int:
    """How many workers there can ever be: a cluster that was joined may grow, a Ray started here cannot."""
    if cluster.temp_dir is None or num_cpus <= 0:
        return wanted
    return min(wanted, int(ray.cluster_resources().get("CPU", 0.0) / num_cpus))


def usable_cpus() -> int:
    """CPUs that this process may use, by its affinity and its control group."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = pathlib.Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cpus = min(cpus, max(1, int(quota) // int(period)))
    return cpus


def _start() -> Cluster:
    store_bytes = _store_bytes()
    # Ray puts Unix sockets below its folder, and their paths may have 107 bytes.
    root = tempfile.gettempdir()
    temp_dir = tempfile.mkdtemp(prefix="nanostream-", dir=root if len(root) < 24 else "/tmp")  # noqa: PLR2004, S108
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    reaper = _reaper(temp_dir)
    try:
        with _quiet():
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
    except (Exception, KeyboardInterrupt) as error:
        with contextlib.suppress(Exception):
            ray.shutdown()
        shutil.rmtree(temp_dir, ignore_errors=True)
        _dismiss(reaper)
        if isinstance(error, KeyboardInterrupt):
            raise
        msg = f"expected Ray to start on this machine, got {_line(error)}; use engine='local', or name a cluster"
        raise StreamError(msg) from error
    return Cluster(_gcs_address(None), joined=True, temp_dir=temp_dir, pid=os.getpid(), reaper=reaper)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Ray says of its own start off stderr; errors still come through."""
    logger = logging.getLogger("ray")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _reaper(temp_dir: str) -> subprocess.Popen[bytes]:
    """A process that outlives this one by a second, to end a Ray whose driver was killed."""
    script = pathlib.Path(__file__).with_name("reaper.py")
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(script), temp_dir],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _dismiss(reaper: subprocess.Popen[bytes]) -> None:
    assert reaper.stdin is not None
    with contextlib.suppress(OSError):
        reaper.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        reaper.wait(timeout=_GONE_SECONDS)


def _join(address: str) -> Cluster:
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, namespace=NAMESPACE)
    except Exception as error:
        msg = (
            f"expected a Ray cluster at {address!r} that this process may join, got {_line(error)}; "
            "check the address, Ray's version there, and the token"
        )
        raise StreamError(msg) from error
    return Cluster(_gcs_address(address), joined=True, temp_dir=None, pid=os.getpid())


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
    if cluster.joined and ray.is_initialized():
        ray.shutdown()
    if cluster.temp_dir is not None:
        # Ray's own processes write into the folder until they are gone.
        until = time.monotonic() + _GONE_SECONDS
        while pathlib.Path(cluster.temp_dir).exists() and time.monotonic() < until:
            shutil.rmtree(cluster.temp_dir, ignore_errors=True)
            time.sleep(0.05)
    if cluster.reaper is not None:
        _dismiss(cluster.reaper)


def _end_at_exit(cluster: Cluster) -> None:
    # A child that still talks to a Ray that is gone would hold up the end of this process for many
    # seconds; multiprocessing ends its daemons a moment later anyway.
    if cluster.temp_dir is not None and cluster.pid == os.getpid():
        for child in multiprocessing.active_children():
            if child.daemon:
                child.terminate()
    _end(cluster)


def _store_bytes() -> int:
    free = shutil.disk_usage(_SHARED_MEMORY).free if pathlib.Path(_SHARED_MEMORY).is_dir() else 2 * _STORE_BYTES
    if free < _LEAST_BYTES:
        msg = (
            f"expected {_LEAST_BYTES >> 20} MiB free in {_SHARED_MEMORY} for Ray's object store, got {free >> 20} MiB; "
            "free some, start the container with --shm-size=1g, or use engine='local'"
        )
        raise StreamError(msg)
    return max(_LEAST_BYTES, min(_STORE_BYTES, free // 2))


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
