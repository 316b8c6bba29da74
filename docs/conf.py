"""How the pages of `docs/` become a site: `make docs`. Nothing is fetched to build it or to read it."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # docs.reference_pages, and the code that it tells of

project = "masktune"
author = "the masktune contributors"
copyright = author
release = version = installed("masktune-service")

extensions = ["myst_parser", "docs.reference_pages"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
exclude_patterns = ["_build"]
# The pages are read on the forge as well, where every one of them is a heading of the first level.
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_title = "masktune"
html_static_path = ["_static"]
html_css_files = ["masktune.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options: dict[str, list[str]] = {"top_of_page_buttons": []}
pygments_style = "friendly"
pygments_dark_style = "monokai"
