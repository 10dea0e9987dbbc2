"""The documentation as a site: `make docs` builds it into `build/docs`."""

from pydistill import __version__

project, author, version, release = "pydistill", "The pydistill developers", __version__, __version__
project_copyright = "2026, The pydistill developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme, html_title = "furo", f"pydistill {__version__}"
exclude_patterns = ["images"]
myst_heading_anchors = 3
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
suppress_warnings = ["ref.python"]  # names that several modules have
