"""A rival that edits the weights: low-rank adapters in all linear layers, trained by the policy gradient that trains
the causal rewards: the same problems, attempts, temperature, iterations and learning rate.

What it gains is what the same experience is worth where not one layer's residual stream is pushed but the whole network
gives way a little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lrs.core.closure import code_of
from lrs.core.digests import fingerprint
from lrs.experiment.causal import normalised
from lrs.experiment.on_policy import Ids, learn_on_policy
from lrs.learning.policy_gradient import update
from lrs.models.backbones import Backbone, load_backbone
from lrs.tasks.problems import Problem, by_benchmark

if TYPE_CHECKING:
    from lrs.config import Config

RANK = 8


def with_adapter(backbone: Backbone, seed: int) -> Backbone:
    """The backbone with adapters of rank `RANK` (Hu et al., 2021; by peft) in all linear layers but the head, which do
    nothing yet; they alone are trained. It is changed in place."""
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(seed)
    layers = LoraConfig(r=RANK, lora_alpha=RANK, target_modules="all-linear")
    inject_adapter_in_model(layers, backbone.model)
    return backbone


def train_adapter(problems: Sequence[Problem], config: Config, scratch: Path) -> Backbone:
    """The profile's backbone, adapted to the problems for rewards; a killed training resumes from `scratch`."""
    section = config.causal
    backbone = with_adapter(load_backbone(config.backbone.path, config.device, config.dtype), config.seed)
    model = backbone.model
    optimizer = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], lr=section.learning_rate)
    asked = [[problem.id for problem in pool] for pool in by_benchmark(problems).values()]
    made_from = [asked, section.model_dump(), config.decoding.max_new_tokens, config.seed, backbone.identity, RANK]
    scratch = scratch / fingerprint([*made_from, code_of(__name__)])

    def learn(right: Tensor, ids: Ids, _: int) -> dict[str, float]:
        update(model, optimizer, ids, normalised(right).flatten(), section.rows_per_batch, section.temperature)
        return {}

    learn_on_policy(f"{config.backbone_name}: adapter", backbone, problems, config, model, optimizer, scratch, learn)
    model.requires_grad_(False)
    return replace(backbone, identity=scratch.name)
