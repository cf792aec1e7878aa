"""Check the internal links of the built site.

usage: python docs/check_links.py SITE [FOLDER ...]

Links into the folders, which a quick build leaves out, are not checked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_ATTRIBUTES = ("href", "src")


class _Page(HTMLParser):
    """The links of a page, and what they may point to within it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect links and anchors."""
        for name, value in attrs:
            if value and name in _ATTRIBUTES:
                self.links.append(value)
            if value and (name == "id" or (tag == "a" and name == "name")):
                self.anchors.add(value)


def find_broken_links(site: Path, left_out: Sequence[str] = ()) -> Iterator[str]:
    """Yield a sentence for each internal link whose file or anchor is missing.

    Parameters
    ----------
    site
        Root of the built site.
    left_out
        Folders of the site, links into which are not checked.
    """
    site = site.resolve()
    # Themes keep templates among their static files.
    files = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in files}
    for path, page in sorted(pages.items()):
        name = path.relative_to(site)
        for link in sorted(set(page.links)):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            if parts.path.partition("/")[0] in left_out:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_relative_to(site) or not target.exists():
                yield f"{name}: there is no {link}"
            elif (
                parts.fragment
                and target in pages
                and unquote(parts.fragment) not in (pages[target].anchors)
            ):
                yield f"{name}: {link} has no such place"


def main() -> int:
    """Print what is broken; return 1 if anything is."""
    broken = list(find_broken_links(Path(sys.argv[1]), sys.argv[2:]))
    sys.stdout.write("".join(f"{line}\n" for line in broken))
    sys.stdout.write(f"{len(broken)} broken links\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
