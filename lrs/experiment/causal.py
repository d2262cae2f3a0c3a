"""Causal rewards: trained through their own push, so that climbing them makes answers right.

The reward phi is trained by policy gradient on the correctness of the *steered* model's answers,

    dJ/dphi = E[ sum_t  grad_phi log pi_phi(a_t | s_t)  A ],      push_t = alpha g / |g|,   g = grad_z r_phi(z_t),

with A the attempt's advantage over the other attempts at its problem; a `potential` is pushed by alpha g. The layers up
to the steered one never feel a push, so whole attempts are replayed at once, and differentiated in the layers above
alone, twice in the reward. At inference nothing differs from LRS. A joint term keeps the reward a predictor:
cross-entropy with the attempt's correctness, in which the logit of its problem's success rate is a fixed offset, so
that it learns little of difficulty. A penalty, if the profile has one, is on the square of the mean push, over all
tokens that are pushed in a step of training: what is the same at every token is paid for.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import PreTrainedModel

from lrs.core.closure import code_of
from lrs.core.digests import fingerprint
from lrs.core.kept import digest_of, keep, read_kept
from lrs.core.store import write_frame
from lrs.experiment.on_policy import Ids, learn_on_policy
from lrs.experiment.reading import replay_steered
from lrs.experiment.traces import jobs_for, plan_of
from lrs.learning.latents import load_latents
from lrs.learning.policy_gradient import advantages, attempt_batches, policy_loss
from lrs.learning.reward_training import score_traces
from lrs.method.ascent import Ascent
from lrs.method.dictionary import Dictionary, load_dictionary
from lrs.method.gate import ALWAYS
from lrs.method.reward import LatentRewardModel, RewardConfig, load_reward, save_reward
from lrs.method.setting import RewardKind
from lrs.method.steering import Steering
from lrs.models.backbones import Backbone
from lrs.models.memory import in_memory
from lrs.tasks.problems import Problem
from lrs.tasks.splits import held_out

if TYPE_CHECKING:
    from lrs.config import CausalSection, Config

_LINEAR_LENGTH = 0.25  # of a linear reward's weights: a few of Adam's steps turn it round
_SCRATCH = Path("build/scratch/rewards")  # checkpoints, from which a killed training resumes


def normalised(rewards: Float[Tensor, "problems attempts"]) -> Float[Tensor, "problems attempts"]:
    """Advantages over the spread of the problem's attempts; zero where all are equal."""
    return advantages(rewards) / rewards.std(dim=1, correction=0, keepdim=True).clamp_min(1e-6)


def difficulty(right: Float[Tensor, "problems attempts"]) -> Float[Tensor, "problems attempts"]:
    """Logit of a problem's smoothed success rate, (k + 1/2) / (n + 1), at each of its attempts."""
    rate = (right.sum(dim=1, keepdim=True) + 0.5) / (right.shape[1] + 1)
    return torch.logit(rate).expand_as(right)


def dealt(right: Float[Tensor, "problems attempts"], seed: Sequence[int]) -> Float[Tensor, "problems attempts"]:
    """Right and wrong, dealt out by lot to the attempts at each problem: as many of each as there were."""
    return torch.from_numpy(np.random.default_rng(seed).permuted(right.numpy(), axis=1))


