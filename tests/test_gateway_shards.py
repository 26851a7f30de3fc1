"""Shards over HTTP: the bytes of an export, once, early, bounded, and plain when something dies."""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import io
import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from nanostream.errors import StoreError
from nanostream.export import export
from nanostream.gateway.config import GatewayConfig
from nanostream.gateway.server import serving
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

RECIPE = FakeRecipe(height=32, width=24)
SIZE = 12


def config(**more: Any) -> GatewayConfig:
    settings = {"recipes": (RECIPE,), "port": 0, "workers": 0, "synth": FakeSynth, "shard_size": SIZE}
    return GatewayConfig(**{**settings, **more})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(config()) as address:
        yield f"{address}/v1/fake"


def get(url: str, *, method: str = "GET", **headers: str) -> requests.Response:
    return requests.request(method, url, headers=headers, timeout=60)


def test_a_shard_is_an_exported_one(url: str, tmp_path: pathlib.Path) -> None:
    """Shard 2 has the very bytes of shard 2 of an export, streamed and from the cache."""
    export(RECIPE, format="webdataset", count=3 * SIZE, shard_size=SIZE, out=tmp_path / "set", seed=5, synth=FakeSynth)
    want = (tmp_path / "set" / "000002.tar").read_bytes()
    streamed, whole = get(f"{url}/shards/5/000002.tar"), get(f"{url}/shards/5/000002.tar")
    assert streamed.content == whole.content == want
    assert "content-length" not in streamed.headers
    assert int(whole.headers["content-length"]) == len(want)
    assert streamed.headers["etag"] == whole.headers["etag"]


def test_range_and_head_render_first(url: str) -> None:
    """A range and a HEAD of a shard that nobody has rendered know its length, and give its bytes."""
    head = get(f"{url}/shards/6/000000.tar", method="HEAD")
    length = int(head.headers["content-length"])
    assert (head.status_code, head.content) == (200, b"")
    part = get(f"{url}/shards/6/000001.tar", Range="bytes=512-1535")
    whole = get(f"{url}/shards/6/000001.tar").content
    assert (part.status_code, part.content) == (206, whole[512:1536])
    assert part.headers["content-range"] == f"bytes 512-1535/{len(whole)}"
    assert get(f"{url}/shards/6/000001.tar", Range="bytes=-10").content == whole[-10:]
    assert get(f"{url}/shards/6/000001.tar", Range=f"bytes={len(whole) - 5}-").content == whole[-5:]
    assert get(f"{url}/shards/6/000000.tar", Range=f"bytes={length}-").status_code == 416
    for nonsense in ("bytes=9-3", "bytes=a-b", "pages=1-2", "bytes=0-1,5-6", "bytes=-"):
        assert get(f"{url}/shards/6/000001.tar", Range=nonsense).content == whole


