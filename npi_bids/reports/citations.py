"""The methods text with its references, as HTML and as LaTeX."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_CITED = re.compile(r"\[@([^\]]+)\]")
_ENTRY = re.compile(r"@(\w+)\{(\w+),(.*?)\n\}", re.DOTALL)
_FIELD = re.compile(r"^\s*(\w+)\s*=\s*\{(.*)\},?\s*$", re.MULTILINE)
# Accents of BibTeX as combining characters.
_ACCENTS = {'"': "\u0308", "'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303",
            "c": "\u0327", "v": "\u030c", "H": "\u030b", "=": "\u0304", ".": "\u0307"}  # fmt: skip
_ACCENTED = re.compile(r"\{?\\(?:([\"'`^~=.])\{?(\w)\}?|([cvH])\{(\w)\})\}?")
_LETTERS = {r"\o": "ø", r"\O": "Ø", r"\ss": "ß", r"\ae": "æ", r"\aa": "å", r"\l": "ł"}
_LETTER = re.compile(r"\{?(\\(?:ss|ae|aa|o|O|l))\b\}?")
_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
          "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
          "²": "$^2$", "≥": r"$\geq$", "≤": r"$\leq$"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference: its authors as they are cited, its year, and the whole entry in words."""

    authors: str
    year: str
    text: str
    doi: str = ""


def read_references(bibtex: str) -> dict[str, Reference]:
    r"""Return the references of a bibliography by key.

    >>> entry = "@article{a2020,\n  author = {M{\\\"u}ller, Eva},\n  year = {2020},\n}"
    >>> read_references(entry)["a2020"].authors
    'Müller'
    """
    references = {}
    for _, key, body in _ENTRY.findall(bibtex):
        fields = {name.lower(): _to_text(value) for name, value in _FIELD.findall(body)}
        names = [name.strip() for name in fields.get("author", key).split(" and ")]
        families = [name.partition(",")[0] for name in names]
        cited = families[0] if len(families) == 1 else (
            f"{families[0]} and {families[1]}" if len(families) == 2 else f"{families[0]} et al."
        )  # fmt: skip
        journal = fields.get("journal", fields.get("publisher", ""))
        place = " ".join(filter(None, (journal, fields.get("volume", ""))))
        pages = fields.get("pages", "").replace("--", "\u2013")
        parts = (f"{'; '.join(names)} ({fields.get('year', 'n.d.')})", fields.get("title", ""),
                 ": ".join(filter(None, (place, pages))))  # fmt: skip
        text = ". ".join(filter(None, parts)) + "."
        references[key] = Reference(cited, fields.get("year", "n.d."), text, fields.get("doi", ""))
    return references


def render_html(markdown: str, references: Mapping[str, Reference]) -> str:
    """Return the methods text as HTML, with citations by author and year, and their list.

    Parameters
    ----------
    markdown
        Paragraphs and headings, with ``[@key]`` for citations, ``*emphasis*`` and ```code```.
    references
        References by key; a key without one is left as it stands.
    """
    blocks = []
    for block in _split(markdown):
        level = len(block) - len(block.lstrip("#"))
        text = _mark_up(html.escape(block.lstrip("# "), quote=False),
                        lambda x: f"<em>{x}</em>", lambda x: f"<code>{x}</code>")  # fmt: skip
        text = _CITED.sub(lambda match: html.escape(_cite(match[1], references)), text)
        tag = f"h{min(level + 2, 6)}" if level else "p"
        blocks.append(f"<{tag}>{text}</{tag}>")
    cited = [references[key] for key in _keys(markdown) if key in references]
    if cited:
        items = "\n".join(f"<li>{_link(one)}</li>" for one in sorted(cited, key=_by_author))
        blocks.append(f"<h3>References</h3>\n<ul>\n{items}\n</ul>")
    return "\n".join(blocks) + "\n"


def render_latex(markdown: str) -> str:
    r"""Return the methods text as LaTeX, with ``\citep`` for natbib or biblatex.

    >>> print(render_latex("# Methods\n\nAt 50 % [@luo2025]."), end="")
    \section*{Methods}
    <BLANKLINE>
    At 50 \% \citep{luo2025}.
    <BLANKLINE>
    \bibliography{CITATION}
    """
    blocks = []
    for block in _split(markdown):
        level = len(block) - len(block.lstrip("#"))
        # Citations stand at the odd places; their keys are not to be escaped.
        parts = _CITED.split(block.lstrip("# "))
        parts[::2] = [_escape_latex(part) for part in parts[::2]]
        parts[1::2] = [rf"\citep{{{','.join(_keys(f'[@{part}]'))}}}" for part in parts[1::2]]
        text = "".join(parts)
        blocks.append(rf"\section*{{{text}}}" if level else text)
    return "\n\n".join([*blocks, r"\bibliography{CITATION}"]) + "\n"


def _escape_latex(text: str) -> str:
    """Escape what LaTeX would read, and replace the marks of emphasis and of code."""
    escaped = "".join(_LATEX.get(letter, letter) for letter in text)
    return _mark_up(escaped, lambda x: rf"\emph{{{x}}}", lambda x: rf"\texttt{{{x}}}")


def _split(markdown: str) -> list[str]:
    return [block.strip() for block in re.split(r"\n\s*\n", markdown) if block.strip()]


def _mark_up(text: str, emphasise: Callable[[str], str], as_code: Callable[[str], str]) -> str:
    """Replace the marks of emphasis and of code."""
    text = re.sub(r"`([^`]+)`", lambda match: as_code(match[1]), text)
    return re.sub(r"(?<!\w)\*([^*\s][^*]*)\*(?!\w)", lambda match: emphasise(match[1]), text)


def _keys(text: str) -> list[str]:
    """Return the keys that a text cites, in order and once."""
    cited = [key.strip().lstrip("@") for group in _CITED.findall(text) for key in group.split(";")]
    return list(dict.fromkeys(cited))


def _cite(group: str, references: Mapping[str, Reference]) -> str:
    cited = []
    for key in (part.strip().lstrip("@") for part in group.split(";")):
        one = references.get(key)
        cited.append(f"{one.authors}, {one.year}" if one else key)
    return f"({'; '.join(cited)})"


def _link(reference: Reference) -> str:
    text = html.escape(reference.text)
    if not reference.doi:
        return text
    doi = html.escape(reference.doi)
    return f'{text} <a href="https://doi.org/{doi}">doi:{doi}</a>'


def _by_author(reference: Reference) -> str:
    return f"{reference.text.lower()} {reference.year}"


def _to_text(value: str) -> str:
    """Return a value of BibTeX as plain text."""
    import unicodedata

    value = _ACCENTED.sub(
        lambda m: unicodedata.normalize(
            "NFC", (m[2] or m[4]) + _ACCENTS[m[1] or m[3]]
        ), value,
    )  # fmt: skip
    value = _LETTER.sub(lambda match: _LETTERS[match[1]], value)
    return value.replace("{", "").replace("}", "").replace("\\&", "&").strip()
