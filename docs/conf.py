"""Configuration of the documentation."""

import shutil
import sys
from pathlib import Path
from typing import Any, ClassVar

from docutils.parsers.rst.directives import unchanged
from sphinx.directives.code import CodeBlock

sys.path.insert(0, str(Path(__file__).parents[1]))

from npi_bids import __version__

project = "npi-bids"
author = "The npi-bids developers"
release = version = __version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
# Graphs of workflows are drawn where graphviz is installed.
_HAS_GRAPHVIZ = shutil.which("dot") is not None
if _HAS_GRAPHVIZ:
    extensions.append("nipype.sphinxext.plot_workflow")
html_theme = "alabaster"
numpydoc_show_class_members = False
autodoc_typehints = "signature"
exclude_patterns = ["_build"]
suppress_warnings = ["ref.python"]


class WorkflowCode(CodeBlock):
    """Show the code that builds a workflow, where its graph cannot be drawn."""

    option_spec: ClassVar[dict[str, Any]] = {"graph2use": unchanged, "simple_form": unchanged}
    has_content = True
    required_arguments = 0

    def run(self) -> Any:
        """Return the code as a block of Python."""
        self.options, self.arguments = {}, ["python"]
        return super().run()


def setup(app: Any) -> None:
    """Register what stands in for the missing extension."""
    if not _HAS_GRAPHVIZ:
        app.add_directive("workflow", WorkflowCode)
