"""The API reference, read from the modules' source, which is not imported: signatures, docments, links."""

import ast
import html
import io
import re
import textwrap
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

from notebooks import Links, phrase, raw


@dataclass
class Parameter:
    name: str
    type: str = ""
    default: str = ""
    doc: str = ""


@dataclass
class Item:
    kind: str  # function, class, method, property, data
    module: str
    name: str  # q_sample, Schedule.snr
    signature: str = ""
    doc: str = ""
    parameters: list[Parameter] = field(default_factory=list)
    returns: str = ""
    returns_doc: str = ""
    fields: list[Parameter] = field(default_factory=list)
    members: list["Item"] = field(default_factory=list)
    source: str = ""
    line: int = 0
    end: int = 0
    file: str = ""  # within the package: data/images.py

    @property
    def full(self) -> str:
        return f"ddpm_abc.{self.module}.{self.name}"

    @property
    def url(self) -> str:
        return f"api/{self.module}.html#{self.full}"

    @property
    def summary(self) -> str:
        first = re.sub(r"\s+", " ", self.doc.strip().split("\n\n")[0])
        guarded = re.sub(r"\b(al|Eq|vs|e\.g|i\.e)\. ", "\\1.\u00a0", first)
        return re.split(r"(?<=\.) (?=[A-Z`])", guarded, maxsplit=1)[0]


def _comments(source: str) -> dict[int, str]:
    "Line number -> the comment that ends it, or stands there alone. What is meant for a tool is none."
    found = {
        t.start[0]: t.string.lstrip("# ").strip()
        for t in tokenize.generate_tokens(io.StringIO(source).readline)
        if t.type == tokenize.COMMENT
    }
    return {line: text for line, text in found.items() if not re.match(r"(fmt|noqa|type): ?", text)}


def _doc(node) -> str:
    return textwrap.dedent(ast.get_docstring(node) or "")


