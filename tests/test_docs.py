"""The site's hooks, and the lists in docs/ that are written by hand: they name what there is, and all of it."""

import base64
import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from mkdocs.exceptions import PluginError
from test_structure import ORDER

from lrs.method.arms import ARMS
from lrs.tasks.benchmarks import BENCHMARKS

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code(source: str, *outputs: dict, tags: tuple[str, ...] = ()) -> dict:
    return {"cell_type": "code", "source": [source], "metadata": {"tags": list(tags)}, "outputs": list(outputs)}


def result(**data: str) -> dict:
    return {"output_type": "execute_result", "data": {kind.replace("_", "/"): [text] for kind, text in data.items()}}


def test_a_notebook_becomes_markdown_with_its_pictures_beside_it(hooks, tmp_path: Path):
    frame = '<div>\n<style scoped>\n.x {}\n</style>\n<table border="1" class="dataframe">\n<tr></tr></table></div>'
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "With $z_t$."], "metadata": {}},
        code('profile = "cpu"', tags=("parameters",)),
        code('# Parameters\nprofile = "full"', tags=("injected-parameters",)),
        code("figure", result(image_png=base64.b64encode(b"picture").decode(), text_plain="<Figure size 1x1>")),
        code("frame", result(text_html=frame, text_plain="no one reads this")),
        code("sentence", result(text_markdown="**said**")),
        code('print("a")', {"output_type": "stream", "name": "stdout", "text": ["a\n", "```b\n"]}),
    ]
    hooks.write_notebook({"cells": cells}, tmp_path / "01_traces.md")
    page = (tmp_path / "01_traces.md").read_text()
    assert page.startswith("# Title\n\nWith $z_t$.\n\n`````python\n# Parameters\n")
    assert 'profile = "cpu"' not in page
    (picture,) = tmp_path.glob("*.png")
    assert f"]({picture.name})" in page
    assert picture.read_bytes() == b"picture"
    assert '<div class="output">\n<div>\n\n<table>\n<tr></tr></table></div>\n</div>' in page
    assert "no one reads this" not in page
    assert "<Figure" not in page
    assert "\n\n**said**\n\n" in page
    assert "`````text\na\n```b\n`````" in page


def test_formulas_become_mathml_and_what_cannot_be_read_is_refused(hooks):
    shown = hooks.on_page_content(r'<p>a <span class="arithmatex">\(r &lt; \tau\)</span> b</p>')
    assert re.fullmatch(r'<p>a <math [^>]*display="inline">.*</math> b</p>', shown)
    assert "&#x0003C;" in shown
    block = hooks.on_page_content('<div class="arithmatex">\\[\nx\n\\]</div>')
    assert 'display="block"' in block
    assert "mtable" in hooks.mathml(r"\begin{aligned} a &= b \\ c &= d \end{aligned}", inline=False)
    with pytest.raises(PluginError, match=r"cannot read \\nothing"):
        hooks.mathml(r"\nothing x", inline=True)


@pytest.mark.parametrize(
    ("page", "written", "shown"),
    [
        ("docs/a.md", "../lrs/method/gate.py", "../api/method.md#lrs.method.gate"),
        ("docs/a.md", "../lrs/tutor/__init__.py", "../api/tutor.md#lrs.tutor"),
        ("README.md", "lrs/config.py", "./api/config.md#lrs.config"),
        ("docs/a.md", "../data/expected/cpu/notebooks/08_bench.ipynb", "../data/expected/cpu/notebooks/08_bench.md"),
        ("docs/a.md", "../tests/oracle.py", "../tests/oracle.py"),
    ],
)
def test_links_lead_to_pages_of_the_site(hooks, page: str, written: str, shown: str):
    place = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    assert hooks.on_page_markdown(f"see [it]({written}).", page=place) == f"see [it]({shown})."


def test_every_module_has_its_place_in_the_api(hooks, tmp_path: Path):
    pages = hooks.write_api(ROOT / "lrs", tmp_path)
    named = re.findall(r"^::: (\S+)", "\n".join(page.read_text() for page in pages.values()), flags=re.MULTILINE)
    paths = (path.relative_to(ROOT).with_suffix("").parts for path in (ROOT / "lrs").rglob("*.py"))
    assert sorted(named) == sorted(".".join(parts).removesuffix(".__init__") for parts in paths)


def column(path: str, heading: str, number: int = 0) -> list[str]:
    """What stands in a column of the first table below a heading, without its marks."""
    text = (ROOT / path).read_text().split(f"## {heading}\n", 1)[1]
    rows = re.search(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)[0].splitlines()[2:]
    return [row.strip("|").split(" | ")[number].strip() for row in rows]


def test_packages_stand_in_their_order():
    listed = re.findall(r"\[(\w+)\]", " ".join(column("docs/how_it_works.md", "The package")))
    assert listed == [name for name in ORDER if not name.startswith("__")]


def test_notebooks_and_stages_are_those_of_dvc():
    commands = {name: (stage.get("do") or stage)["cmd"].split() for name, stage in STAGES.items() if name != "clean"}
    expected = {f"`{command[4]}`": f"`{name}`" for name, command in commands.items()}
    notebooks, stages = (column("docs/how_it_works.md", "Notebooks and stages", number) for number in (0, 1))
    assert dict(zip(notebooks, stages, strict=True)) == expected


def test_arms_benchmarks_and_reasoners_are_those_that_there_are():
    assert ", ".join(column("docs/test_bed.md", "Arms")) == ", ".join(f"`{name}`" for name in ARMS)
    assert column("docs/test_bed.md", "Benchmarks") == [f"`{name}`" for name in BENCHMARKS]
    reasoners = {path.parent.name for path in (ROOT / "data/reasoners").glob("*/recipe.yaml")}
    assert {re.match(r"\[(.*?)\]", cell)[1] for cell in column("docs/test_bed.md", "Reasoners")} == reasoners


@pytest.mark.parametrize("path", [ROOT / "README.md", *DOCS], ids=lambda path: path.name)
def test_commands_that_are_named_exist(path: Path):
    targets = " ".join(re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)).split()
    assert set(re.findall(r"`make ([a-z-]+)", path.read_text())) <= set(targets)


def test_every_notebook_has_its_row():
    listed = {cell.strip("`") for cell in column("docs/how_it_works.md", "Notebooks and stages")}
    assert listed == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}


def test_code_in_docs_is_python_or_plain():
    for path in DOCS:
        for block in re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL):
            compile(block, path.name, "exec")


def test_the_navigation_holds_every_page_of_docs():
    text = (ROOT / "mkdocs.yml").read_text()
    assert [path.name for path in DOCS if f"docs/{path.name}" not in text] == []
    assert json.dumps(yaml.safe_load(text)["nav"]).count("docs/") == len(DOCS)


def test_the_slurm_script_is_shown_whole():
    assert f"```bash\n{(ROOT / 'docs/slurm.sh').read_text()}```" in (ROOT / "docs/running.md").read_text()
