"""The formulas of the schedules, read from ddpm_abc/schedule.py, where alone they stand: as JavaScript for
the widgets, and as numpy for the pictures that stand in their places.

Only what the source says today can be put into JavaScript. Anything else stops the build and is named.
"""

import ast

import numpy as np
from house import PACKAGE, ROOT

SCHEDULES = {"linear_schedule": "linearBar", "cosine_schedule": "cosineBar"}  # Python's name, JavaScript's
SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
SOURCE = (ROOT / PACKAGE / "schedule.py").read_text(encoding="utf-8")


def _defined(source: str) -> dict[str, ast.FunctionDef | ast.expr]:
    "What the module defines: its functions, and the values of its constants."
    found: dict[str, ast.FunctionDef | ast.expr] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found[ast.unparse(node.targets[0])] = node.value
    return found


def entry(node: ast.expr, tables: set[str]) -> str:
    "An expression on tables as JavaScript for one entry of it: the tables are functions of the index i."

    def js(*nodes: ast.expr) -> list[str]:
        return [entry(n, tables) for n in nodes]

    match node:
        case ast.Constant(int() | float() as value):
            return repr(value)
        case ast.Name(name):
            return f"{name}(i)" if name in tables else name
        case ast.Attribute(ast.Name("math"), "pi"):
            return "Math.PI"
        case ast.BinOp(left, sign, right) if type(sign) in SIGNS:
            return f"({entry(left, tables)} {SIGNS[type(sign)]} {entry(right, tables)})"
        case ast.Subscript(ast.Name(name), ast.Slice(None, ast.UnaryOp(ast.USub(), ast.Constant(1)), None)):
            return f"{name}(i)"
        case ast.Subscript(ast.Name(name), ast.Slice(ast.Constant(1), None, None)):
            return f"{name}(i + 1)"
        case ast.Call(ast.Attribute(ast.Name("torch"), "arange"), [_]):
            return "i"
        case ast.Call(ast.Attribute(ast.Name("torch"), "linspace"), [first, last, n]):
            a, b, n = js(first, last, n)
            return f"({a} + ({b} - {a}) * ({n} > 1 ? i / ({n} - 1) : 0))"
        case ast.Call(ast.Attribute(ast.Name("torch"), "cos"), [x]):
            return f"Math.cos({entry(x, tables)})"
        case ast.Call(ast.Attribute(x, "clamp"), [], [ast.keyword("max", most)]):
            return f"Math.min({', '.join(js(most, x))})"
    raise SystemExit(
        f"ddpm_abc/schedule.py says {ast.unparse(node)}, and site/formulas.py cannot put that into "
        "JavaScript for the widgets: add a case to `entry`"
    )


def _defaults(function: ast.FunctionDef) -> dict[str, float]:
    args = function.args
    return {a.arg: ast.literal_eval(d) for a, d in zip(args.args, args.defaults, strict=True)}


def _betas(function: ast.FunctionDef) -> tuple[list[ast.stmt], ast.expr]:
    "A schedule's tables, in order, and the betas that its last line builds it from; no checked parameters."
    own = {a.arg for a in function.args.args}
    match function.body[-1]:
        case ast.Return(ast.Call(ast.Name("_build"), [beta, *_])):
            assigned = [node for node in function.body if isinstance(node, ast.Assign)]
            return [node for node in assigned if ast.unparse(node.targets[0]) not in own], beta
    raise SystemExit(f"ddpm_abc.schedule.{function.name} does not end with `return _build(beta, ...)`")


def _kept(build: ast.FunctionDef) -> ast.expr:
    "The factors whose running product `_build` takes as alpha_bar."
    for node in ast.walk(build):
        match node:
            case ast.Call(ast.Attribute(ast.Name("torch"), "cumprod"), [factors, *_]):
                return factors
    raise SystemExit("ddpm_abc.schedule._build takes alpha_bar from no torch.cumprod")


def javascript(source: str = SOURCE) -> str:
    "The schedules as functions of their parameters that return alpha_bar for t = 0..T, and two constants."
    defined = _defined(source)
    lines = [
        "// Written by site/formulas.py from ddpm_abc/schedule.py",
        "const alphaBar = (T, beta) => {",
        "  const table = [1];",
        f"  for (let i = 0; i < T; i++) table.push(table[i] * {entry(_kept(defined['_build']), {'beta'})});",
        "  return table;",
        "};",
    ]
    for name, called in SCHEDULES.items():
        given = ", ".join(f"{key} = {value!r}" for key, value in _defaults(defined[name]).items())
        lines.append(f"const {called} = ({given}) => {{")
        statements, beta = _betas(defined[name])
        tables: set[str] = set()
        for statement in statements:
            table = ast.unparse(statement.targets[0])
            lines.append(f"  const {table} = (i) => {entry(statement.value, tables)};")
            tables.add(table)
        lines += [f"  return alphaBar(T, (i) => {entry(beta, tables)});", "};"]
    paper = ", ".join(f"{key}: {value!r}" for key, value in _defaults(defined["linear_schedule"]).items())
    lines.append(f"const PAPER = {{ {paper} }}; // its linear schedule")
    lines.append(f"const MOST_LEFT = {ast.unparse(defined['_MOST_LEFT'])}; // of sqrt(alpha_bar_T)")
    return "\n".join(lines) + "\n"


def paper_bars(source: str = SOURCE) -> np.ndarray:
    "alpha_bar of the paper's linear schedule, (1001,): the same lines, with numpy in the place of torch."
    defined = _defined(source)
    statements, beta = _betas(defined["linear_schedule"])
    names = {"torch": np, **_defaults(defined["linear_schedule"])}
    exec(compile(ast.Module(statements, []), "schedule.py", "exec"), names)
    names["beta"] = eval(compile(ast.Expression(beta), "schedule.py", "eval"), names)
    kept = eval(compile(ast.Expression(_kept(defined["_build"])), "schedule.py", "eval"), names)
    return np.cumprod([1, *kept])
