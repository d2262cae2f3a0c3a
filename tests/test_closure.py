"""What code depends on: every module that running it reads, and nothing that does not act."""

import shutil
from pathlib import Path

import pytest

from lrs.core.closure import ROOT, WITHOUT_EFFECT, closure, code_of, imports_of, source_fingerprint

# Of each kind of part that stages keep: the module that makes it, and modules that it works with.
MADE_BY = {
    "problems, traces": (
        "lrs.experiment.traces",
        ["tasks/problems", "tasks/answers", "engine/decoding", "tasks/prompts"],
    ),
    "autoencoder": ("lrs.learning.sae", ["method/dictionary", "models/activations", "tasks/splits"]),
    "latents": ("lrs.learning.latents", ["method/dictionary", "models/activations"]),
    "reward": ("lrs.learning.reward_training", ["method/reward", "learning/latents", "core/statistics"]),
    "signals": ("lrs.experiment.signals", ["learning/reward_training", "models/activations"]),
    "outcomes": (
        "lrs.experiment.evaluation",
        ["experiment/traces", "method/setting", "method/gate", "engine/steerer", "core/store"],
    ),
}
CASES = [(kind, other) for kind, (module, others) in MADE_BY.items() for other in (module, *others)]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "lrs", root / "lrs", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / "lrs" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def names(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root / "lrs").with_suffix("").as_posix() for path in paths]


def test_closure_follows_packages_and_leaves_out_what_does_nothing(tmp_path: Path):
    root = write(
        tmp_path,
        {
            "__init__": '"""Docstring."""\nimport lrs.unread',
            "a": "from lrs.figures import b",
            "c": "",
            "d": "x = 1",
            "figures/__init__": "import lrs.d",
            "figures/b": "def f():\n    from lrs.c import x\n    import lrs.e.f",
            "e/__init__": '"""Docstring."""',
            "e/f": "y = 2",
            "unread": "z = 3",
        },
    )
    assert names(closure("from lrs import a", root), root) == ["a", "d", "e/f", "figures/__init__", "figures/b"]
    assert names(imports_of(root / "lrs/figures/b.py", root), root) == ["c", "e/__init__", "e/f"]


def test_a_name_of_a_module_is_no_module(tmp_path: Path):
    root = write(tmp_path, {"a": "from lrs.b import a, f", "b": "a = f = 1"})
    assert names(closure("import lrs.a\nimport os.path", root), root) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('"""Other words."""\nfrom lrs.b import f\n\n\n# why\ndef g(x):\n    "Told otherwise."\n    return f(x)', True),
        ("from lrs.b import f\ndef g(x): return f( x )", True),
        ("from typing import TYPE_CHECKING\nfrom lrs.b import f\ndef g(x): return f(x)", False),
        ("from lrs.b import f\ndef g(x): return f(x + 1)", False),
        ("from lrs.b import f\ndef g(y): return f(y)", False),
    ],
)
def test_only_what_acts_is_hashed(tmp_path: Path, text: str, same: bool):
    before = '"""Words."""\n\nfrom lrs.b import f\n\n\ndef g(x):\n    """Told."""\n    return f(x)\n'
    write(tmp_path, {"a": before, "b": "def f(x): return x"})
    first = source_fingerprint("import lrs.a", tmp_path)
    write(tmp_path, {"a": text})
    assert (source_fingerprint("import lrs.a", tmp_path) == first) is same


def test_what_only_annotates_is_not_followed(tmp_path: Path):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lrs.b import B\nx = 1"
    write(tmp_path, {"a": text, "b": "B = 1"})
    assert names(closure("import lrs.a", tmp_path), tmp_path) == ["a"]


@pytest.mark.parametrize(("kind", "edited"), CASES)
def test_editing_a_module_makes_what_it_made_stale(copy: Path, kind: str, edited: str):
    source = f"import {MADE_BY[kind][0]}"
    path = (copy / edited.replace(".", "/")) if edited.startswith("lrs.") else copy / "lrs" / edited
    path = path.with_suffix(".py")
    before, text = source_fingerprint(source, copy), path.read_text()
    path.write_text(text + "\n# a comment\n")
    assert source_fingerprint(source, copy) == before
    path.write_text(text + "\n_EDITED = 1\n")
    assert source_fingerprint(source, copy) != before
    path.write_text(text)


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("reward", "engine/steerer"),
        ("signals", "method/arms"),
        ("outcomes", "method/arms"),
        ("outcomes", "tutor/countdown"),
        ("traces", "config"),
    ],
)
def test_what_does_not_make_it_leaves_it_fresh(kind: str, other: str):
    """A new arm, a new section of the profile or another engine does not undo hours of work."""
    module = next(module for name, (module, _) in MADE_BY.items() if kind in name)
    assert other not in names(closure(f"import {module}"), ROOT)


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_what_cannot_change_what_is_made_undoes_no_work(copy: Path, name: str):
    """A progress line or an error's text costs nothing; what the module itself reads still counts."""
    path = copy / "lrs" / f"{name}.py"
    sources = [f"import {module}" for module, _ in MADE_BY.values()]
    before, text = [source_fingerprint(source, copy) for source in sources], path.read_text()
    path.write_text(text + "\n_EDITED = 1\n")
    assert [source_fingerprint(source, copy) for source in sources] == before
    path.write_text(text + "\nimport lrs.method.gate\nimport lrs.method.arms\nimport lrs.learning.sae\n")
    assert all(source_fingerprint(source, copy) != old for source, old in zip(sources, before, strict=True))
    path.write_text(text)


def test_the_code_of_a_part_names_the_libraries_it_was_made_with():
    assert set(code_of("lrs.method.gate")) == {
        "code",
        *("numpy", "torch", "transformers", "tokenizers", "sae-lens", "reasoning-gym"),
    }
    assert code_of("lrs.method.gate") != code_of("lrs.method.ascent")


@pytest.mark.parametrize(
    "source",
    ["import lrs.nope", "from lrs.nope import f", "from .b import f", "def f():\n    from lrs.e.nope import g"],
)
def test_an_import_that_cannot_be_followed_is_refused(tmp_path: Path, source: str):
    write(tmp_path, {"a": source, "b": "f = 1"})
    with pytest.raises(ImportError):
        closure("import lrs.a", tmp_path)
