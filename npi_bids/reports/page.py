"""Rendering of pages and texts from templates; all HTML is in templates/."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from npi_bids.parcellation.atlas_table import read_atlas_table
from npi_bids.reports.components import GroupPage, IndexPage, SubjectPage
from npi_bids.wording import count_noun, spell_number

# In this order: the last one starts the others.
_SCRIPTS = ("matrix.js", "cortex.js", "tables.js", "page.js")
# Where the references of the atlases belong among the others.
_ATLASES = "@comment{atlases: see atlases.json}"


def subject_page(page: SubjectPage) -> str:
    """Return the page of one subject: one file, no network."""
    return render("subject.html.j2", page)


def group_page(page: GroupPage) -> str:
    """Return the group's page: one file, no network."""
    return render("group.html.j2", page)


def index_page(page: IndexPage) -> str:
    """Return the page that lists all subjects: one file, no network."""
    return render("index.html.j2", page)


def render(template: str, page: object) -> str:
    """Return a page from its template, with the style sheet and the script embedded."""
    compiled = _environment().get_template(template)
    return compiled.render(page=page, css=_asset("report.css"), script=_script())


def methods_text(fields: Mapping[str, object]) -> str:
    """Return the methods text in Markdown, with its numbers from ``fields``."""
    text = (
        _environment()
        .get_template("methods.md.j2")
        .render(**fields, count=count_noun, spell=spell_number)
    )
    # One line per paragraph: the template breaks lines for its own readers.
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
    return "\n\n".join(part for part in paragraphs if part) + "\n"


def bibliography(text: str) -> str:
    """Return the references that a text cites as BibTeX."""
    cited = set(re.findall(r"@([A-Za-z]+\d{4})", text))
    references = [entry.strip() for entry in _references()
                  if entry.partition("{")[2].partition(",")[0] in cited]  # fmt: skip
    return "\n\n".join(references) + "\n"


def _references() -> list[str]:
    """Return all references as BibTeX; those of the atlases are in their table."""
    stored = (files("npi_bids.data") / "boilerplate.bib").read_text(encoding="utf-8")
    atlases = "\n\n".join("\n".join(entry["bibtex"]) for entry in read_atlas_table().values())
    return re.split(r"\n(?=@)", stored.replace(_ATLASES, atlases))


@lru_cache(maxsize=1)
def _script() -> str:
    """Return the scripts of a page as one, whose names nothing else on the page can meet."""
    parts = "".join(_asset(name) for name in _SCRIPTS)
    return f'"use strict";\n(function () {{\n{parts}}})();'


@lru_cache(maxsize=16)
def _asset(name: str) -> str:
    return (files("npi_bids.reports.templates") / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)  # which keeps compiled templates
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("npi_bids.reports", "templates"),
        autoescape=select_autoescape(("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
