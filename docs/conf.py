"""The site of these pages: `scripts/docs` builds it. Sphinx reads Markdown by MyST; warnings are errors."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import thermosim  # noqa: E402

project = "thermosim"
author = "thermosim authors"
copyright = "thermosim authors, MIT license"
version = release = thermosim.__version__

extensions = [
    "myst_parser",
    "sphinx_design",
    "sphinx_copybutton",
    "docs.making.reference",  # before what runs pages: it writes some
    "docs.making.gallery",
    "docs.making.executed",
    "docs.making.contents",
    "docs.making.mathematics",
]
exclude_patterns = ["making", "_static", "_templates", "Thumbs.db"]
source_suffix = {".md": "markdown"}
root_doc = "index"
nitpicky = True

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
html_math_renderer = "mathml"

highlight_language = "text"
pygments_style = "default"
pygments_dark_style = "github-dark"
copybutton_selector = "div:not(.output) > div.highlight > pre"

html_theme = "furo"
html_title = f"thermosim {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1d5fa8", "color-brand-content": "#1d5fa8"},
    "dark_css_variables": {"color-brand-primary": "#7fb4ea", "color-brand-content": "#7fb4ea"},
}
