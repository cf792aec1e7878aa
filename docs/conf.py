"""Configuration of the documentation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from npi_bids import __version__

project = "npi-bids"
author = "The npi-bids developers"
release = version = __version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
html_theme = "alabaster"
numpydoc_show_class_members = False
autodoc_typehints = "signature"
exclude_patterns = ["_build"]
suppress_warnings = ["ref.python"]
