"""How the site is made from the repository: MkDocs calls these functions by their names (see mkdocs.yml).

Sources are laid out in build/docs where they lie in the repository. Notebooks become Markdown there, with their
pictures beside them, and each package of lrs gets a page that mkdocstrings fills from docstrings. Formulas become
MathML, so that pages need neither the network nor a script.
"""

import ast
import base64
import html
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
STAGED = ROOT / "build/docs"
# What pages are made from, and what they link to.
SOURCES = (
    *("README.md", "LICENSE", "CITATION.cff", "Makefile", "params.yaml", "dvc.yaml", "profiles/*.yaml", "docs/*.*"),
    "docs/examples/*.py",
    *("data/expected/**/*.*", "data/paper/*.*", "data/bench/*.csv", "data/survey/*.csv", "data/sweep/*.csv"),
    "data/confirm/**/*.*",
    *(
        "data/reasoners/**/*.md",
        "data/reasoners/**/*.csv",
        "data/reasoners/**/*.png",
        "data/reasoners/**/recipe.yaml",
        "tests/oracle.py",
    ),
)
_MODULE_LINK = re.compile(r"\]\((?:\.\./)*(lrs/[\w/]+)\.py\)")
_NOTEBOOK_LINK = re.compile(r"(\]\([^)\s]+)\.ipynb\)")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
_UNREAD = re.compile(r"<m[ion]>(\\[^<]*|&)</")
_STYLE = re.compile(r"<style.*?</style>", re.DOTALL)
Json = dict[str, Any]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lay out the sources, and complete the navigation by notebooks and packages."""
    shutil.rmtree(STAGED, ignore_errors=True)
    for path in sorted({path for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file()}):
        target = STAGED / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".ipynb":
            write_notebook(json.loads(path.read_text(encoding="utf-8")), target.with_suffix(".md"))
        elif path.name != Path(__file__).name:
            shutil.copyfile(path, target)
    notebooks = STAGED.glob("data/expected/*/notebooks/**/*.md")
    pages = {"Notebooks": [_staged(path) for path in sorted(notebooks, key=lambda path: (path.name, path))]}
    pages["API"] = [{name: _staged(path)} for name, path in write_api(ROOT / "lrs", STAGED / "api").items()]
    for entry in config.nav:
        entry.update({name: pages[name] for name in entry.keys() & pages.keys()})
    config.nav = [entry for entry in config.nav if list(entry.values()) != [[]]]
    config.docs_dir = str(STAGED)
    return config


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links to modules lead to their documentation, those to notebooks to their pages."""
    up = os.path.relpath(STAGED, (STAGED / page.file.src_uri).parent)

    def module_link(match: re.Match[str]) -> str:
        name = match[1].replace("/", ".").removesuffix(".__init__")
        return f"]({up}/api/{name.split('.')[1].strip('_')}.md#{name})"

    return _NOTEBOOK_LINK.sub(r"\1.md)", _MODULE_LINK.sub(module_link, markdown))


def on_page_content(content: str, **_: Any) -> str:
    """Formulas as MathML."""
    return _FORMULA.sub(lambda match: mathml(html.unescape(match[3]), inline=match[2] == "("), content)


def mathml(formula: str, inline: bool) -> str:
    """A formula of LaTeX as MathML.

    Raises:
        PluginError: it holds something that would be shown as it is written.
    """
    drawn = convert(formula.replace("{aligned}", "{align*}"), display="inline" if inline else "block")
    if unknown := _UNREAD.findall(drawn):
        raise PluginError(f"latex2mathml cannot read {', '.join(unknown)} in the formula {formula.strip()}")
    return drawn


def write_api(package: Path, folder: Path) -> dict[str, Path]:
    """A page for each part of the package, with the lines that mkdocstrings replaces by what docstrings say.

    Returns:
        The pages by what they document, in alphabetical order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pages = {}
    for path in sorted(package.iterdir()):
        if not (path.is_dir() and (path / "__init__.py").exists()) and path.suffix != ".py":
            continue
        files = sorted(path.glob("*.py")) if path.is_dir() else [path]
        names = [".".join(file.relative_to(package.parent).with_suffix("").parts) for file in files if _says(file)]
        names = [name.removesuffix(".__init__") for name in names]
        first, *others = names
        page = folder / f"{path.stem.strip('_')}.md"
        page.write_text("\n\n".join([f"::: {first}\n    options: {{heading_level: 1}}", *(f"::: {n}" for n in others)]))
        pages[first] = page
    return pages


def write_notebook(notebook: Json, target: Path) -> None:
    """Write an executed notebook as Markdown: prose as it is, code and what it returned below one another."""
    target.parent.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, cell in enumerate(notebook["cells"], 1):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif "parameters" not in cell["metadata"].get("tags", []):  # papermill writes a cell with its own below
            outputs = [_output(output, target, f"{number}-{place}") for place, output in enumerate(cell["outputs"], 1)]
            parts += [_fence(source, "python"), *filter(None, outputs)]
    target.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _output(output: Json, target: Path, name: str) -> str:
    """One output in its richest form; a picture is written beside the page."""
    data = {kind: "".join(value) for kind, value in output.get("data", {}).items() if isinstance(value, str | list)}
    if "image/png" in data:
        picture = target.with_name(f"{target.stem}-{name}.png")
        picture.write_bytes(base64.b64decode(data["image/png"]))
        return f"![output of the cell above]({picture.name})"
    if "text/markdown" in data:
        return f'<div class="output" markdown="1">\n\n{data["text/markdown"]}\n\n</div>'
    if "text/html" in data:
        table = _STYLE.sub("", data["text/html"]).replace('<table border="1" class="dataframe">', "<table>")
        return f'<div class="output">\n{table}\n</div>'
    text = data.get("text/plain") or "".join(output.get("text", ""))
    if not text.strip() or text.startswith("<Figure"):  # what a picture is called beside itself
        return ""
    return f'<div class="output" markdown="1">\n\n{_fence(text, "text")}\n\n</div>'


def _fence(text: str, language: str) -> str:
    return f"`````{language}\n{text.rstrip()}\n`````"


def _staged(path: Path) -> str:
    return path.relative_to(STAGED).as_posix()


def _says(path: Path) -> bool:
    """Whether a module has anything to document; a package's own does where it has no functions but a docstring."""
    return bool(ast.parse(path.read_text(encoding="utf-8")).body)
