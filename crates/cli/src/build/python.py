"""Makes a WIT world and an adapter of a Python module, from the annotations of its public functions.

The adapter stands between the world and the author's module: it turns componentize-py's view of values (enums,
dataclasses of the world) into what the annotations say, makes `print` and `logging` log lines of the guest, and says
what was raised.

One argument, JSON: {source, work}. Standard output, JSON: {wit} or {error: text}. The module is read, not run.
"""

import ast
import json
import os
import re
import sys

LOGGING_WIT = """package wasi:logging;
interface logging {
  enum level { trace, debug, info, warn, error, critical }
  log: func(level: level, context: string, message: string);
}
"""

PLAIN = {"int": "s64", "float": "f64", "str": "string", "bool": "bool", "bytes": "list<u8>", "bytearray": "list<u8>"}


class Mistake(Exception):
    pass


class Type:
    """The type in WIT; code that makes the author's value of the builder's, and the reverse (None: as it is)."""

    def __init__(self, wit, into=None, out=None):
        self.wit, self.into, self.out = wit, into, out


def call(convert, value):
    return convert(value) if convert else value


def identifier(name, fail, what):
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1-\2", name.strip("_"))
    name_in_wit = re.sub(r"_+", "-", spaced).lower()
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*", name_in_wit):
        fail(f"{what} `{name}` cannot be a name in WIT: use letters and digits, each word beginning with a letter")
    return name_in_wit


def snake(name):
    return name.replace("-", "_")