def causal_step(
    model: PreTrainedModel,
    steering: Steering,
    optimizer: torch.optim.Optimizer,
    ids: Sequence[tuple[list[int], list[int]]],
    right: Float[Tensor, "problems attempts"],
    section: CausalSection,
) -> float:
    """One step up the policy gradient through the push, averaged over the tokens of the attempts that teach something;
    where memory is too small for `section.rows_per_batch` of them, of half as many at a time.

    Args:
        ids: of each attempt, the tokens of prompt and answer; a problem's attempts in a row.
        right: whether each attempt's answer is.

    Returns:
        The joint loss (nats a token); not a number if no problem has right and wrong attempts.
    """
    advantage, offset = normalised(right).flatten(), difficulty(right).flatten()
    count = sum(len(answer) for (_, answer), useful in zip(ids, advantage, strict=True) if useful)
    taught = torch.stack([advantage, offset, right.flatten()], dim=1)
    unit = section.step_size / steering.dictionary.input_scale

    def differentiate(rows: int) -> float:
        optimizer.zero_grad(set_to_none=True)  # a batch that did not fit may have left a part of its gradient
        joint = 0.0 if count else float("nan")
        mean = _mean_push(model, steering, ids, advantage, rows) if section.mean_weight else None
        for tokens, written, chosen in attempt_batches(ids, advantage, rows):
            tokens, written, teaches = (part.to(model.device) for part in (tokens, written, taught[chosen]))
            steered = _processed(written)
            replayed = replay_steered(model, steering, tokens, steered)
            loss = policy_loss(replayed.logits / section.temperature, tokens, written, teaches[:, 0])
            each = teaches[:, None].expand(*tokens.shape, -1)[steered]
            fit = binary_cross_entropy_with_logits(replayed.rewards + each[:, 1], each[:, 2], reduction="sum")
            loss = loss + section.joint_weight * fit
            if mean is not None:  # what has the gradient of the mean's square, times the tokens that are pushed
                loss = loss + section.mean_weight * 2 * (replayed.pushes @ mean).sum() / unit**2
            (loss / count).backward()
            joint += fit.item() / count
        return joint

    joint = in_memory(model, "policy gradient", section.rows_per_batch, differentiate)
    if nn.utils.clip_grad_norm_(_trained(steering).parameters(), 1.0).isfinite():
        optimizer.step()
    else:
        warnings.warn("a step was left out: its gradient was not finite", stacklevel=2)
    return joint


def _processed(written: Bool[Tensor, "rows length"]) -> Bool[Tensor, "rows length"]:
    """Of the tokens of answers those that are processed, and pushed: all but the last one of each."""
    processed = written[:, :-1] & written[:, 1:]
    return torch.cat([processed, torch.zeros_like(processed[:, :1])], dim=1)


@torch.no_grad()
def _mean_push(
    model: PreTrainedModel,
    steering: Steering,
    ids: Sequence[tuple[list[int], list[int]]],
    advantage: Float[Tensor, " attempts"],
    rows: int,
) -> Float[Tensor, " d_model"]:
    """Over all tokens that are pushed in the attempts that teach something, read `rows` at a time."""
    total, count = torch.zeros(()), 0
    for tokens, written, _ in attempt_batches(ids, advantage, rows):
        pushes = replay_steered(model, steering, tokens.to(model.device), _processed(written).to(model.device)).pushes
        total, count = total.to(pushes) + pushes.sum(dim=0), count + len(pushes)
    return total / max(count, 1)


def _trained(steering: Steering) -> LatentRewardModel:
    """The reward whose weights are trained.

    Raises:
        TypeError: it is of another make, and where its weights are is not known.
    """
    if not isinstance(steering.reward, LatentRewardModel):
        raise TypeError(f"only a LatentRewardModel is trained through its push (got {type(steering.reward).__name__})")
    return steering.reward


def train_causal(
    steering: Steering,
    backbone: Backbone,
    problems: Sequence[Problem],
    config: Config,
    scratch: Path,
    stage: str,
    draw: int | None = None,
) -> pd.DataFrame:
    """Train the reward of `steering` in place, from the last checkpoint in `scratch` on.

    Args:
        draw: of what it learns from, where that is `dealt`.

    Returns:
        A row an iteration and benchmark: step, n (attempts), joint_loss, and the means of `means_of_attempts`.
    """
    reward = _trained(steering).requires_grad_(False)
    optimizer = torch.optim.Adam(reward.parameters(), lr=config.causal.learning_rate)

    def learn(right: Tensor, ids: Ids, iteration: int) -> dict[str, float]:
        if draw is not None:
            right = dealt(right, [config.seed, draw, iteration])
        reward.requires_grad_(True)
        joint = causal_step(backbone.model, steering, optimizer, ids, right.to(reward.dtype), config.causal)
        reward.requires_grad_(False)
        return {"joint_loss": joint}

    curve = learn_on_policy(stage, backbone, problems, config, reward, optimizer, scratch, learn, steering)
    return pd.DataFrame(curve)