def _arguments(a: ast.arguments, comments: dict[int, str]) -> list[Parameter]:
    positional = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(positional) - len(a.defaults)) + list(a.defaults)
    out = []
    pairs = [("", arg, d) for arg, d in zip(positional, defaults, strict=True)]
    if a.vararg:
        pairs.append(("*", a.vararg, None))
    pairs += [("", arg, d) for arg, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    if a.kwarg:
        pairs.append(("**", a.kwarg, None))
    for star, arg, default in pairs:
        if arg.arg in ("self", "cls"):
            continue
        last = default.end_lineno if default else arg.end_lineno
        out.append(
            Parameter(
                star + arg.arg,
                ast.unparse(arg.annotation) if arg.annotation else "",
                ast.unparse(default) if default else "",
                comments.get(last, ""),
            )
        )
    return out


def _strings(tree: ast.Module, package: Path) -> dict[str, str]:
    "The module's constants that are texts, its own and those that it imports from the package."
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ddpm_abc."):
            path = package.joinpath(*node.module.split(".")[1:])
            path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            theirs = _strings(ast.parse(path.read_text(encoding="utf-8")), package)
            found |= {a.asname or a.name: theirs[a.name] for a in node.names if a.name in theirs}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            text = _text(node.value, found)
            found |= {node.targets[0].id: text} if text is not None else {}
    return found


def _text(node, strings: dict[str, str]) -> str | None:
    "What an expression says, if it is a text or a number, a name of one, or an f-string of such."
    if isinstance(node, ast.Constant) and node.value is not None:
        return str(node.value)
    if isinstance(node, ast.Name):
        return strings.get(node.id)
    if isinstance(node, ast.JoinedStr):
        parts = [
            _text(getattr(part, "value", None) if isinstance(part, ast.FormattedValue) else part, strings)
            for part in node.values
        ]
        return None if None in parts else "".join(parts)
    return None


def _field(node: ast.AnnAssign, comments: dict[int, str], strings: dict[str, str]) -> Parameter:
    "A field of a dataclass. One declared with `setting(default, kind, help, otherwise=...)` says its help."
    default, doc = node.value, comments.get(node.end_lineno, "")
    if isinstance(default, ast.Call) and ast.unparse(default.func) == "setting":
        said = {k.arg: _text(k.value, strings) for k in default.keywords}
        doc = _text(default.args[2], strings)
        doc += f" (default: {said['otherwise']})" if said.get("otherwise") else ""
        doc, default = re.sub(r"\{(\w+)\}", r"`\1`", " ".join(doc.split())), default.args[0]
    return Parameter(
        node.target.id, ast.unparse(node.annotation), ast.unparse(default) if default else "", doc
    )


def _signature(name: str, node) -> str:
    a = node.args
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    parts = []
    for p in _arguments(a, {}):
        if not a.vararg and a.kwonlyargs and p.name == a.kwonlyargs[0].arg:
            parts.append("*")
        parts.append(
            p.name
            + (f": {p.type}" if p.type else "")
            + ((" = " if p.type else "=") + p.default if p.default else "")
        )
    return _call(name, parts, returns)


def _call(name: str, parts: list[str], returns: str = "") -> str:
    "A signature in one line, or in one a part where that is too long."
    one = f"{name}({', '.join(parts)}){returns}"
    if len(one) <= 88:
        return one
    lines = "".join(f"    {part},\n" for part in parts)
    return f"{name}(\n{lines}){returns}"


def _is_property(node) -> bool:
    return any(
        getattr(d, "id", "") == "property" or getattr(d, "attr", "") == "cached_property"
        for d in node.decorator_list
    )


@dataclass
class Module:
    name: str  # schedule, data, data.images
    file: str  # within the package: data/images.py
    doc: str
    items: list[Item]
    passed_on: dict[str, str]  # of a sub-package's __init__: what it imports from its modules -> from which

    @property
    def url(self) -> str:
        return f"api/{self.name}.html"

    @property
    def summary(self) -> str:
        return self.doc.partition("\n")[0]


def _members(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> list[ast.stmt]:
    "What a class defines, and what it has from private classes of its module, each name once."
    above = [classes[b.id] for b in node.bases if isinstance(b, ast.Name) and b.id in classes]
    found = [n for base in above if base.name.startswith("_") for n in _members(base, classes)] + node.body
    last = {getattr(n, "name", None) or getattr(getattr(n, "target", n), "id", id(n)): n for n in found}
    return list(last.values())


def read(path: Path, module: str) -> Module:
    """A module's docstring and its public items, in the order of the source. `module`: its dotted name in the
    package."""
    source = path.read_text(encoding="utf-8")
    tree, comments, lines = ast.parse(source), _comments(source), source.splitlines()
    file = "/".join(path.parts[-1 - module.count(".") - (path.name == "__init__.py") :])
    strings = _strings(tree, Path(*path.parts[: -len(Path(file).parts)]))
    passed_on = {}

    def text(node) -> str:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        return textwrap.dedent("\n".join(lines[first - 1 : node.end_lineno]))

    def above(line: int) -> str:
        "The comment in the lines over this one."
        first = line
        while lines[first - 2].startswith("# ") and not lines[first - 2].startswith("# %%"):
            first -= 1
        return " ".join(comments[n] for n in range(first, line))

    def function(node, owner: str = "") -> Item:
        name = f"{owner}.{node.name}" if owner else node.name
        closing = {
            n: comments[n]
            for n in range(node.lineno, node.body[0].lineno + 1)
            if n in comments and "->" in lines[n - 1].partition("#")[0]
        }  # what is said at the arrow is said of what it returns
        prop = bool(owner) and _is_property(node)
        return Item(
            "property" if prop else "method" if owner else "function",
            module,
            name,
            node.name + (f": {ast.unparse(node.returns)}" if prop and node.returns else "")
            if prop
            else _signature(node.name, node),
            _doc(node),
            _arguments(node.args, {n: text for n, text in comments.items() if n not in closing}),
            ast.unparse(node.returns) if node.returns else "",
            closing[max(closing)] if closing else "",
            source=text(node),
            line=node.lineno,
            end=node.end_lineno,
        )

    items = []
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            items.append(function(node))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            item = Item(
                "class",
                module,
                node.name,
                node.name,
                _doc(node),
                source=text(node),
                line=node.lineno,
                end=node.end_lineno,
            )
            for sub in _members(node, classes):
                if (
                    isinstance(sub, ast.AnnAssign)
                    and isinstance(sub.target, ast.Name)
                    and not sub.target.id.startswith("_")
                ):
                    item.fields.append(_field(sub, comments, strings))
                elif isinstance(sub, ast.FunctionDef) and sub.name == "__init__":
                    item.signature, item.parameters = (
                        _signature(node.name, sub).replace(" -> None", ""),
                        _arguments(sub.args, comments),
                    )
                elif isinstance(sub, ast.FunctionDef) and not sub.name.startswith("_"):
                    item.members.append(function(sub, node.name))
            if item.fields and not item.parameters:
                item.signature = _call(
                    node.name,
                    [f"{f.name}: {f.type}" + (f" = {f.default}" if f.default else "") for f in item.fields],
                )
            items.append(item)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            name = getattr(target, "id", "_")
            if not name.startswith("_"):
                value = ast.unparse(node.value) if node.value else ""
                items.append(
                    Item(
                        "data",
                        module,
                        name,
                        f"{name} = {value}" if len(value) < 90 else text(node) if len(value) < 900 else name,
                        comments.get(node.end_lineno) or comments.get(node.lineno) or above(node.lineno),
                        source=text(node),
                        line=node.lineno,
                        end=node.end_lineno,
                    )
                )
        elif isinstance(node, ast.ImportFrom) and path.name == "__init__.py" and node.module:
            home = f"{module}.{node.module}" if node.level else node.module.removeprefix("ddpm_abc.")
            passed_on |= {
                alias.name: home for alias in node.names if not (alias.asname or alias.name.startswith("_"))
            }
    for item in [x for i in items for x in (i, *i.members)]:
        item.file = file
    return Module(module, file, _doc(tree), items, passed_on)


def names(modules: dict[str, Module]) -> dict[str, str]:
    """What prose may call a thing -> its address. A name that two modules define is linked only with its
    module."""
    out: dict[str, str] = {}
    short: dict[str, list[str]] = {}
    for module in modules.values():
        out[f"ddpm_abc.{module.name}"] = module.url
        for item in [x for i in module.items for x in (i, *i.members)]:
            out[f"{module.name}.{item.name}"] = item.url
            short.setdefault(item.name, []).append(item.url)
    for module in modules.values():
        for name, home in module.passed_on.items():
            if url := out.get(f"{home}.{name}"):
                out[f"{module.name}.{name}"] = url
    for name, urls in short.items():
        if len(urls) == 1:
            out.setdefault(name, urls[0])
    return out


def _highlight(code: str) -> str:
    from listing import Listing
    from pygments import highlight
    from pygments.lexers import PythonLexer

    return highlight(code, PythonLexer(), Listing(nowrap=True))


def _cell(text: str) -> str:
    return _escape(text).replace("|", "\\|") or " "


def _table(head: str, rows: list[Parameter], links: Links) -> str:
    defaults = any(p.default for p in rows)
    out = [
        f"| {head} | type |{' default |' if defaults else ''} meaning |",
        "|---|---|---|" + ("---|" if defaults else ""),
    ]
    for p in rows:
        typed = links.prose(f"`{p.type}`", "../") if p.type else ""
        default = f"`{p.default}`" if p.default else ""
        default = f" {default.replace('|', chr(92) + '|')} |" if defaults else ""
        out.append(
            f"| `{p.name}` | {typed.replace('|', chr(92) + '|')} |{default} "
            f"{links.prose(_cell(p.doc), '../')} |"
        )
    return "\n".join(out) + "\n"


def _item(item: Item, links: Links, level: int) -> str:
    short = item.name.split(".")[-1]
    signature = _highlight(("class " if item.kind == "class" else "") + item.signature).rstrip()
    parts = [
        raw(
            f'<section class="api-item level-{level} kind-{item.kind}" id="{item.full}">'
            f'<h{level} class="api-name"><code>{html.escape(short)}</code><span '
            f'class="kind">{item.kind}</span>'
            f'<a class="headerlink" href="#{item.full}" aria-label="Link to {short}">#</a></h{level}>'
            + (
                f'<pre class="signature highlight"><code>{signature}</code></pre>'
                if item.kind not in ("property", "data") or item.signature != short
                else ""
            )
        ),
        links.prose(_escape(item.doc), "../"),
    ]
    if any(p.doc for p in item.parameters):  # if none says more, the signature has all
        parts.append(
            raw('<div class="params">') + "\n" + _table("parameter", item.parameters, links) + raw("</div>")
        )
    elif item.fields:
        parts.append(raw('<div class="params">') + "\n" + _table("field", item.fields, links) + raw("</div>"))
    if item.returns and item.kind != "property" and item.returns != "None":
        parts.append(
            f"**Returns** {links.prose('`' + item.returns + '`', '../')}"
            + (f": {links.prose(_escape(item.returns_doc), '../')}" if item.returns_doc else "")
        )
    if item.kind != "data" and len(item.source.splitlines()) <= 120 and level == 2:
        parts.append(
            raw(
                f'<details class="fold source"><summary>Source</summary><pre '
                f'class="highlight"><code>{_highlight(item.source)}</code></pre>'
                f'<p class="on-github"><a '
                f'href="{links.blob}/ddpm_abc/{item.file}#L{item.line}-L{item.end}">Lines {item.line} to '
                f"{item.end} on GitHub</a></p></details>"
            )
        )
    parts += [_item(m, links, level + 1) for m in item.members]
    parts.append(raw("</section>"))
    return "\n\n".join(parts)


def _escape(text: str) -> str:
    "Docstrings are prose with `code`; nothing else of Markdown is meant by a star or an underscore."
    return re.sub(r"`[^`]*`|([*_<$])", lambda m: m[0] if m[1] is None else "\\" + m[1], text)


def listed(items: list[Item], up: str = "") -> str:
    """Each item's name, which leads to it, and its summary. `up`: to the site's root, or nothing on the
    items' own page."""
    rows = ""
    for i in items:
        target = f"{up}{i.url}" if up else f"#{i.full}"
        name = f'<a class="api" href="{target}"><code>{html.escape(i.name)}</code></a>'
        rows += f"<li>{name} <span>{phrase(i.summary)}</span></li>"
    return f'<ul class="api-list">{rows}</ul>'


def page(module: Module, modules: dict[str, Module], notebook: tuple[str, str] | None, links: Links) -> str:
    "One module's page; a sub-package's shows what it passes on, module after module."
    origin = ""
    if notebook:
        origin = f'Written and explained in <a href="../{notebook[0]}.html">{html.escape(notebook[1])}</a>.'
    use = f"<code>from ddpm_abc.{module.name} import ...</code>"
    if not (module.items or module.passed_on):
        use = "It has no public names: the modules beside it use what it holds."
    parts = [
        f'<p class="lede">{phrase(module.summary)}</p>',
        f'<p class="origin">{use} {origin} ',
        f'<a href="{links.blob}/ddpm_abc/{module.file}">Source on GitHub</a>.</p>',
        listed(module.items) if module.items else "",
    ]
    for home in [m for m in modules.values() if m.name.startswith(f"{module.name}.")]:
        items = [i for i in home.items if module.passed_on.get(i.name) == home.name]
        heading = f'<a class="api" href="{home.name}.html"><code>ddpm_abc.{home.name}</code></a>'
        parts.append(f'<p class="origin">{heading} {phrase(home.summary)}</p>{listed(items, "../")}')
    items = "\n\n".join(_item(i, links, 2) for i in module.items)
    title = f"ddpm_abc.{module.name}".replace(".", ".<wbr>")
    return f"# {title}\n{raw(''.join(parts))}\n{items}\n"
