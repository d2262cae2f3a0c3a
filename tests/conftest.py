"""Tiny random models, so that every test runs in a moment and without a network."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from datasets import Dataset
from hypothesis import HealthCheck, settings
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from lrs.bench.power import problems_at
from lrs.config import Config, load_config
from lrs.experiment.whole import run_whole
from lrs.learning.latents import LatentTraces, encode_traces
from lrs.method.ascent import Ascent
from lrs.method.gate import Gate
from lrs.method.reward import LatentRewardModel, RewardConfig
from lrs.method.steering import Steering
from lrs.models.backbones import Backbone, load_backbone
from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tasks.problems import Problem, draw_problems, save_problems

torch.set_num_threads(1)  # sums this small are slower on more, and far slower beside another busy process

# A shared machine, or one that counts lines (`make coverage`), is slow and not wrong; `timeout` ends what hangs.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

ROOT = Path(__file__).parents[1]
VOCABULARY, WIDTH, LATENTS = 40, 16, 12
DEVICE = "cpu"  # of tiny models; a test that is marked `gpu` replaces it


def clone(target: Path) -> Path:
    """A fresh clone of HEAD, in which nothing was made."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(target)], check=True)
    (target / "dvc.lock").unlink(missing_ok=True)  # the default profile's
    return target


class LinearDictionary:
    """A dictionary of rectified random projections, in float64."""

    def __init__(self, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.W_enc = torch.randn(WIDTH, LATENTS, generator=generator, dtype=torch.float64).to(DEVICE)
        self.W_dec = torch.randn(LATENTS, WIDTH, generator=generator, dtype=torch.float64).to(DEVICE)
        self.input_scale = 0.7

    def encode(self, activation):
        return torch.relu(activation * self.input_scale @ self.W_enc)


def tiny_llama(seed: int = 0, layers: int = 3, vocabulary: int = VOCABULARY) -> LlamaForCausalLM:
    """A random Llama in float64 whose choices are not all alike."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=0,
        )
    )
    return model.double().eval().requires_grad_(False).to(DEVICE)


def tiny_model(architecture: str) -> PreTrainedModel:
    """A random Llama, Qwen2 or GPT-2, as `tiny_llama`."""
    if architecture == "llama":
        return tiny_llama()
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
    wide = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = {
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**sizes, **wide, num_key_value_heads=1)),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**sizes, n_embd=WIDTH, n_layer=2, n_head=2, n_positions=64)),
    }[architecture]()
    return model.double().eval().requires_grad_(False).to(DEVICE)


def tiny_reward(variant: str, seed: int = 0) -> LatentRewardModel:
    """A random reward model in float64."""
    torch.manual_seed(seed)
    model = LatentRewardModel(RewardConfig(LATENTS, variant, width=16, layers=2, heads=2))
    for name, weight in model.named_parameters():
        if name in ("shift", "push.1.weight"):  # nothing, before they are trained
            torch.nn.init.normal_(weight, std=0.3)
    return model.double().eval().requires_grad_(False).to(DEVICE)


def tiny_steering(variant: str = "token", gate: Gate | None = None, num_steps: int = 2, step_size: float = 0.8):
    """Steering of a tiny model at layer 1."""
    gate = gate or Gate(reward_threshold=0.5, confidence_threshold=0.3)
    return Steering(1, LinearDictionary(), tiny_reward(variant), gate, Ascent(num_steps, step_size))


@pytest.fixture
def model() -> LlamaForCausalLM:
    return tiny_llama()


@pytest.fixture
def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 9, (11,), generator=generator).tolist()
    return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


DIFFICULTY = {  # of data/reasoners/pocket-1m/recipe.yaml
    "countdown": {
        "min_numbers": 3,
        "max_numbers": 3,
        "min_value": 1,
        "max_value": 40,
        "min_target": 1,
        "max_target": 99,
    },
    "chain_sum": {"min_terms": 4, "max_terms": 11, "min_digits": 1, "max_digits": 1},
    "number_sorting": {
        "min_numbers": 4,
        "max_numbers": 8,
        "min_decimals": 0,
        "max_decimals": 0,
        "min_value": 0,
        "max_value": 99,
    },
    "graph_color": {"num_colors": 3, "min_num_vertices": 5, "max_num_vertices": 7, "edge_probability": 0.45},
    "knights_knaves": {"n_people": 3, "depth_constraint": 2, "width_constraint": 2},
}
COUNTS = {"train": 40, "reward": 8, "validation": 4, "test": 12}


@pytest.fixture(scope="session")
def drawn_problems() -> dict[str, list[Problem]]:
    """Some problems of every benchmark, `COUNTS` of each split."""
    return {benchmark: draw_problems(benchmark, DIFFICULTY[benchmark], COUNTS, seed=0) for benchmark in DIFFICULTY}


def sparse_traces(dense: list[torch.Tensor], correct: list[bool], problem_ids: list[str]) -> LatentTraces:
    """Traces whose latents are given densely, (tokens, d_sae) each."""

    class Identity:
        W_dec = torch.eye(dense[0].shape[1])
        input_scale = 1.0

        def encode(self, activation):
            return activation

    rows = {"problem_id": problem_ids, "seed": list(range(len(dense))), "correct": correct}
    return encode_traces(Identity(), dense, Dataset.from_dict(rows))


@pytest.fixture
def tiny_backbone() -> Backbone:
    """A random Llama in float64 that reads and writes the built-in reasoner's tokens."""
    tokenizer = build_tokenizer()
    model = tiny_llama(vocabulary=len(tokenizer))
    return Backbone("tiny", model, tokenizer, identity="tiny-0")


@pytest.fixture(scope="session")
def small_power() -> Config:
    """Profile power, on a few problems of short answers."""
    loaded = load_config("power")
    ((benchmark, difficulty),) = loaded.benchmarks.items()
    sizes = {
        "problems": {"reward": 20, "validation": 4, "test": 4},
        "decoding": {"max_new_tokens": 48},
        "sae": {"d_sae": 16, "k": 4, "epochs": 1},
        "reward": {"width": 8, "layers": 1, "heads": 1, "epochs": 1, "early_stopping_share": 0.3},
        "causal": {"iterations": 1, "problems": 4, "attempts": 4},
        "select": {"step_size": [2.0], "dose_traces": 2},
        "statistics": {"bootstrap_resamples": 50},
    }
    sections = {name: getattr(loaded, name).model_copy(update=update) for name, update in sizes.items()}
    sampling = loaded.steering.sampling.model_copy(update={"problems": 4})
    steering = loaded.steering.model_copy(update={"sampling": sampling})
    short = {benchmark: difficulty | {"min_terms": 4, "max_terms": 5}}
    return loaded.model_copy(update=sections | {"steering": steering, "benchmarks": short})


class Run(NamedTuple):
    """What `run_whole` made of `small_power` on problems in half of which the mode matters."""

    backbone: Backbone
    problems: list[Problem]
    outcomes: pd.DataFrame
    root: Path


@pytest.fixture(scope="session")
def whole_run(small_power: Config, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Made once for all tests that need a pipeline that was run."""
    backbone, problems = load_backbone(small_power.backbone.path), problems_at(0.5, 0.5, small_power)
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        save_problems(problems, small_power.data / "problems")
        outcomes = run_whole(backbone, problems, small_power)
    return Run(backbone, problems, outcomes, root)


@pytest.fixture
def ran(whole_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of that run, in which we stand and may change what we like."""
    shutil.copytree(whole_run.root, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return whole_run._replace(outcomes=whole_run.outcomes.copy(), root=tmp_path)