@torch.no_grad()
def begin(kind: RewardKind, config: Config, dictionary: Dictionary) -> LatentRewardModel:
    """The reward as its training begins: as the one that predicts (`begins_as`), a linear one at a length of its own
    choice, since only its direction counts and a learning rate means nothing for weights of any length; or, where
    nothing begins it, a push of nothing."""
    if not kind.begins_as:
        shape = config.reward.width, config.reward.layers, config.reward.heads
        return push_of_nothing(RewardConfig(len(dictionary.W_dec), kind.variant, *shape), dictionary, config.seed)
    reward = load_reward(config.data / "reward" / kind.begins_as, dictionary.W_dec.device)
    if reward.config.variant == "linear":
        scale = _LINEAR_LENGTH / reward.head.weight.norm()
        reward.head.weight.mul_(scale)
        reward.head.bias.mul_(scale)
    return reward


@torch.no_grad()
def push_of_nothing(shape: RewardConfig, dictionary: Dictionary, seed: int) -> LatentRewardModel:
    """A reward (`potential`, `free`, `along`, `gated`, `shift`) that pushes nothing until it is trained, on the device
    of the dictionary."""
    torch.manual_seed(seed)
    reward = LatentRewardModel(shape).to(dictionary.W_dec)
    for parameter in reward.head.parameters():
        parameter.zero_()
    return reward


class FittedCausal(NamedTuple):
    """What training a causal reward left behind: the curve of `train_causal`, and scores as in `TrainedReward`."""

    curve: pd.DataFrame
    heldout: pd.DataFrame


def fit_causal(
    kind: RewardKind, backbone: Backbone, problems: Sequence[Problem], config: Config, folder: Path
) -> FittedCausal:
    """Train the causal reward of `folder` on the profile's problems for rewards, unless it is there.

    It begins as `begin` says, learns at the rate that the profile has for a reward of the folder's name, and is scored
    on the same held-out traces as rewards that predict.
    """
    config = config.model_copy(update={"causal": config.causal.of(folder.name)})
    sae, latents = config.dictionary(kind.basis), config.latents(kind.basis)
    read = [sae, latents, *([folder.with_name(kind.begins_as)] if kind.begins_as else [])]
    identifiers = np.array([problem.id for problem in problems])
    out = held_out(identifiers, config.reward.early_stopping_share, config.seed)
    asked = [problem for problem, is_out in zip(problems, out, strict=True) if not is_out]
    plan = plan_of(backbone, jobs_for(asked), config) | {
        "kind": kind._asdict(),
        "made_from": {path.name: digest_of(path) for path in read},
        "causal": config.causal.model_dump(),
        "seed": config.seed,
        "layer": config.backbone.layer,
    }
    plan |= code_of(__name__)

    def make(made: Path) -> None:
        dictionary = load_dictionary(sae, backbone.identity, config.backbone.layer, backbone.device)
        reward, traces = begin(kind, config, dictionary), load_latents(latents)
        steering = Steering(config.backbone.layer, dictionary, reward, ALWAYS, Ascent(1, config.causal.step_size))
        how = config, _SCRATCH / fingerprint(plan), f"reward: {folder.name}"
        curve = train_causal(steering, backbone, asked, *how, draw=kind.draw if kind.learns == "dealt" else None)
        save_reward(reward, made)
        write_frame(made / "curve.arrow", curve)
        scored = np.flatnonzero(np.isin(traces.problem_ids, identifiers[out]))
        write_frame(made / "heldout.arrow", score_traces(reward, traces, scored, config.reward.batch_size))

    keep(folder, f"reward: {folder.name}", plan, make)
    return FittedCausal(*(read_kept(folder / f"{part}.arrow").to_pandas() for part in FittedCausal._fields))
