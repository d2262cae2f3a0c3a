"""The harness's model `lrs`: unsteered it is the harness's own, steered it writes what `generate` does, and no more."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml
from test_own_model import MODELS, fitted, tokenizer

from lrs import load_fitted
from lrs.core.store import StoreError
from lrs.method.gate import ALWAYS

pytestmark = pytest.mark.skipif(not find_spec("lm_eval"), reason="needs lm_eval: pip install '.[harness]'")
QUESTIONS = ["w3 w4 w5", "w9 w10 w11 w12 w13", "w20"]
BUDGET = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, what was fitted to it as it is read from there, and a task of three documents."""
    home = tmp_path_factory.mktemp("harness")
    torch.manual_seed(0)
    model = MODELS["llama"]().eval()
    model.generation_config.pad_token_id = 1
    model.save_pretrained(home / "model")
    tokenizer().save_pretrained(home / "model")
    fitted(type(model).from_pretrained(home / "model"), home / "fitted")
    (home / "tasks").mkdir()
    rows = "".join(f'{{"question": "{question}", "answer": "w7"}}\n' for question in QUESTIONS)
    (home / "tasks/rows.jsonl").write_text(rows)
    task = {
        "task": "three",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(home / "tasks/rows.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["never"], "do_sample": False, "max_gen_toks": BUDGET},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    (home / "tasks/three.yaml").write_text(yaml.safe_dump(task))
    choice = task | {"task": "choice", "output_type": "multiple_choice", "doc_to_choice": ["w7", "w8"]}
    choice |= {"metric_list": [{"metric": "acc"}]}
    del choice["generation_kwargs"]
    (home / "tasks/choice.yaml").write_text(yaml.safe_dump(choice))
    return home


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What a model of the harness writes to the questions of a task, in their order."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    import lrs.bench.harness  # noqa: F401, it registers the model

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))

    def written(model: str, task: str = "three", batch_size: int = 2, **arguments: object) -> list[str]:
        given = {"pretrained": str(folder / "model"), "device": "cpu"} | arguments
        tasks = TaskManager(include_path=str(folder / "tasks"), include_defaults=False)
        how = {"tasks": [task], "task_manager": tasks, "batch_size": batch_size, "bootstrap_iters": 0}
        samples = simple_evaluate(model=model, model_args=given, log_samples=True, **how)["samples"][task]
        return [sample["resps"][0][0] for sample in sorted(samples, key=lambda sample: sample["doc_id"])]

    return written


def test_nothing_is_steered_by_no_step_or_a_closed_gate(run, folder):
    plain = run("hf")
    assert len(plain) == 3
    assert run("lrs", fitted=str(folder / "fitted"), step_size=0.0, gated=False) == plain
    closed = {"reward_threshold": 0.0, "confidence_threshold": 0.0, "step_size": 50.0}
    assert run("lrs", fitted=str(folder / "fitted"), **closed) == plain


@pytest.mark.parametrize("gated", [False, True])
def test_what_is_steered_is_what_generate_writes(run, folder, gated):
    from lm_eval.models.huggingface import HFLM

    reference = HFLM(str(folder / "model"), device="cpu")
    made = load_fitted(folder / "fitted", reference.model)
    expected = []
    for question in QUESTIONS:
        prompt = reference.tokenizer(question, return_tensors="pt")
        with made.steer(reference.model, num_steps=2, step_size=50.0, gate=None if gated else ALWAYS):
            ids = reference.model.generate(**prompt, max_new_tokens=BUDGET, do_sample=False)
        text = reference.tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
        expected.append(text)
    how = {"fitted": str(folder / "fitted"), "num_steps": 2, "step_size": 50.0, "gated": gated}
    steered = run("lrs", batch_size=1, **how)
    assert steered == expected
    assert run("lrs", batch_size=3, **how) == expected
    assert steered != run("hf")


def test_likelihoods_are_refused(run, folder):
    with pytest.raises(NotImplementedError, match="likelihoods of given texts are those of --model hf"):
        run("lrs", "choice", fitted=str(folder / "fitted"))


def test_the_command_knows_the_model(folder, monkeypatch, tmp_path, capsys):
    import runpy
    import sys

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    arguments = f"pretrained={folder / 'model'},fitted={folder / 'fitted'},step_size=2.0"
    command = ["--model", "lrs", "--model_args", arguments, "--tasks", "three", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["harness", *command, "--include_path", str(folder / "tasks")])
    monkeypatch.delitem(sys.modules, "lrs.bench.harness", raising=False)
    from lm_eval.api.registry import model_registry

    model_registry._objs.pop("lrs", None)
    runpy.run_module("lrs.bench.harness", run_name="__main__")
    assert "exact_match" in capsys.readouterr().out


def test_another_model_is_refused(folder):
    torch.manual_seed(1)
    with pytest.raises(StoreError, match="was fitted to another model"):
        load_fitted(folder / "fitted", MODELS["llama"]())
    with pytest.raises(StoreError, match=r"there is no \S+/fitted.json: let `lrs.fit` make it"):
        load_fitted(folder / "model", MODELS["llama"]())
