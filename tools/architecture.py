"""The rooms of the house and what they import: printed, checked and drawn.

    python tools/architecture.py                  prints every room with the rooms and every file with the files it uses
    python tools/architecture.py --check          fails on a circle, an arrow upwards, or a private name across files
    python tools/architecture.py --draw FILE.svg  draws the rooms, floor upon floor, with their arrows

Imports are read from the source, those inside functions and those for type checkers too. A name that a room exports
counts as an import of the file that defines it.
"""

import argparse
import ast
import sys
import textwrap
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# From the top: a room imports from the floors below, never from its own floor or one above.
FLOORS = (
    ("cli",),
    ("report", "planning"),
    ("deployment", "training"),
    ("evaluation",),
    ("inference",),
    ("postprocessing",),
    ("models", "losses", "metrics", "data"),
    ("recipes",),
    ("maskzoo",),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# `models` takes only these from the ground floor: it is to be used without the rest.
ALLOWED_BELOW_MODELS = {"maskzoo/errors.py", "maskzoo/names.py", "maskzoo/files.py", "maskzoo/__init__.py"}
# Keras keeps its graph private, so that it may change; one file knows it.
KERAS_PRIVATE_HOME = "models/analysis/graph.py"
# Private by name only: public methods of named tuples.
NAMED_TUPLES = {"_asdict", "_fields", "_replace"}
# The doors: what a user imports and starts names the rooms above it.
DOORS = ("maskzoo/__init__.py", "maskzoo/__main__.py")
TENSORFLOW_HOMES = (
    "training/strategy.py",
    "training/hosts.py",
    "training/lockstep.py",
    "inference/engines",
    "deployment/",
)


@dataclass
class File:
    """A source file: what it imports and from where.

    Attributes:
        path: Path from the checkout's root.
        imports: `(file, name or None, line, only for type checkers)` for every import of a file of this project.
        private: Private names of other files that it uses, with the line.
        foreign: Modules of other projects, with the line.
    """

    path: str
    imports: list[tuple[str, str | None, int, bool]] = field(default_factory=list)
    private: list[tuple[str, int]] = field(default_factory=list)
    foreign: list[tuple[str, int]] = field(default_factory=list)


def source_files() -> list[str]:
    """The source files of all rooms, as paths from the root."""
    rooms = [room for rooms in FLOORS for room in rooms if (ROOT / room).is_dir()]
    return sorted(str(path.relative_to(ROOT)) for room in rooms for path in (ROOT / room).rglob("*.py"))


def module_of(path: str) -> str:
    """The module that a file is imported as: `maskzoo.data.windows`."""
    parts = Path(path).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts if parts[0] == "maskzoo" else ("maskzoo", *parts))


@cache
def files_of_modules() -> dict[str, str]:
    return {module_of(path): path for path in source_files()}


@cache
def parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


@cache
def exports(path: str) -> dict[str, str]:
    """The names that a package's `__init__` hands on, each with the module that defines it."""
    homes: dict[str, str] = {}
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom):
            module = absolute(path, node)
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                homes[alias.asname or alias.name] = inner if inner in files_of_modules() else module
    return homes


def absolute(path: str, node: ast.ImportFrom) -> str:
    """The module that a `from` names, without dots in front."""
    if not node.level:
        return node.module or ""
    package = module_of(path).split(".")
    if not path.endswith("__init__.py"):
        package.pop()
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])


def home_of(module: str, name: str | None) -> str | None:
    """The file that defines a name of a module of this project; `None` for a module of another."""
    known = files_of_modules()
    for _ in range(8):
        if name is not None and f"{module}.{name}" in known:
            module, name = f"{module}.{name}", None
        if module not in known:
            return None
        path = known[module]
        if name is None or not path.endswith("__init__.py") or name not in exports(path):
            return path
        module = exports(path)[name]
        if module.rpartition(".")[2] == name and module in known:
            name = None
    return None


