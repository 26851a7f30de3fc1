"""Sets on an S3 server, through the very client that a user's address opens."""

from __future__ import annotations

import errno
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
import s3fs
from stored_samples import contents

from nanostream.cli.app import main
from nanostream.errors import StoreError
from nanostream.export import FORMATS, export, export_window
from nanostream.formats.verify import verify
from nanostream.stored import ShardDataset, ZarrDataset
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from nanostream.sample import Sample

_RECIPE = FakeRecipe(height=24, width=40)
_DATASETS: dict[str, Any] = {"webdataset": ShardDataset, "zarr": ZarrDataset}

# botocore and moto use what later versions of Python and of each other will drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Server:
    """An S3 server of moto's that can be stopped, and started again with what it held."""

    def __init__(self) -> None:
        self._port = 0
        self.start()

    def start(self) -> None:
        """Listen, at the port of before."""
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(port=self._port, verbose=False)
        self._server.start()
        _, self._port = self._server.get_host_and_port()

    def stop(self) -> None:
        """Answer no more."""
        self._server.stop()

    @property
    def address(self) -> str:
        """Address for clients."""
        return f"http://127.0.0.1:{self._port}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A running server with a bucket, which s3fs finds as a user's own is found: by the environment."""
    one = Server()
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**dict.fromkeys(names, "testing"), "AWS_DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", one.address)
        # Half a minute of hope is right for a user, and long for a test.
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        patch.setattr(s3fs.S3FileSystem, "retries", 1)
        s3fs.S3FileSystem.clear_instance_cache()
        files = fsspec.filesystem("s3")
        files.mkdir("bucket")
        yield one
        s3fs.S3FileSystem.clear_instance_cache()
    one.stop()


@pytest.fixture
def bucket(server: Server) -> Iterator[str]:
    """Address of a bucket that is empty."""
    yield "s3://bucket"
    files = fsspec.filesystem("s3")
    files.invalidate_cache()
    for path in files.find("bucket"):
        files.rm_file(path)


def exported(form: str, out: Any, **options: Any) -> Any:
    return export(_RECIPE, format=form, out=out, **{"count": 12, "shard_size": 4, "synth": FakeSynth, **options})


@pytest.mark.parametrize("form", FORMATS)
def test_lost_connection_and_going_on(form: str, server: Server, bucket: str, tmp_path: pathlib.Path) -> None:
    """A server that goes away ends in one sentence and whole parts only; going on gives a local export's files."""

    class Unplugged(FakeSynth):
        def render(self, *, seed: int, index: int) -> Sample:
            if index == 6:
                server.stop()
            return super().render(seed=seed, index=index)

    exported(form, tmp_path / "set")
    with pytest.raises(StoreError, match=r"^expected to .* s3://bucket/set/.*, but .*") as caught:
        exported(form, f"{bucket}/set", synth=Unplugged)
    assert "\n" not in str(caught.value)
    server.start()
    whole = contents(tmp_path / "set")
    left = {name: digest for name, digest in contents(f"{bucket}/set").items() if not name.endswith(".part")}
    assert left.items() <= whole.items()
    assert verify(f"{bucket}/set", decode=False)
    exported(form, f"{bucket}/set")
    assert contents(f"{bucket}/set") == whole
    assert main(["verify", f"{bucket}/set"]) == 0


@pytest.mark.parametrize("form", sorted(_DATASETS))
def test_batches_from_the_bucket(form: str, bucket: str, tmp_path: pathlib.Path) -> None:
    """Datasets read a set on S3 through their cache, batch by batch as from a local folder."""
    for out in (tmp_path / "set", f"{bucket}/set"):
        exported(form, out)
    afar = _DATASETS[form](f"{bucket}/set", batch_size=5, cache=tmp_path / "cache")
    for batch, other in zip(afar, _DATASETS[form](tmp_path / "set", batch_size=5), strict=True):
        assert batch["index"].tolist() == other["index"].tolist()
        assert bool((batch["mask"] == other["mask"]).all())
    assert list((tmp_path / "cache").iterdir())


_ZARR = """
import sys, zarr
root = zarr.open_group(sys.argv[1], mode="r", use_consolidated=True)
for row in (11, 0, 5):
    print(int(root["image"][row].sum(dtype="i8")), int(root["mask"][row].sum(dtype="i8")))
"""


def test_zarr_python_reads_the_bucket(bucket: str) -> None:
    """zarr-python, in a process of its own, opens the store on S3 by its address alone."""
    exported("zarr", f"{bucket}/set")
    command = [sys.executable, "-W", "ignore", "-c", _ZARR, f"{bucket}/set"]
    shown = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    ones = [FakeSynth(_RECIPE).render(seed=0, index=row) for row in (11, 0, 5)]
    expected = [f"{one.image.sum(dtype='i8')} {one.mask.sum(dtype='i8')}" for one in ones]
    assert shown.splitlines() == expected


def test_ring_in_the_bucket(bucket: str) -> None:
    """A ring on S3 holds the latest samples within its bytes, and goes on."""
    for stop in (100, 200):
        made = export_window(_RECIPE, out=f"{bucket}/ring", window=200_000, slots=4, count=100, synth=FakeSynth)
        assert made == stop
    files = fsspec.filesystem("s3")
    files.invalidate_cache()
    sizes = files.find("bucket/ring", detail=True)
    assert len([name for name in sizes if name.endswith(".tar")]) == 4
    assert sum(entry["size"] for entry in sizes.values()) <= 200_000


def test_wrong_address_and_rights_are_one_sentence(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that is not there, and a server that refuses, are StoreErrors of one line."""
    with pytest.raises(StoreError, match="name a folder that export wrote") as caught:
        ShardDataset(f"{bucket}/none")
    assert "\n" not in str(caught.value)

    with pytest.raises(StoreError, match=r"^expected to write s3://typo/set/nanostream.json, but .*bucket") as caught:
        exported("webdataset", "s3://typo/set")
    assert "\n" not in str(caught.value)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Access Denied")

    monkeypatch.setattr(fsspec.filesystem("s3"), "pipe", refused)
    with pytest.raises(StoreError, match=r"^expected to write s3://bucket/set/nanostream.json, but .*Access Denied"):
        exported("webdataset", f"{bucket}/set")