class Module:
    def __init__(self, source):
        self.file = os.path.basename(source)
        with open(source, encoding="utf-8") as text:
            try:
                self.tree = ast.parse(text.read(), source)
            except SyntaxError as error:
                raise Mistake(f"{self.file}:{error.lineno}:{error.offset}: {error.msg}") from None
        self.classes = {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}
        self.aliases = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                self.aliases[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                self.aliases[node.target.id] = node.value
        self.definitions = []
        self.named = {}
        self.open = []
        self.names = set()

    def fail(self, node, text):
        raise Mistake(f"{self.file}:{node.lineno}:{node.col_offset + 1}: {text}")

    def failing(self, node):
        return lambda text: self.fail(node, text)

    def unique(self, base):
        name, number = base, 1
        while name in self.names:
            number += 1
            name = f"{base}-v{number}"
        self.names.add(name)
        return name

    def type(self, node, what, hint):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                inner = ast.parse(node.value, mode="eval").body
            except SyntaxError:
                self.fail(node, f"{what}: {node.value!r} is not a type")
            return self.type(ast.copy_location(inner, node), what, hint)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return self.union(self.parts(node), node, what, hint)
        if isinstance(node, ast.Subscript):
            name = self.name_of(node.value)
            items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return self.generic(name, items, node, what, hint)
        name = self.name_of(node)
        if name in PLAIN:
            into = {"bytearray": lambda v: f"bytearray({v})"}.get(name)
            out = {"bytearray": lambda v: f"bytes({v})", "float": lambda v: f"float({v})"}.get(name)
            return Type(PLAIN[name], into, out)
        if name in self.classes:
            return self.class_type(self.classes[name], node, what)
        if name in self.aliases:
            if name in self.open:
                self.fail(node, f"{what}: `{name}` contains itself, which WIT has no form for")
            self.open.append(name)
            made = self.type(self.aliases[name], what, hint)
            self.open.pop()
            return made
        self.fail(node, f"{what}: `{ast.unparse(node)}` has no form in WIT: use int, float, str, bool, bytes, list, tuple, dict[str, …], Optional, Literal, a dataclass or an Enum")

    def name_of(self, node):
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute):
            return node.attr
        return ""

    def parts(self, node):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return self.parts(node.left) + self.parts(node.right)
        return [node]

    def union(self, parts, node, what, hint):
        def is_none(part):
            return isinstance(part, ast.Constant) and part.value is None

        rest = [part for part in parts if not is_none(part)]
        if len(rest) != 1 or len(rest) == len(parts):
            self.fail(node, f"{what}: `{ast.unparse(node)}` mixes types, which WIT has no form for here: use a dataclass with optional fields")
        inner = self.type(rest[0], what, hint)
        if inner.wit.startswith("option<"):
            return inner
        into = inner.into and (lambda v: f"(None if {v} is None else {inner.into(v)})")
        out = inner.out and (lambda v: f"(None if {v} is None else {inner.out(v)})")
        return Type(f"option<{inner.wit}>", into, out)

    def generic(self, name, items, node, what, hint):
        lower = name.lower()
        if lower == "optional":
            return self.union([items[0], ast.copy_location(ast.Constant(None), node)], node, what, hint)
        if lower == "union":
            return self.union(items, node, what, hint)
        if lower in ("list", "sequence", "iterable", "set"):
            item = self.type(items[0], f"{what}[]", f"{hint}-item")
            if item.wit == "u8":
                self.fail(node, f"{what}: use bytes")
            into = item.into and (lambda v: f"[{item.into('i')} for i in {v}]")
            if lower == "set":
                into = lambda v: f"{{{call(item.into, 'i')} for i in {v}}}"
            out = lambda v: f"[{call(item.out, 'i')} for i in {v}]"
            return Type(f"list<{item.wit}>", into or None, out)
        if lower == "tuple":
            if len(items) == 2 and isinstance(items[1], ast.Constant) and items[1].value is ...:
                item = self.type(items[0], f"{what}[]", f"{hint}-item")
                return Type(f"list<{item.wit}>", lambda v: f"tuple({call(item.into, 'i')} for i in {v})", lambda v: f"[{call(item.out, 'i')} for i in {v}]")
            types = [self.type(item, f"{what}[{index}]", f"{hint}-{'abcdefghijklmnop'[index % 16]}") for index, item in enumerate(items)]
            def convert(way):
                if not any(getattr(one, way) for one in types):
                    return None
                return lambda v: "(lambda t: (" + ", ".join(call(getattr(one, way), f"t[{index}]") for index, one in enumerate(types)) + f",))({v})"
            return Type(f"tuple<{', '.join(one.wit for one in types)}>", convert("into"), convert("out"))
        if lower in ("dict", "mapping"):
            if self.name_of(items[0]) != "str" or len(items) != 2:
                self.fail(node, f"{what}: keys of a dict must be str")
            value = self.type(items[1], f"{what}.*", f"{hint}-value")
            return Type(
                f"list<tuple<string, {value.wit}>>",
                lambda v: f"{{k: {call(value.into, 'i')} for k, i in {v}}}",
                lambda v: f"[(k, {call(value.out, 'i')}) for k, i in {v}.items()]",
            )
        if lower == "literal":
            values = [item.value if isinstance(item, ast.Constant) else None for item in items]
            if not all(isinstance(value, str) for value in values):
                self.fail(node, f"{what}: only texts can be literals")
            return self.enumeration(("literal", tuple(values)), hint, values, [repr(value) for value in values], node, what)
        if lower == "annotated":
            return self.type(items[0], what, hint)
        self.fail(node, f"{what}: `{ast.unparse(node)}` has no form in WIT")

    def enumeration(self, key, hint, values, codes, node, what):
        """`codes` are expressions for the author's values, in the adapter."""
        if key in self.named:
            return self.named[key]
        ids = [identifier(value, self.failing(node), f"{what}: the value") for value in values]
        name = self.unique(hint)
        self.definitions.append(f"enum %{name} {{ {', '.join('%' + one for one in ids)} }}")
        ours = f"wit_world.{''.join(part.capitalize() for part in name.split('-'))}"
        members = [f"{ours}.{snake(one).upper()}" for one in ids]
        forth = "{" + ", ".join(f"{member}: {code}" for member, code in zip(members, codes)) + "}"
        back = "{" + ", ".join(f"{code}: {member}" for member, code in zip(members, codes)) + "}"
        made = Type(f"%{name}", lambda v: f"{forth}[{v}]", lambda v: f"{back}[{v}]")
        self.named[key] = made
        return made

    def class_type(self, cls, node, what):
        if cls.name in self.named:
            return self.named[cls.name]
        if cls.name in self.open:
            self.fail(node, f"{what}: `{cls.name}` contains itself, which WIT has no form for")
        bases = {self.name_of(base) for base in cls.bases}
        name = identifier(cls.name, self.failing(cls), "the class")
        if bases & {"Enum", "StrEnum", "IntEnum"}:
            members = [target.id for part in cls.body if isinstance(part, ast.Assign) for target in part.targets if isinstance(target, ast.Name)]
            if not members:
                self.fail(cls, f"the enum `{cls.name}` has no members")
            return self.enumeration(cls.name, name, [member.lower() for member in members], [f"author.{cls.name}.{member}" for member in members], cls, what)
        decorators = {self.name_of(one.func if isinstance(one, ast.Call) else one) for one in cls.decorator_list}
        typed = "TypedDict" in bases
        if "dataclass" not in decorators and not typed and "NamedTuple" not in bases:
            self.fail(node, f"{what}: the class `{cls.name}` has no form in WIT: make it a dataclass")
        self.open.append(cls.name)
        fields = []
        for part in cls.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                field = part.target.id
                id = identifier(field, self.failing(part), "the field")
                fields.append((field, id, self.type(part.annotation, f"{what}.{field}", f"{name}-{id}")))
        self.open.pop()
        if not fields:
            self.fail(cls, f"the class `{cls.name}` has no fields, which WIT has no form for")
        name = self.unique(name)
        self.definitions.append(f"record %{name} {{ {', '.join(f'%{id}: {one.wit}' for _, id, one in fields)} }}")
        ours = f"wit_world.{''.join(part.capitalize() for part in name.split('-'))}"
        take = (lambda field: f"o[{field!r}]") if typed else (lambda field: f"o.{field}")
        into = ", ".join(f"{field}={call(one.into, 'o.' + snake(id))}" for field, id, one in fields)
        out = ", ".join(f"{snake(id)}={call(one.out, take(field))}" for field, id, one in fields)
        made = Type(f"%{name}", lambda v: f"(lambda o: author.{cls.name}({into}))({v})", lambda v: f"(lambda o: {ours}({out}))({v})")
        self.named[cls.name] = made
        return made

    def functions(self):
        found = []
        for node in self.tree.body:
            if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_"):
                self.fail(node, f"`{node.name}` is async: make it an ordinary function")
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            id = identifier(node.name, self.failing(node), "the function")
            if node.args.vararg or node.args.kwarg:
                self.fail(node, f"`{node.name}` takes any number of arguments: take a list")
            ordinary = node.args.posonlyargs + node.args.args
            defaults = [None] * (len(ordinary) - len(node.args.defaults)) + node.args.defaults
            arguments = list(zip(ordinary, defaults)) + list(zip(node.args.kwonlyargs, node.args.kw_defaults))
            params = []
            for index, (argument, default) in enumerate(arguments):
                what = f"parameter `{argument.arg}` of `{node.name}`"
                if argument.annotation is None:
                    self.fail(argument, f"{what} has no type: write `{argument.arg}: float`")
                param_id = identifier(argument.arg, self.failing(argument), "the parameter")
                made = self.type(argument.annotation, what, f"{id}-{param_id}")
                if default is not None and not made.wit.startswith("option<"):
                    made = Type(f"option<{made.wit}>", made.into, made.out)
                params.append((argument.arg, param_id, made, default is not None, index >= len(ordinary)))
            if node.returns is None:
                self.fail(node, f"the result of `{node.name}` has no type: write `-> float`, or `-> None`")
            nothing = isinstance(node.returns, ast.Constant) and node.returns.value is None
            returned = None if nothing else self.type(node.returns, f"the result of `{node.name}`", f"{id}-result")
            raises = bool(re.search(r"^\s*(:raises|Raises:)", ast.get_docstring(node) or "", re.M))
            found.append((node.name, id, params, returned, raises))
        if not found:
            raise Mistake(f"{self.file} has no public function: write `def …` at its top level")
        return found