def read(path: str) -> File:
    """Reads the imports of a file."""
    file, tree, rooms = File(path), parsed(path), {}
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            file.foreign += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = absolute(path, node)
            if module.split(".")[0] != "maskzoo":
                file.foreign.append((module, node.lineno))
                continue
            for alias in node.names:
                target = home_of(module, alias.name)
                if target is None:
                    raise SystemExit(f"{path}:{node.lineno}: expected a file behind {module}; received none")
                if alias.name.startswith("_") and not alias.name.startswith("__"):
                    file.private.append((f"{module}.{alias.name}", node.lineno))
                if target.endswith("__init__.py"):
                    rooms[alias.asname or alias.name] = module_of(target)
                elif f"{module}.{alias.name}" in files_of_modules():
                    rooms[alias.asname or alias.name] = f"{module}.{alias.name}"
                if target != path:
                    file.imports.append((target, alias.name, node.lineno, id(node) in for_types))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in rooms:
            module = rooms[node.value.id]
            target = home_of(module, node.attr)
            if target and target != path:
                file.imports.append((target, node.attr, node.lineno, False))
            if node.attr.startswith("_") and not node.attr.startswith("__"):
                file.private.append((f"{module}.{node.attr}", node.lineno))
    return file


def room_of(path: str) -> str:
    return path.split("/")[0]


def problems(files: list[File]) -> list[str]:
    """What breaks the rules of the house, one line each."""
    found = []
    for file in files:
        found += [f"{file.path}:{line}: private name of another file: {name}" for name, line in file.private]
        for target, name, line, _ in file.imports:
            here, there = room_of(file.path), room_of(target)
            if here != there and FLOOR_OF[there] <= FLOOR_OF[here] and file.path not in DOORS:
                found.append(
                    f"{file.path}:{line}: arrow upwards or along a floor: {here} -> {there} ({target}: {name})"
                )
            if here == "models" and there == "maskzoo" and target not in ALLOWED_BELOW_MODELS:
                found.append(f"{file.path}:{line}: models take only errors and names from maskzoo: {target}")
        if not file.path.startswith(TENSORFLOW_HOMES):
            found += [
                f"{file.path}:{line}: TensorFlow outside of {', '.join(TENSORFLOW_HOMES)}"
                for module, line in file.foreign
                if module.split(".")[0] == "tensorflow"
            ]
        if file.path != KERAS_PRIVATE_HOME:
            found += [
                f"{file.path}:{node.lineno}: private attribute of another file, or of Keras: {ast.unparse(node)}"
                for node in strange_privates(file.path)
            ]
    arrows = {file.path: sorted({t for t, _, _, _ in file.imports if not t.endswith("__init__.py")}) for file in files}
    found += [f"circle: {' -> '.join(circle)}" for circle in circles(arrows)]
    return found


def strange_privates(path: str) -> list[ast.Attribute]:
    """Private attributes that a file uses of objects other than its own, without defining them itself."""
    tree = parsed(path)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    used = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
            continue
        if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            own |= {node.attr} if isinstance(node.ctx, ast.Store) else set()
        else:
            used.append(node)
    return [node for node in used if node.attr not in own | NAMED_TUPLES]


def circles(arrows: dict[str, list[str]]) -> list[list[str]]:
    """A circle of imports for every file that is on one, the shortest, each named once."""
    found: dict[frozenset[str], list[str]] = {}
    for start in arrows:
        paths, seen = [[start]], {start}
        while paths:
            path = paths.pop(0)
            for following in arrows.get(path[-1], ()):
                if following == start:
                    found.setdefault(frozenset(path), [*path, start])
                    paths = []
                    break
                if following not in seen:
                    seen.add(following)
                    paths.append([*path, following])
    return list(found.values())


def room_arrows(files: list[File]) -> Counter[tuple[str, str]]:
    """How many files' imports tie two rooms together."""
    pairs = {(file.path, target) for file in files for target, _, _, _ in file.imports}
    return Counter((room_of(a), room_of(b)) for a, b in pairs if room_of(a) != room_of(b))


