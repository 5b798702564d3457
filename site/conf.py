"""Sphinx, for site/build.py: it turns _build/source into _build/html with the theme in theme/abc."""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
SOURCE = HERE.parent / "_build" / "source"
course = json.loads((SOURCE / "course.json").read_text(encoding="utf-8"))
cfg = course["settings"]

project, release, copyright = cfg["title"], cfg["version"], cfg["copyright"]
extensions = ["myst_parser", "maths", "finder", "listing"]
exclude_patterns = ["_static", "_downloads"]
myst_enable_extensions = ["dollarmath", "amsmath", "attrs_inline", "deflist"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
html_math_renderer_name = "katex"
html_theme, html_theme_path = "abc", [str(HERE / "theme")]
html_static_path = [str(SOURCE / "_static")]
html_title = project
html_baseurl = f"{cfg['doc_host']}{cfg['doc_baseurl']}/"
smartquotes_action = "qe"  # quotes and ellipses; two hyphens begin an option
html_copy_source = html_use_index = html_domain_indices = False
html_permalinks_icon = "#"
pygments_style = "default"
html_additional_pages = {}


def add_context(app, pagename, templatename, context, doctree):
    name = pagename
    context["course"] = course
    context["chapter"] = next((c for c in course["chapters"] if c["name"] == name), None)
    context["root"] = "../" * name.count("/")
    if name == "404":  # served at any depth
        context["root"] = f"{cfg['doc_baseurl']}/"
    return "home.html" if name == "index" else None


def setup(app):
    app.connect("html-page-context", add_context)
