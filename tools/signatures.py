"""How long the code's files, functions and lists of parameters are, and how much of them is typed.

    python tools/signatures.py [CHECKOUT]     prints the table
    python tools/signatures.py --check        fails on a missing type, or on more than 8 parameters

Builders of models and encoders take the options of their papers by keyword, however many; they are counted apart.
"""

import argparse
import ast
import sys
from dataclasses import dataclass
from pathlib import Path

ROOMS = (
    "maskzoo", "cli", "report", "planning", "deployment", "training", "evaluation", "inference", "postprocessing",
    "models", "losses", "metrics", "data",
)  # fmt: skip
MOST_PARAMETERS = 8
BUILDERS = "models/"


@dataclass
class Function:
    """A function or method as it is defined.

    Attributes:
        place: `path:line name`.
        public: Whether neither it nor what it is defined in begins with an underscore.
        lines: How many lines it takes.
        parameters: Their names and annotations, `self` and `cls` left out.
        returns: Whether what it returns is typed.
        builder: Whether it is in `models`.
    """

    place: str
    public: bool
    lines: int
    parameters: list[tuple[str, ast.expr | None]]
    returns: bool
    builder: bool

    @property
    def untyped(self) -> list[str]:
        return [name for name, annotation in self.parameters if annotation is None]

    @property
    def any_typed(self) -> list[str]:
        return [
            name for name, annotation in self.parameters if annotation is not None and "Any" in ast.unparse(annotation)
        ]


def functions_of(path: Path, name: str) -> list[Function]:
    """All functions of a file, those inside classes included, those inside functions not."""
    found: list[Function] = []

    def visit(body: list[ast.stmt], prefix: str, public: bool) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{prefix}{node.name}.", public and not node.name.startswith("_"))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
                every += [one for one in (given.vararg, given.kwarg) if one is not None]
                if prefix and every and every[0].arg in ("self", "cls"):
                    every = every[1:]
                dunder = node.name.startswith("__") and node.name.endswith("__")
                found.append(
                    Function(
                        f"{name}:{node.lineno} {prefix}{node.name}",
                        public and (dunder or not node.name.startswith("_")),
                        (node.end_lineno or node.lineno) - node.lineno + 1,
                        [(one.arg, one.annotation) for one in every],
                        node.returns is not None,
                        name.startswith(BUILDERS),
                    )
                )

    visit(ast.parse(path.read_text(encoding="utf-8")).body, "", True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--check", action="store_true", help="exit with 1 where the rules are broken, and say where")
    arguments = parser.parse_args()
    root = arguments.checkout
    paths = sorted(path for room in ROOMS if (root / room).is_dir() for path in (root / room).rglob("*.py"))
    functions = [one for path in paths for one in functions_of(path, str(path.relative_to(root)))]
    public = [one for one in functions if one.public]
    texts = {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in paths}
    long_files = sorted(((len(text.splitlines()), name) for name, text in texts.items()), reverse=True)
    parameters = [pair for one in public for pair in one.parameters]
    typed = sum(annotation is not None for _, annotation in parameters)
    many = [one for one in functions if len(one.parameters) > MOST_PARAMETERS]
    ignores = sum(text.count("pyright: ignore") + text.count("type: ignore") for text in texts.values())
    longest = max(functions, key=lambda one: one.lines)
    print(f"files                                  {len(paths)}, {sum(lines for lines, _ in long_files)} lines")
    print(f"longest files                          {', '.join(f'{name} {lines}' for lines, name in long_files[:3])}")
    print(f"files over 300 lines                   {sum(lines > 300 for lines, _ in long_files)}")
    print(f"longest function                       {longest.place}, {longest.lines} lines")
    builders = sum(one.builder for one in many)
    print(f"functions of more than 8 parameters    {len(many) - builders} (and {builders} builders in models)")
    print(f"parameters of public functions, typed  {typed} of {len(parameters)}")
    print(f"public functions with a typed result   {sum(one.returns for one in public)} of {len(public)}")
    print(f"parameters typed with Any, public      {sum(len(one.any_typed) for one in public)}")
    print(f"pyright: ignore                        {ignores}")
    broken = [f"{one.place}: {len(one.parameters)} parameters" for one in many if not one.builder]
    broken += [f"{one.place}: no type for {', '.join(one.untyped)}" for one in public if one.untyped]
    broken += [f"{one.place}: no type for its result" for one in public if not one.returns]
    if arguments.check:
        print("\n".join(broken))
        sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
