"""Where an export may write: a new folder, one to go on in, or one to replace and to give back."""

from __future__ import annotations

import contextlib
import os
import pathlib
from typing import TYPE_CHECKING

from nanostream.errors import StoreError
from nanostream.formats.disk import PARTIAL, remove_tree, writing
from nanostream.formats.folder import LocalFolder
from nanostream.formats.seal import read_json
from nanostream.formats.sink import DESCRIPTION
from nanostream.formats.sinks import open_sink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanostream.formats.folder import Folder
    from nanostream.formats.provenance import Provenance
    from nanostream.formats.sink import Sink

__all__ = ["begun_export", "check_new", "differing", "replacing"]


def begun_export(
    folder: Folder,
    *,
    overwrite: bool,
    format: str,  # noqa: A002 as above
    start: int,
    count: int,
    seed: int,
    recipe_hash: str,
) -> Sink | None:
    """The same export, where the folder holds its beginning; None for a folder that is new or to be replaced."""
    if folder.size(DESCRIPTION) is not None:
        if isinstance(folder, LocalFolder):
            _check_no_links(folder)
        with contextlib.suppress(StoreError):
            sink, told = open_sink(folder), (format, recipe_hash, seed, start, count)
            own = sink.provenance
            if (sink.kind, own.recipe_hash, own.seed, own.start, own.count) == told and sink.unfinished():
                return sink
    check_new(folder, overwrite=overwrite)
    return None


def differing(begun: Sink, provenance: Provenance, shard_size: int | str | None) -> str | None:
    """Why an export that was begun cannot be gone on with: other versions or settings; None if it can."""
    size = begun.shard_size
    described = read_json(begun.folder, DESCRIPTION)
    expected = type(begun)(begun.folder, provenance, shard_size=size).description()
    others = sorted(key for key in expected if described.get(key) != expected[key])
    if isinstance(shard_size, int) and min(shard_size, provenance.count) != size:
        others.append("shard_size")
    if not others:
        return None
    return (
        f"expected to go on with the export in {begun.folder}, but it was begun with other {others[0]} "
        f"({described.get(others[0])!r}): begin again with overwrite (--overwrite)"
    )


def check_new(folder: Folder, *, overwrite: bool) -> None:
    """Raise StoreError unless the folder is new, empty, or may be replaced."""
    file = isinstance(folder, LocalFolder) and folder.path.is_file()
    unbegun = DESCRIPTION + PARTIAL
    if isinstance(folder, LocalFolder) and not file and set(folder.sizes()) == {unbegun}:
        # An export that was killed while it wrote its very first file.
        (folder.path / unbegun).unlink()
    if not file and not folder.sizes():
        return
    if not overwrite:
        msg = f"expected a new folder, but {folder} exists: choose another, or overwrite it (--overwrite)"
        raise StoreError(msg)
    stranger = "is a file" if file else _stranger(folder)
    if stranger is not None:
        msg = (
            f"expected to overwrite an export of nanostream's, but {folder} {stranger}: "
            "choose another folder, or remove it yourself"
        )
        raise StoreError(msg)


def _check_no_links(folder: LocalFolder) -> None:
    """Raise StoreError for a link, through which something outside the folder would be written."""
    for parent, folders, files in os.walk(folder.path):
        for name in (*folders, *files):
            path = pathlib.Path(parent, name)
            if path.is_symlink():
                msg = f"expected files that export wrote in {folder}, but {path} is a link: remove it, or go elsewhere"
                raise StoreError(msg)


def _stranger(folder: Folder) -> str | None:
    """Why the folder is not wholly ours to delete; None if it is."""
    if not isinstance(folder, LocalFolder):
        return "is not on this machine"
    try:
        ours = open_sink(folder).ours
    except StoreError:
        return "holds other things"
    others = sorted(entry.name for entry in folder.path.iterdir() if not ours.fullmatch(entry.name))
    return f"also holds {others[0]!r}" if others else None


@contextlib.contextmanager
def replacing(folder: Folder, *, resuming: bool) -> Iterator[None]:
    """Set what stands there aside until the block has ended well, and put it back if it has not.

    What an export that was killed has set aside goes once the one that goes on with it is whole.
    """
    if not isinstance(folder, LocalFolder):
        yield
        return
    path = folder.path
    aside = path.with_name(f"{path.name}.replaced")
    if not resuming and path.is_dir() and any(path.iterdir()):
        if aside.exists() and (stranger := _stranger(LocalFolder(aside))):
            msg = f"expected to set {path} aside as {aside}, but that {stranger}: move it away"
            raise StoreError(msg)
        with writing(path):
            if aside.exists():
                remove_tree(aside)
            path.replace(aside)
    replaced = aside.exists() and _stranger(LocalFolder(aside)) is None
    try:
        yield
    except BaseException:
        if replaced and not resuming:
            with writing(path):
                if path.exists():
                    remove_tree(path)
                aside.replace(path)
        raise
    if replaced:
        remove_tree(aside)
