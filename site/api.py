"""The API reference, read from the modules' source, which is not imported: signatures, docments, links."""

import ast
import copy
import functools
import html
import io
import re
import textwrap
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from notebooks import FOR_TOOLS, Links, phrase, raw


@dataclass
class Parameter:
    name: str
    type: str = ""
    default: str = ""
    doc: str = ""
    taken: bool = True  # by the constructor, if it is a field


@dataclass
class Item:
    kind: str  # function, class, protocol, method, property, data
    module: str
    name: str  # q_sample, Schedule.snr
    signature: str = ""
    doc: str = ""
    parameters: list[Parameter] = field(default_factory=list)
    returns: str = ""
    returns_doc: str = ""
    fields: list[Parameter] = field(default_factory=list)
    bases: list[str] = field(default_factory=list)  # of a class, those that are public
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


@functools.cache
def _strings(path: Path, package: Path) -> dict[str, str]:
    "A module's constants that are texts, its own and those that it imports from the package."
    found: dict[str, str] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ddpm_abc."):
            other = package.joinpath(*node.module.split(".")[1:])
            theirs = _strings(other / "__init__.py" if other.is_dir() else other.with_suffix(".py"), package)
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
    value, doc = node.value, comments.get(node.end_lineno, "")
    default = ast.unparse(value) if value else ""
    call = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
    given = {k.arg: k.value for k in value.keywords} if call else {}
    if call == "field":
        made = ast.unparse(given["default_factory"]) if "default_factory" in given else ""
        default = {"": "", "list": "[]", "dict": "{}"}.get(made, f"{made}()")
    if call == "setting":
        default, doc = ast.unparse(value.args[0]), _text(value.args[2], strings)
        if default == "None" and "otherwise" in given:
            doc += f" (default: {_text(given['otherwise'], strings)})"
        typed = r"\{(\w+)\}|((?<!\S)--[a-z][\w-]*|pip install \"[^\"]+\")"
        doc = re.sub(typed, lambda m: f"`{m[1] or m[2]}`", " ".join(doc.split()))
    return Parameter(node.target.id, ast.unparse(node.annotation), default, doc, "init" not in given)


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


class _Source:
    "A module's file, and what of it the reference shows."

    def __init__(self, path: Path, module: str):
        source = path.read_text(encoding="utf-8")
        self.module, self.tree = module, ast.parse(source)
        self.comments, self.lines = _comments(source), source.splitlines()
        self.file = "/".join(path.parts[-1 - module.count(".") - (path.name == "__init__.py") :])
        self.strings = _strings(path, Path(*path.parts[: -len(Path(self.file).parts)]))
        self.classes = {n.name: n for n in self.tree.body if isinstance(n, ast.ClassDef)}

    def item(self, kind: str, name: str, signature: str, doc: str, node, **more) -> Item:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        text = textwrap.dedent("\n".join(self.lines[first - 1 : node.end_lineno]))
        place = {"source": FOR_TOOLS.sub("", text), "line": node.lineno, "end": node.end_lineno}
        return Item(kind, self.module, name, signature, doc, file=self.file, **place, **more)

    def function(self, node, owner: str = "") -> Item:
        name = f"{owner}.{node.name}" if owner else node.name
        returns = ast.unparse(node.returns) if node.returns else ""
        closing = {
            n: self.comments[n]
            for n in range(node.lineno, node.body[0].lineno + 1)
            if n in self.comments and "->" in self.lines[n - 1].partition("#")[0]
        }  # what is said at the arrow is said of what it returns
        more = {
            "parameters": _arguments(
                node.args, {n: text for n, text in self.comments.items() if n not in closing}
            ),
            "returns": returns,
            "returns_doc": closing[max(closing)] if closing else "",
        }
        if owner and _is_property(node):
            signature = node.name + (f": {returns}" if returns else "")
            return self.item("property", name, signature, _doc(node), node, **more)
        kind = "method" if owner else "function"
        return self.item(kind, name, _signature(node.name, node), _doc(node), node, **more)

    def class_(self, node: ast.ClassDef) -> Item:
        bases = [ast.unparse(b) for b in node.bases]
        made = [ast.unparse(d) for d in node.decorator_list if ast.unparse(d).startswith("dataclass")]
        kind = "protocol" if "Protocol" in bases else "class"
        item = self.item(kind, node.name, node.name, _doc(node), node)
        item.bases = [b for b in bases if b not in ("Protocol", "NamedTuple") and not b.startswith("_")]
        for sub in _members(node, self.classes):
            if isinstance(sub, ast.AnnAssign) and isinstance(sub.target, ast.Name):
                field = _field(sub, self.comments, self.strings)
                item.fields += [field] * (not field.name.startswith("_"))
            elif isinstance(sub, ast.FunctionDef) and sub.name == "__init__":
                item.signature = _signature(node.name, sub).replace(" -> None", "")
                item.parameters = _arguments(sub.args, self.comments)
            elif isinstance(sub, ast.FunctionDef) and not sub.name.startswith("_"):
                item.members.append(self.function(sub, node.name))
        if item.fields and not item.parameters and (made or "NamedTuple" in bases):
            taken = [f for f in item.fields if f.taken]
            parts = [f"{f.name}: {f.type}" + (f" = {f.default}" if f.default else "") for f in taken]
            item.signature = _call(node.name, ["*"] * any("kw_only=True" in d for d in made) + parts)
        return item

    def data(self, node: ast.Assign | ast.AnnAssign) -> list[Item]:
        "The public names that a line of the module gives to values."
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        pairs: Iterable = [(target, node.value)]
        if isinstance(target, ast.Tuple):
            each = node.value.elts if isinstance(node.value, ast.Tuple) else [None] * len(target.elts)
            pairs = zip(target.elts, each, strict=True)
        doc = self.comments.get(node.end_lineno) or self.comments.get(node.lineno) or self.above(node.lineno)
        found = []
        for name, value in pairs:
            if not isinstance(name, ast.Name) or name.id.startswith("_"):
                continue
            line = f"{name.id} = {ast.unparse(value)}" if value else ""
            item = self.item("data", name.id, line, doc, node)
            if not line or len(line) > 90:
                item.signature = item.source if len(item.source) < 900 else name.id
            found.append(item)
        return found

    def above(self, line: int) -> str:
        "The comment in the lines over this one."
        first = line
        while self.lines[first - 2].startswith("# ") and not self.lines[first - 2].startswith("# %%"):
            first -= 1
        return " ".join(self.comments[n] for n in range(first, line))