def wit_of(module, found):
    lines = ["package local:guest;", "", "world guest {", "  import wasi:logging/logging;"]
    lines += [f"  {definition}" for definition in module.definitions]
    for _, id, params, returned, raises in found:
        result = returned.wit if returned else None
        if raises:
            result = f"result<{result or '_'}, string>"
        arrow = f" -> {result}" if result else ""
        lines.append(f"  export %{id}: func({', '.join(f'%{param}: {made.wit}' for _, param, made, _, _ in params)}){arrow};")
    return "\n".join([*lines, "}", ""])


HEAD = '''import sys

# Compiled modules belong to whoever runs them, not beside the author's source.
sys.dont_write_bytecode = True

import builtins
import logging as _logging
import traceback

import wit_world
from componentize_py_types import Err
from wit_world.imports import logging as _host

import {author} as author

_LEVELS = [(50, _host.Level.CRITICAL), (40, _host.Level.ERROR), (30, _host.Level.WARN), (20, _host.Level.INFO), (10, _host.Level.DEBUG)]


class _Handler(_logging.Handler):
    def emit(self, record):
        level = next((level for least, level in _LEVELS if record.levelno >= least), _host.Level.TRACE)
        _host.log(level, f"guest:py:{{record.name}}", self.format(record))


_logging.getLogger().addHandler(_Handler())
_logging.getLogger().setLevel(_logging.DEBUG)


def _print(*values, sep=" ", end="", file=None, flush=False):
    _host.log(_host.Level.INFO, "guest:py", (sep or "").join(str(value) for value in values))


builtins.print = _print


class WitWorld(wit_world.WitWorld):
'''


