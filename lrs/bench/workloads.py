"""What is measured: a model, prompts for it, and steering of the sizes that a profile has.

Dictionaries and reward models have random weights here (what they cost does not depend on what they know), with
thresholds that steer the share of tokens the paper reports, and steps too short to change what is written, but for
rounding: every path writes the same number of tokens a problem, or nearly.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, PreTrainedModel, Qwen2Config

from lrs.config import Config
from lrs.engine.decoding import generate
from lrs.engine.policy import Policy, policy_for
from lrs.engine.requests import Generation, Request
from lrs.learning.sae import input_scale_for
from lrs.method.ascent import Ascent
from lrs.method.dictionary import SaeDictionary
from lrs.method.gate import ALWAYS, Gate
from lrs.method.reward import LatentRewardModel, RewardConfig
from lrs.method.steering import Steering
from lrs.models.activations import replay
from lrs.models.backbones import Backbone
from lrs.saved import SHAPE_OF
from lrs.tasks.problems import Problem, draw_problems
from lrs.tasks.prompts import prompt_ids

_PAPER_SHAPES = ("orz-1b5", "orz-7b")  # backbones of profile `paper`, both of one architecture
PAPER_SHARE = 0.279  # of tokens steered, as the paper reports
_STEP_SIZE = 1e-4


@dataclass(frozen=True)
class Workload:
    """A model, prompts for it, and how much it writes: until one of `end_ids`, or `max_new_tokens`."""

    name: str
    model: PreTrainedModel
    prompts: list[list[int]]
    max_new_tokens: int
    end_ids: list[int]
    batch: int
    policy: Policy

    def write(self, steering: Steering | None = None) -> list[Generation]:
        """Let our decoding loop write it."""
        return generate(
            self.model,
            [Request(prompt) for prompt in self.prompts],
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch,
            policy=self.policy,
            end_ids=self.end_ids,
            steering=steering,
        )

    @property
    def layer(self) -> int:
        """The middle decoder layer."""
        return self.model.config.num_hidden_layers // 2

    def spread(self, count: int) -> Self:
        """The same work on `count` of the prompts, or all if there are fewer, evenly spread."""
        chosen = np.linspace(0, len(self.prompts) - 1, min(count, len(self.prompts))).round().astype(int)
        return replace(self, prompts=[self.prompts[index] for index in chosen])

    def fixed(self, prompts: int, max_new_tokens: int, batch: int) -> Self:
        """The same model writing exactly `max_new_tokens` to some of the prompts, in one process."""
        if prompts > len(self.prompts):
            raise ValueError(f"{prompts} prompts are asked for, but {self.name} has {len(self.prompts)}")
        never = [self.model.config.vocab_size]
        some = replace(self, prompts=self.prompts[:prompts], batch=batch, policy=alone(self.policy))
        return replace(some, max_new_tokens=max_new_tokens, end_ids=never)


def alone(policy: Policy) -> Policy:
    """The same in one process."""
    return replace(policy, workers=1)


class Shape(NamedTuple):
    """What a dictionary, a reward model and an ascent cost: their sizes."""

    d_sae: int
    k: int
    width: int
    layers: int
    heads: int
    num_steps: int = 1


def reasoner_workload(
    backbone: Backbone, config: Config, problems_each: int, batch: int
) -> tuple[Workload, list[Problem]]:
    """A reasoner on validation problems, writing until it has answered; and the problems."""
    problems = [
        problem
        for benchmark, difficulty in config.benchmarks.items()
        for problem in draw_problems(benchmark, difficulty, {"validation": problems_each}, config.seed)
    ]
    prompts = [prompt_ids(problem, backbone.tokenizer) for problem in problems]
    ends = [backbone.tokenizer.eos_token_id]
    policy = policy_for(backbone.model, config.decoding.workers)
    budget = config.decoding.max_new_tokens
    return Workload(backbone.name, backbone.model, prompts, budget, ends, batch, policy), problems


def random_workload(
    name: str, shape: PretrainedConfig, dtype: torch.dtype, device: str, prompts: int, new_tokens: int, batch: int
) -> Workload:
    """A model of a given shape with random weights, writing `new_tokens` to random prompts of 16 to 48 tokens."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(shape, dtype=dtype).eval().requires_grad_(False)
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, shape.vocab_size, rng.integers(16, 49)).tolist() for _ in range(prompts)]
    return Workload(name, model, drawn, new_tokens, [shape.vocab_size], batch, policy_for(model))


def larger_shapes(device: str) -> dict[str, PretrainedConfig]:
    """Shapes that the device can be asked to run: the paper's two on an accelerator, a smaller one on a CPU."""
    if torch.device(device).type == "cpu":
        sizes: dict[str, Any] = {
            "hidden_size": 512,
            "intermediate_size": 1408,
            "num_hidden_layers": 8,
            "num_attention_heads": 8,
        }
        return {"random-28m": LlamaConfig(vocab_size=8192, num_key_value_heads=4, bos_token_id=None, **sizes)}
    shapes = {name: json.loads(Path(f"data/reasoners/{name}/shape.json").read_text("utf-8")) for name in _PAPER_SHAPES}
    return {SHAPE_OF + name: Qwen2Config(**shape) for name, shape in shapes.items()}


def steerings_for(workload: Workload, shape: Shape, share: float = PAPER_SHARE) -> dict[str, Steering]:
    """Steering of each way to climb, with random weights: up a reward of variant `token` and `history`, at `share` of
    the tokens, and `slope`, up one of variant `potential` at every token."""
    model, written = workload.model, workload.write()
    pairs = [(prompt, generation.token_ids) for prompt, generation in zip(workload.prompts, written, strict=True)]
    recorded = [activations for _, activations in replay(model, workload.layer, pairs, workload.batch, pad_id=0)]
    dictionary = _random_dictionary(torch.cat(recorded), shape, workload.layer)
    steerings = {}
    for variant in ("token", "history"):
        torch.manual_seed(0)
        reward = LatentRewardModel(RewardConfig(shape.d_sae, variant, shape.width, shape.layers, shape.heads))
        reward = reward.eval().requires_grad_(False).to(model.device)
        rewards = [reward(dictionary.encode(activations)[None])[0].sigmoid() for activations in recorded]
        gate = Gate(reward_threshold=torch.cat(rewards).quantile(share).item(), confidence_threshold=0.0)
        steerings[variant] = Steering(workload.layer, dictionary, reward, gate, Ascent(shape.num_steps, _STEP_SIZE))
    potential = LatentRewardModel(RewardConfig(shape.d_sae, "potential")).eval().requires_grad_(False).to(model.device)
    return steerings | {"slope": replace(steerings["token"], reward=potential, gate=ALWAYS)}


def _random_dictionary(activations: Tensor, shape: Shape, layer: int) -> SaeDictionary:
    from sae_lens import TopKSAE, TopKSAEConfig

    torch.manual_seed(0)
    d_in = activations.shape[1]
    sae = TopKSAE(TopKSAEConfig(d_in=d_in, d_sae=shape.d_sae, k=shape.k, device=str(activations.device)))
    with torch.no_grad():
        for weight in (sae.W_enc, sae.W_dec):
            weight.copy_(torch.randn_like(weight) * d_in**-0.5)
    return SaeDictionary(sae, input_scale_for(activations.float()), "random", layer)
