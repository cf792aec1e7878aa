"""What the results of the group level were computed from, so that it is not repeated in vain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from npi_bids.bids.made import MadeFiles, digest_groups
from npi_bids.bids.outputs import GROUP_TABLE, KINDS_FILE
from npi_bids.cli.parser import Request
from npi_bids.group.saving import list_results

_NAME = "groups"


class GroupRecord:
    """The sources of the group level as they are when this is created.

    Parameters
    ----------
    request
        As the user gave it.
    """

    def __init__(self, request: Request) -> None:
        self._out_dir, self._overwrite = request.out_dir, request.output.overwrite
        results = set(list_results(request.out_dir))
        self._digest = digest_groups(request.out_dir, results, *_list_sources(request))

    @property
    def is_current(self) -> bool:
        """Whether the results are there, unchanged, and were computed from the same sources."""
        made = MadeFiles(self._out_dir)
        return not self._overwrite and made.is_current(_NAME, self._digest)

    def save(self) -> None:
        """Record that the results in the dataset were computed from these sources."""
        tables = [path for name in (GROUP_TABLE, KINDS_FILE)
                  if (path := self._out_dir / name).is_file()]  # fmt: skip
        made = MadeFiles(self._out_dir)
        made.record(_NAME, self._digest, [*list_results(self._out_dir), *tables])
        made.save()


def _list_sources(request: Request) -> Iterator[str]:
    """Yield what groups depend on beside the output dataset: settings, and tables of the user.

    Participants of the input datasets are among them, because a model is checked with those before
    any subject is fitted.
    """
    yield repr(request.group)
    tables = (request.group.selection.exclude_file, request.group.group.network_table)
    for table in filter(None, tables):
        yield _read(Path(table))
    for root in (request.bids_dir, *request.query.datasets.values()):
        for dataset in (root, *sorted(root.glob("derivatives/*"))):
            yield _read(dataset / "participants.tsv")
            yield from sorted(path.name for path in dataset.glob("sub-*"))
            for path in sorted(dataset.glob("sub-*/sub-*_sessions.tsv")):
                yield _read(path)


def _read(path: Path) -> str:
    if not path.is_file():
        return ""
    return path.read_text(encoding="utf-8", errors="surrogateescape")
