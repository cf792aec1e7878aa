"""Configuration of the documentation."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any, ClassVar

from docutils.parsers.rst.directives import unchanged
from myst_nb.core import render
from numpydoc.docscrape import NumpyDocString
from sphinx.directives.code import CodeBlock
from sphinx.util import logging

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from cli_reference import write_cli_reference
from site_examples import code_digest, copy_examples

from npi_bids import __version__

DOCS = Path(__file__).parent
ROOT = DOCS.parent
_LOGGER = logging.getLogger(__name__)

project = "npi-bids"
author = "The npi-bids developers"
copyright = author  # noqa: A001 (Sphinx reads this name)
release = version = __version__
extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
]
# Graphs of workflows are drawn where graphviz is installed.
_HAS_GRAPHVIZ = shutil.which("dot") is not None
if _HAS_GRAPHVIZ:
    extensions.append("nipype.sphinxext.plot_workflow")
exclude_patterns = ["_build"]
suppress_warnings = ["ref.python"]

html_theme = "pydata_sphinx_theme"
html_title = "npi-bids"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "npi-bids"},
    "icon_links": [
        {
            "name": "GitHub",
            "url": "https://github.com/npi-bids/npi-bids",
            "icon": "fa-brands fa-github",
        }
    ],
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": []}
# Reports are pages of their own, copied as they are; conf.setup writes them.
BUILT = DOCS / "_build" / "extra"
html_extra_path = ["_build/extra"]
BUILT.mkdir(parents=True, exist_ok=True)

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_type_aliases = {"Array": "Array", "ArrayLike": "ArrayLike", "Mask": "Mask"}
python_maximum_signature_line_length = 90
copybutton_prompt_text = "$ "

# NPI_DOCS_QUICK=1 shows the code of the tutorials without running it, and links to no report.
QUICK = os.environ.get("NPI_DOCS_QUICK") == "1"
nb_execution_mode = "off" if QUICK else "cache"
# A notebook is run again when its text or the code of the package has changed.
nb_execution_cache_path = str(
    DOCS / "_build" / f"notebooks-{code_digest(DOCS / 'case_figures.py')[:12]}"
)
nb_execution_timeout = 600
# Kernels warn of unencrypted TCP, which does not leave this machine.
_PROFILE = DOCS / "_build" / "ipython" / "profile_default"
_PROFILE.mkdir(parents=True, exist_ok=True)
(_PROFILE / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n")
os.environ["IPYTHONDIR"] = str(_PROFILE.parent)
nb_execution_raise_on_error = False  # a failed cell is a warning, and the other pages are built
nb_merge_streams = True
nb_render_markdown_format = "myst"  # with tables
# Tutorials on recordings, which are not part of the project.
SHARED = ROOT.parent / "shared" / "data"
_ON_RECORDINGS = ("tutorials/real_series*", "tutorials/own_inputs*")
nb_execution_excludepatterns = [] if SHARED.is_dir() else list(_ON_RECORDINGS)


class WorkflowCode(CodeBlock):
    """Show the code that builds a workflow, where its graph cannot be drawn."""

    option_spec: ClassVar[dict[str, Any]] = {"graph2use": unchanged, "simple_form": unchanged}
    has_content = True
    required_arguments = 0

    def run(self) -> Any:
        """Return the code as a block of Python."""
        self.options, self.arguments = {}, ["python"]
        return super().run()


def _join_streams(outputs: list[Any]) -> list[Any]:
    """Join what a cell prints in pieces, which myst-nb would set on lines of their own."""
    joined, streams = [], {}
    for output in outputs:
        if output["output_type"] == "stream" and output["name"] in streams:
            streams[output["name"]]["text"] += output["text"]
            continue
        joined.append(output)
        if output["output_type"] == "stream":
            streams[output["name"]] = output
    return joined


def _show_ports(*args: Any) -> None:
    """Set the sections Inputs and Outputs of a builder as notes, which numpydoc knows."""
    lines: list[str] = args[-1]
    headings = [
        number
        for number, line in enumerate(lines[:-1])
        if line.strip() in ("Inputs", "Outputs") and set(lines[number + 1].strip()) == {"-"}
    ]
    for number in reversed(headings):
        first = ["Notes", "-----"] if number == headings[0] else []
        lines[number : number + 2] = [*first, f".. rubric:: {lines[number].strip()}", ""]


def _prepare(_: Any) -> None:
    """Write what the pages include: the reference of the commands, reports, environment."""
    write_cli_reference(DOCS / "cli.md")
    # Kernels import the package from this copy, and compute on one core each.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    os.environ.update(OMP_NUM_THREADS="1", NIPYPE_NO_ET="1", COLUMNS="100", PATH=commands)
    if not SHARED.is_dir():
        _LOGGER.info("Tutorials on recordings are not run: there is no folder %s.", SHARED)
    if not QUICK:
        copy_examples(DOCS / "_build" / "examples", BUILT)


def setup(app: Any) -> None:
    """Register what is written before pages are read, and what stands in for an extension."""
    app.connect("builder-inited", _prepare)
    app.connect("autodoc-process-docstring", _show_ports, priority=100)  # before numpydoc
    render.coalesce_streams = _join_streams
    # numpydoc reads signatures from docstrings as they are written, and warns of other sections.
    NumpyDocString.sections |= {"Inputs": [], "Outputs": []}
    if not _HAS_GRAPHVIZ:
        app.add_directive("workflow", WorkflowCode)