def read(path: Path, module: str) -> Module:
    """A module's docstring and its public items, in the order of the source. `module`: its dotted name in the
    package."""
    source, items, passed_on = _Source(path, module), [], {}
    for node in source.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            items += source.data(node)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            items.append((source.function if isinstance(node, ast.FunctionDef) else source.class_)(node))
        elif isinstance(node, ast.ImportFrom) and path.name == "__init__.py" and node.module:
            home = f"{module}.{node.module}" if node.level else node.module.removeprefix("ddpm_abc.")
            passed_on |= {
                alias.name: home for alias in node.names if not (alias.asname or alias.name.startswith("_"))
            }
    return Module(module, source.file, _doc(source.tree), items, passed_on)


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
        typed = _typed(p.type, links) if p.type else ""
        default = f"`{p.default}`" if p.default else ""
        default = f" {default.replace('|', chr(92) + '|')} |" if defaults else ""
        out.append(
            f"| `{p.name}` | {typed.replace('|', chr(92) + '|')} |{default} "
            f"{links.prose(_cell(p.doc), '../')} |"
        )
    return "\n".join(out) + "\n"


def _typed(annotation: str, links: Links) -> str:
    "An annotation as code, which leads to the one class of the package that it names."
    known = [name for name in re.findall(r"[\w.]+", annotation) if name in links.names]
    code = f"`{annotation}`"
    return f'<a class="api" href="../{links.names[known[0]]}">{code}</a>' if len(known) == 1 else code


def _item(item: Item, links: Links, level: int) -> str:
    short = item.name.split(".")[-1]
    signature = _highlight(("class " if item.kind in ("class", "protocol") else "") + item.signature).rstrip()
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
    if item.bases:
        above = ", ".join(_typed(base, links) for base in item.bases)
        parts.append(f"**Extends** {above}" + ", and takes their fields too" * bool(item.fields) + ".")
    if any(p.doc for p in item.parameters):  # if none says more, the signature has all
        parts.append(
            raw('<div class="params">') + "\n" + _table("parameter", item.parameters, links) + raw("</div>")
        )
    elif item.fields:
        parts.append(raw('<div class="params">') + "\n" + _table("field", item.fields, links) + raw("</div>"))
    if item.returns and item.kind != "property" and item.returns != "None":
        parts.append(
            f"**Returns** {_typed(item.returns, links)}"
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
    below = [m for m in modules.values() if m.name.startswith(f"{module.name}.")]
    links = copy.copy(links)  # a name that other modules have too is this one's
    links.names = links.names | {i.name: i.url for i in module.items}
    if below and not module.passed_on:
        use = "Import from its modules:"
    elif not (module.items or module.passed_on):
        use = "It has no public names: the modules beside it use what it holds."
    parts = [
        f'<p class="lede">{phrase(module.summary)}</p>',
        f'<p class="origin">{use} {origin} ',
        f'<a href="{links.blob}/ddpm_abc/{module.file}">Source on GitHub</a>.</p>',
        listed(module.items) if module.items else "",
    ]
    for home in below:
        items = [i for i in home.items if module.passed_on.get(i.name) == home.name]
        heading = f'<a class="api" href="{home.name}.html"><code>ddpm_abc.{home.name}</code></a>'
        parts.append(f'<p class="origin">{heading} {phrase(home.summary)}</p>{listed(items, "../")}')
    items = "\n\n".join(_item(i, links, 2) for i in module.items)
    title = f"ddpm_abc.{module.name}".replace(".", ".<wbr>")
    return f"# {title}\n{raw(''.join(parts))}\n{items}\n"
