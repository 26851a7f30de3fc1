"""Build the reference site from the docstrings; a page that fails or a link that leads nowhere is an error.

python .ci/site.py FOLDER
"""

from __future__ import annotations

import argparse
import html.parser
import pathlib
import pkgutil
import sys
import urllib.parse
import warnings

import pdoc

import nanostream


class Page(html.parser.HTMLParser):
    """What a page links to, and what it can be linked by."""

    def __init__(self, file: pathlib.Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element's address and its name."""
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name == "href" and value and tag == "a":
                self.links.append(value)


def modules() -> list[str]:
    """Every module of the package: without their names pdoc keeps to what a package exports."""
    found = pkgutil.walk_packages(nanostream.__path__, "nanostream.")
    return ["nanostream", *(module.name for module in found)]


def dead_links(folder: pathlib.Path) -> list[str]:
    """Page and address of each link to a file or an anchor that is not there; other sites are not asked."""
    pages = {file.resolve(): Page(file) for file in folder.rglob("*.html")}
    dead = []
    for file, page in pages.items():
        for link in page.links:
            where = urllib.parse.urlsplit(link)
            # pdoc links inherited members to their base class also where that, or the member, is private and so not
            # there.
            private = any(part.startswith("_") for part in where.fragment.split("."))
            if where.scheme or where.netloc or private:
                continue
            target = pages.get((file.parent / urllib.parse.unquote(where.path)).resolve() if where.path else file)
            if target is None or urllib.parse.unquote(where.fragment) not in target.anchors:
                dead.append(f"{file.relative_to(folder.resolve())}: {link}")
    return sorted(set(dead))


def main(folder: pathlib.Path) -> int:
    """Build, check, and say how much there is."""
    warnings.simplefilter("error")
    for usual in ("The module specification .* adds a module", "Error parsing type annotation"):
        # A package brings its modules along; and what is imported for annotations alone stays as it is written.
        warnings.filterwarnings("ignore", message=usual)
    names = modules()
    pdoc.pdoc(*names, output_directory=folder)
    dead = dead_links(folder)
    print("\n".join([*dead, f"{len(names)} modules in {folder}, {len(dead)} dead links"]))
    return 1 if dead else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    sys.exit(main(parser.parse_args().folder))