def print_graph(files: list[File]) -> None:
    arrows = room_arrows(files)
    for floor in FLOORS:
        for room in floor:
            inside = [file for file in files if room_of(file.path) == room]
            if not inside:
                continue
            uses = ", ".join(f"{b} ({n})" for (a, b), n in sorted(arrows.items()) if a == room)
            lines = sum(len((ROOT / file.path).read_text(encoding="utf-8").splitlines()) for file in inside)
            print(f"{room}/  {len(inside)} files, {lines} lines; uses {uses or 'nothing'}")
            for file in inside:
                targets = sorted({target for target, _, _, _ in file.imports if not target.endswith("__init__.py")})
                print(f"    {file.path}" + (f"  ->  {', '.join(targets)}" if targets else ""))


def first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.is_file() else None
    return (text or "").split("\n")[0].split(". ")[0].rstrip(".")


def draw(files: list[File], output: Path) -> None:
    """Draws the rooms as boxes, floor upon floor, with an arrow for what each uses, as SVG."""
    wide, high, gap, left = 230, 78, 46, 30
    floors = [[room for room in floor if (ROOT / room).is_dir() and room != "recipes"] for floor in FLOORS]
    floors = [floor for floor in floors if floor]
    width = max(len(floor) for floor in floors) * (wide + 24) + 2 * left
    places: dict[str, tuple[float, float]] = {}
    for number, floor in enumerate(floors):
        start = (width - len(floor) * (wide + 24) + 24) / 2
        places |= {room: (start + k * (wide + 24), 20 + number * (high + gap)) for k, room in enumerate(floor)}
    height = 20 + len(floors) * (high + gap)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" role="img">',
        "<title>The rooms of maskzoo and what they import</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" '
        'markerUnits="userSpaceOnUse" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#5b6b7b"/></marker></defs>',
    ]
    for (a, b), count in sorted(room_arrows(files).items()):
        if "maskzoo" in (a, b) or a not in places or b not in places:  # what every room uses tells nothing
            continue
        (ax, ay), (bx, by) = places[a], places[b]
        parts.append(
            f'<path d="M{ax + wide / 2:.0f} {ay + high} C{ax + wide / 2:.0f} {ay + high + 40} '
            f'{bx + wide / 2:.0f} {by - 40} {bx + wide / 2:.0f} {by - 2}" fill="none" stroke="#5b6b7b" '
            f'stroke-opacity="0.55" stroke-width="{min(4, 1 + count / 12):.1f}" marker-end="url(#a)"/>'
        )
    for room, (x, y) in places.items():
        count = sum(room_of(file.path) == room for file in files)
        text = first_line(ROOT / room / "__init__.py")
        lines = textwrap.wrap(text, 40, max_lines=2, placeholder=" ...")
        parts.append(
            f'<rect x="{x:.0f}" y="{y}" width="{wide}" height="{high}" rx="8" fill="#e8f1f8" stroke="#0072b2"/>'
            f'<text x="{x + 12:.0f}" y="{y + 26}" font-size="17" font-weight="bold" fill="#102a43">{room}/</text>'
            f'<text x="{x + wide - 12:.0f}" y="{y + 26}" font-size="12" text-anchor="end" fill="#486581">'
            f"{count} files</text>"
            + "".join(
                f'<text x="{x + 12:.0f}" y="{y + 48 + 15 * number}" font-size="10.5" fill="#243b53">'
                f"{escape(line)}</text>"
                for number, line in enumerate(lines)
            )
        )
    parts.append("</svg>")
    output.write_text("\n".join(parts) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="print only what breaks the rules; exit with 1 if anything"
    )
    parser.add_argument("--draw", type=Path, help="SVG to write")
    arguments = parser.parse_args()
    files = [read(path) for path in source_files()]
    if arguments.draw:
        draw(files, arguments.draw)
        return
    if not arguments.check:
        print_graph(files)
    found = problems(files)
    for problem in found:
        print(problem)
    arrows = sum(len({target for target, _, _, _ in file.imports}) for file in files)
    print(f"{len(files)} files, {arrows} imports of one another, {len(found)} problems")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
