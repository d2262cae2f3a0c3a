"""What a piece of code depends on: the modules of this package that running it imports, and a hash of what they do.

Comments, docstrings, layout and what is imported for annotations alone (`if TYPE_CHECKING:`) do nothing, so changing
them leaves the hash as it is.
"""

import ast
from functools import cache
from importlib.metadata import version
from pathlib import Path

from lrs.core.digests import fingerprint

ROOT = Path(__file__).parents[2]
_PACKAGE = "lrs"
# No part of any closure, and why; what they import is. An error's text or a progress line undoes no hours of work.
WITHOUT_EFFECT = {
    "core/progress": "prints lines on stderr, and hands nothing back",
    "core/closure": "only names code in plans; where it names it in another way, plans differ by that alone",
    "core/kept": "decides what is kept, made again or refused; what lies in which file, and is read, is the store's",
}
_LIBRARIES = (
    "numpy",
    "torch",
    "transformers",
    "tokenizers",
    "sae-lens",
    "reasoning-gym",
)  # whose releases move numbers


def code_of(*modules: str) -> dict[str, str]:
    """What rows or weights made by these modules depend on: a hash of their closure, and versions of libraries."""
    source = "\n".join(f"import {module}" for module in modules)
    return {"code": source_fingerprint(source)} | library_versions()


def library_versions() -> dict[str, str]:
    """Versions of the libraries whose releases move numbers, by name, without what tells one build from another."""
    return {name: version(name).partition("+")[0] for name in _LIBRARIES}


def source_fingerprint(source: str, root: Path = ROOT) -> str:
    """Hash of what the modules that `source` imports, directly or not, do."""
    return fingerprint(
        {path.relative_to(root).as_posix(): _meaning(text) for path, text in _read(source, root).items()}
    )


def closure(source: str, root: Path = ROOT) -> list[Path]:
    """The modules of the package that running `source` reads, directly or not.

    Those that do nothing are left out, and so are those of `WITHOUT_EFFECT`, which cannot change what is made.

    The package's own `__init__` only forwards names and is no part of it.

    Raises:
        ImportError: one of them does not exist.
    """
    return list(_read(source, root))


def _read(source: str, root: Path) -> dict[Path, str]:
    """The modules of a `closure`, sorted, and their texts."""
    texts: dict[Path, str] = {}
    waiting = _imports(source, root)
    while waiting:
        path = waiting.pop()
        if path not in texts:
            texts[path] = path.read_text("utf-8")
            waiting |= _imports(texts[path], root)
    apart = {root.joinpath(_PACKAGE, f"{name}.py") for name in WITHOUT_EFFECT}
    return {path: texts[path] for path in sorted(texts.keys() - apart) if _stripped(texts[path]).body}


def imports_of(path: Path, root: Path = ROOT) -> list[Path]:
    """The modules of the package that a module imports itself, here or inside its functions."""
    return sorted(_imports(path.read_text("utf-8"), root))


def _imports(text: str, root: Path) -> set[Path]:
    """Files of the modules that a text imports, and of the packages they lie in."""
    found: set[Path] = set()
    for module, name in _imported(text):
        found |= (_files(f"{module}.{name}", root) if name else set()) or _module(module, root)
    return found


@cache
def _imported(text: str) -> tuple[tuple[str, str], ...]:
    """What a text imports of this package: a module, and a name in it, or none if it imports the whole of it."""
    found = set()
    for node in ast.walk(_stripped(text)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ImportError(f"a relative import of {node.module or '.'}: name modules of {_PACKAGE} in full")
            found |= {(node.module, alias.name) for alias in node.names}
    return tuple(sorted((module, name) for module, name in found if module.partition(".")[0] == _PACKAGE))


def _module(name: str, root: Path) -> set[Path]:
    """As `_files`, of a name that must be a module if it is one of the package."""
    files = _files(name, root)
    if name.startswith(f"{_PACKAGE}.") and not files:
        raise ImportError(f"there is no module {name}")
    return files


def _files(name: str, root: Path) -> set[Path]:
    """The module of that name, and the packages around it below the package itself; none where there is no file."""
    top, *parts = name.split(".")
    if top != _PACKAGE or not parts:
        return set()
    at = root.joinpath(_PACKAGE, *parts)
    module = at.with_suffix(".py") if at.with_suffix(".py").exists() else at / "__init__.py"
    if not module.exists():
        return set()
    around = (root.joinpath(_PACKAGE, *parts[:depth], "__init__.py") for depth in range(1, len(parts)))
    return {module, *(package for package in around if package.exists())}


@cache
def _stripped(text: str) -> ast.Module:
    """The tree of a module without docstrings and without what only type checkers run."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [part for part in body if not _does_nothing(part)]
    return tree


def _does_nothing(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@cache
def _meaning(text: str) -> str:
    return ast.dump(_stripped(text))