def test_unchanged_shard_is_not_sent_again(url: str) -> None:
    """If-None-Match with the ETag is answered 304; If-Range with another tag gives the whole."""
    first = get(f"{url}/shards/7/000000.tar")
    tag = first.headers["etag"]
    again = get(f"{url}/shards/7/000000.tar", **{"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    other = get(f"{url}/shards/7/000000.tar", Range="bytes=0-9", **{"If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, first.content)
    assert get(f"{url}/shards/7/000000.tar", Range="bytes=0-9", **{"If-Range": tag}).status_code == 206


def test_tags_differ_with_everything_that_decides_the_bytes(url: str) -> None:
    """Another seed, another number, another recipe and another shard size have other ETags."""
    tags = [get(f"{url}/shards/{place}.tar").headers["etag"] for place in ("8/000000", "8/000001", "9/000000")]
    for other in (config(shard_size=SIZE + 1), config(recipes=(FakeRecipe(height=32, width=32),))):
        with serving(other) as address:
            tags.append(get(f"{address}/v1/fake/shards/8/000000.tar").headers["etag"])
    assert len(set(tags)) == len(tags)


def test_two_gateways_give_the_same_shard(url: str) -> None:
    """A second gateway of the same recipe gives the same bytes and the same ETag."""
    with serving(config()) as other:
        one, two = get(f"{url}/shards/3/000004.tar"), get(f"{other}/v1/fake/shards/3/000004.tar")
    assert one.content == two.content
    assert one.headers["etag"] == two.headers["etag"]


def rendered(address: str) -> int:
    return requests.get(f"{address}/live", timeout=60).json()["rendered"]


def test_a_shard_is_rendered_once_for_all_and_its_first_byte_is_early() -> None:
    """Six clients at once cost one rendering; the first bytes come long before the last sample is rendered."""
    synth = functools.partial(FakeSynth, seconds=0.1)
    with serving(config(synth=synth, shard_size=20)) as address, concurrent.futures.ThreadPoolExecutor(6) as threads:

        def read(_: int) -> tuple[str, float, float]:
            began = time.monotonic()
            answer = requests.get(f"{address}/v1/fake/shards/0/000001.tar", stream=True, timeout=60)
            sha, first = hashlib.sha256(), None
            for data in answer.iter_content(4096):
                first = first or time.monotonic() - began
                sha.update(data)
            assert first is not None
            return sha.hexdigest(), first, time.monotonic() - began

        digests, firsts, wholes = zip(*threads.map(read, range(6)), strict=True)
        assert rendered(address) == 20
        assert len(set(digests)) == 1
        # 20 samples take 2 s; whoever waited for all of them would have its first byte then.
        assert max(firsts) < 0.5 * max(wholes)


def test_cache_is_bounded_and_survives_a_restart(tmp_path: pathlib.Path) -> None:
    """The folder never holds more than its limit, and what is in it is served again without a rendering."""
    one = len(requests_of(config()))
    limited = config(cache=tmp_path / "cache", cache_bytes=3 * one)
    with serving(limited) as address:
        for number in range(8):
            assert len(get(f"{address}/v1/fake/shards/0/{number:06d}.tar").content) == one
        kept = sorted((tmp_path / "cache").glob("*.tar"))
        assert 1 <= len(kept) <= 3
    (tmp_path / "cache" / "left.partial").write_bytes(b"half")
    with serving(limited) as address:
        get(f"{address}/v1/fake/shards/0/000007.tar")
        assert rendered(address) == 0
    assert not list((tmp_path / "cache").glob("*.partial"))


def requests_of(settings: GatewayConfig) -> bytes:
    with serving(settings) as address:
        return get(f"{address}/v1/fake/shards/0/000000.tar").content


def test_two_gateways_do_not_share_a_cache(tmp_path: pathlib.Path) -> None:
    """A second gateway on the same cache folder is refused."""
    with (
        serving(config(cache=tmp_path)),
        pytest.raises(StoreError, match="another one uses"),
        serving(config(cache=tmp_path)),
    ):
        pass


def test_damaged_cache_is_rendered_again(tmp_path: pathlib.Path) -> None:
    """A shard that was cut short on disk, or removed, is rendered again."""
    with serving(config(cache=tmp_path)) as address:
        want = get(f"{address}/v1/fake/shards/0/000000.tar").content
        (path,) = tmp_path.glob("*.tar")
        path.write_bytes(want[:1000])
        assert get(f"{address}/v1/fake/shards/0/000000.tar").content == want
        path.unlink()
        assert get(f"{address}/v1/fake/shards/0/000000.tar").content == want


def test_reader_that_leaves_ends_the_rendering(tmp_path: pathlib.Path) -> None:
    """A shard whose only reader has gone is rendered no further, leaves no file, and comes whole when asked again."""
    synth = functools.partial(FakeSynth, seconds=0.02)
    with serving(config(synth=synth, shard_size=500, cache=tmp_path)) as address:
        answer = requests.get(f"{address}/v1/fake/shards/0/000000.tar", stream=True, timeout=60)
        next(answer.iter_content(512))
        answer.close()
        until = time.monotonic() + 20
        while list(tmp_path.glob("*.partial")) and time.monotonic() < until:
            time.sleep(0.05)
        assert not list(tmp_path.glob("*.partial"))
        # What a worker had begun it may end.
        time.sleep(0.5)
        before = rendered(address)
        time.sleep(0.5)
        assert rendered(address) == before < 400
        assert not list(tmp_path.glob("*.tar"))
    with serving(config(cache=tmp_path)) as address:
        content = get(f"{address}/v1/fake/shards/0/000000.tar").content
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            assert len(tar.getnames()) == 3 * SIZE


def test_sample_that_cannot_be_rendered_cuts_the_shard_off() -> None:
    """A broken index late in a shard ends the connection, so that the client sees that something is missing."""
    with serving(config(synth=functools.partial(FakeSynth, broken={9}, seconds=0.05))) as address:
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            get(f"{address}/v1/fake/shards/0/000000.tar")
        assert get(f"{address}/v1/fake/shards/0/000001.tar").status_code == 200
    with serving(config(synth=functools.partial(FakeSynth, broken={0}))) as address:
        answer = get(f"{address}/v1/fake/shards/0/000000.tar")
        assert answer.status_code == 500
        assert "sample 0 of recipe 'fake'" in answer.json()["error"]


def test_only_an_export_s_names_are_shards(url: str) -> None:
    """Other names of the same number, and what leads elsewhere, are no shards."""
    arabic = "\u0661" * 6 + ".tar"
    for name in ("0.tar", "0000001.tar", "000001", "000001.tar.gz", "-00001.tar", arabic, "9" * 13 + ".tar"):
        assert get(f"{url}/shards/0/{name}").status_code == 404
    assert get(f"{url}/shards/0/..%2f..%2fetc%2fpasswd").status_code == 404