def adapter_of(found, author):
    lines = [HEAD.format(author=author)]
    for name, id, params, returned, raises in found:
        names = [f"a{index}" for index in range(len(params))]
        lines.append(f"    def {snake(id)}(self{''.join(', ' + one for one in names)}):")
        lines.append("        args, named = [], {}")
        for one, (argument, _, made, has_default, keyword) in zip(names, params):
            value = call(made.into, one)
            put = f"named[{argument!r}] = {value}" if keyword or has_default else f"args.append({value})"
            lines.append(f"        if {one} is not None: {put}" if has_default else f"        {put}")
        lines.append("        try:")
        lines.append(f"            result = author.{name}(*args, **named)")
        lines.append(f"            return {call(returned.out, 'result') if returned else 'None'}")
        lines.append("        except Exception as error:")
        if raises:
            lines.append("            raise Err(str(error))")
        else:
            lines.append(f'            _host.log(_host.Level.ERROR, "guest:py:{name}", traceback.format_exc().strip())')
            lines.append("            raise")
        lines.append("")
    return "\n".join(lines)


def main():
    order = json.loads(sys.argv[1])
    module = Module(order["source"])
    found = module.functions()
    wit, work = wit_of(module, found), order["work"]
    author = os.path.splitext(module.file)[0]
    if not author.isidentifier():
        raise Mistake(f"{module.file}: the file's name must be a Python name")
    os.makedirs(os.path.join(work, "wit/deps/logging"))
    for path, text in {"wit/guest.wit": wit, "wit/deps/logging/logging.wit": LOGGING_WIT, "asterism_adapter.py": adapter_of(found, author)}.items():
        with open(os.path.join(work, path), "w", encoding="utf-8") as file:
            file.write(text)
    return {"wit": wit}


try:
    print(json.dumps(main()))
except Mistake as mistake:
    print(json.dumps({"error": str(mistake)}))
except UnicodeDecodeError as error:
    print(json.dumps({"error": f"it is not UTF-8: {error}"}))
