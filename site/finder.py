"""What the search box finds and what hover cards show, as two scripts that pages load on demand."""

import json
import re

from docutils import nodes
from maths import to_html

SKIP = (nodes.raw, nodes.comment, nodes.image, nodes.literal_block)
SIGNS = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "delta": "δ",
    "epsilon": "ε",
    "theta": "θ",
    "lambda": "λ",
    "mu": "μ",
    "pi": "π",
    "sigma": "σ",
    "omega": "ω",
    "sum": "∑",
    "prod": "∏",
    "sqrt": "√",
    "nabla": "∇",
    "infty": "∞",
    "approx": "≈",
    "cdot": "·",
    "le": "≤",
    "ge": "≥",
    "mid": "|",
    "log": "log",
    "ln": "ln",
    "exp": "exp",
}


def _plain(tex: str) -> str:
    "LaTeX, roughly as a line of text."
    tex = re.sub(r"\\([a-z]+)", lambda m: SIGNS.get(m[1], " "), tex)
    return re.sub(r"\s+", " ", re.sub(r"\\.|[{}&$]", "", tex))


def _text(node) -> str:
    if isinstance(node, nodes.raw) and re.match(
        r"</?(a|code|wbr)\b", node.astext()
    ):  # a tag within a line of prose
        return re.sub(r"<[^>]+>", "", node.astext())
    if isinstance(node, SKIP):
        return " "
    if isinstance(node, nodes.math | nodes.math_block):
        return f" {_plain(node.astext())} "
    if isinstance(node, nodes.Text):
        return node.astext()
    if isinstance(node, nodes.section):
        return " "
    gap = " " if isinstance(node, nodes.Structural | nodes.Body) else ""
    return gap + "".join(_text(c) for c in node.children) + gap


def sections(doctree, url: str, page: str):
    for node in doctree.findall(nodes.section):
        title = node.next_node(nodes.title).astext()
        top = isinstance(node.parent, nodes.document)
        body = re.sub(
            r"\s+",
            " ",
            " ".join(_text(c) for c in node.children if not isinstance(c, nodes.section | nodes.title)),
        ).strip()
        yield {
            "k": "page" if top else "section",
            "t": title,
            "u": url if top else f"{url}#{node['ids'][0]}",
            "p": "" if top else page,
            "b": body,
        }


def write(app, error):
    if error or app.builder.format != "html":
        return
    course, env = app.config.course, app.env
    entries, previews = [], {}
    for name in sorted(env.found_docs):
        if name in ("index", "search", "404", "glossary") or name.startswith("api/"):
            continue
        entries += sections(env.get_doctree(name), f"{name}.html", env.titles[name].astext())
    for m in course["modules"]:
        entries.append({"k": "module", "t": f"ddpm_abc.{m}", "u": f"api/{m}.html", "p": "API", "b": ""})
    for i in course["api"]:
        entries.append(
            {
                "k": i["kind"],
                "t": i["short"],
                "u": i["url"],
                "p": i["name"],
                "b": re.sub(r"\s+", " ", i["doc"]),
            }
        )
        previews[i["name"]] = [
            f"{i['kind']} · {i['name'].rsplit('.', 1)[0]}",
            f"<pre>{_escape(i['signature'])}</pre><p>{_escape(i['summary'].replace('`', ''))}</p>",
        ]
    for e in course["equations"]:
        said = re.sub(
            r"[$*_`\[\]]|\([^)]*\.(?:ipynb|md)[^)]*\)|<[^>]+>",
            "",
            e["before"] if not e["before"].startswith(("|", "```", "#")) else "",
        )
        entries.append(
            {
                "k": "equation",
                "t": f"Equation ({e['n']})",
                "u": e["url"],
                "p": e["title"],
                "b": f"{said} {e['tex']}",
                "e": e["n"],
            }
        )
        previews[f"eq-{e['n']}"] = [f"Equation ({e['n']}) · {e['title']}", to_html(e["tex"], True, "html")]
    for key, entry in course["bibliography"].items():
        previews[key] = ["Bibliography", f"<p>{entry}</p>"]
    for g in course["glossary"]:
        plain = _plain(re.sub(r"<[^>]+>|[`*]", "", g["meaning"]))
        entries.append(
            {
                "k": "term",
                "t": re.sub(r"[$`*]", "", g["term"]),
                "u": f"glossary.html#{g['anchor']}",
                "p": "Glossary",
                "b": plain,
            }
        )
        meaning = re.sub(r"\$([^$]+)\$", lambda m: to_html(m[1], False, "html"), g["meaning"])
        meaning = re.sub(r"`([^`]+)`", r"<code>\1</code>", re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", meaning))
        meaning = re.sub(r"[*]+([^*]+)[*]+", r"<i>\1</i>", meaning)
        previews[g["anchor"]] = [f"Glossary · {g['term']}", f"<p>{meaning}</p>"]
    static = app.outdir / "_static"
    for name, value in (("search", entries), ("previews", previews)):
        data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
        (static / f"{name}.js").write_text(f"window.DDPM_{name.upper()}={data};\n", encoding="utf-8")


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def no_sphinx_search(app):
    app.builder.search = False


def setup(app):
    app.add_config_value("course", {}, "")
    app.connect("builder-inited", no_sphinx_search)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
