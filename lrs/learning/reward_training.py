"""Latent reward learning: final-answer correctness is all that the reward model is told."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lrs.core.closure import code_of
from lrs.core.kept import digest_of, keep, read_kept
from lrs.core.progress import Progress
from lrs.core.statistics import auroc, within_group_auroc
from lrs.core.store import write_frame
from lrs.learning.latents import LatentTraces, load_latents
from lrs.learning.objectives import class_weights, task_of
from lrs.method.dictionary import load_dictionary
from lrs.method.finite import check_finite
from lrs.method.reward import HEAD_ON_LATENTS, LatentRewardModel, RewardConfig, load_reward, save_reward
from lrs.method.setting import OBJECTIVES, Objective, RewardKind, Variant
from lrs.models.devices import describe_device, resolve_device
from lrs.models.memory import in_memory
from lrs.tasks.splits import held_out

if TYPE_CHECKING:
    from lrs.config import Config, RewardSection


@dataclass(frozen=True)
class TrainedReward:
    """A reward model, its training curve, and its scores on the problems held out for early stopping.

    `history`: epoch, train_loss, auroc, n (held-out problems). `heldout`: a row a token with problem_id, seed,
    position (from 0), length (tokens of the trace), correct (of the trace), probability.
    """

    model: LatentRewardModel
    history: pd.DataFrame
    heldout: pd.DataFrame


def score_traces(model: LatentRewardModel, latents: LatentTraces, traces: np.ndarray, batch_size: int) -> pd.DataFrame:
    """The reward model's probability at every token of some traces: the table `TrainedReward.heldout` describes."""
    tables = []
    for batch in latents.batches(traces, batch_size, rng=None):
        tables += in_memory(model, "scoring", len(batch), partial(_scores, model, latents, batch))
    return pd.concat(tables, ignore_index=True)


@torch.no_grad()
def _scores(model: LatentRewardModel, latents: LatentTraces, batch: np.ndarray, rows: int) -> list[pd.DataFrame]:
    """The table of each `rows` traces of a batch, which are read side by side."""
    tables = []
    for start in range(0, len(batch), rows):
        some = batch[start : start + rows]
        dense, mask = latents.dense(some, model.device)
        probability = model(dense).sigmoid()[mask].cpu().numpy()
        lengths = latents.lengths[some]
        tables.append(
            pd.DataFrame(
                {
                    "problem_id": np.repeat(latents.problem_ids[some], lengths),
                    "seed": np.repeat(latents.seeds[some], lengths),
                    "position": np.concatenate([np.arange(length) for length in lengths]),
                    "length": np.repeat(lengths, lengths),
                    "correct": np.repeat(latents.correct[some], lengths),
                    "probability": probability,
                }
            )
        )
    return tables


def _order(scores: pd.DataFrame, objective: Objective) -> float:
    """AUROC over tokens: of all together, or, where difficulty is to cancel and a problem has right and wrong traces,
    among those of one problem."""
    labels, values = scores["correct"].to_numpy(), scores["probability"].to_numpy()
    mixed = scores.groupby("problem_id")["correct"].nunique().max() > 1
    if objective in ("advantage", "pairwise") and mixed:
        return within_group_auroc(labels, values, scores["problem_id"].to_numpy())
    return auroc(labels, values)


def train_reward(
    latents: LatentTraces,
    variant: Variant,
    config: RewardSection,
    seed: int,
    device: str = "cpu",
    objective: Objective = "bce",
    draw: int = 0,
) -> TrainedReward:
    """Train a reward model, keeping the epoch with the best AUROC over the held-out problems' tokens (of objectives in
    which difficulty cancels, among the tokens of one problem).

    Raises:
        ValueError: the traces have nothing to teach, or those held out are all correct, or all wrong; or training
            diverged.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    out = held_out(latents.problem_ids, config.early_stopping_share, seed)
    training, heldout = np.flatnonzero(~out), np.flatnonzero(out)
    task = task_of(objective, latents, training, config.batch_size, draw)
    class_weights(latents.correct[heldout], latents.lengths[heldout])
    model = LatentRewardModel(RewardConfig(latents.d_sae, variant, config.width, config.layers, config.heads))
    model.to(resolve_device(device)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    best_state, history = {}, []
    problems = len(np.unique(latents.problem_ids[heldout]))
    stage = f"reward: {variant}" if objective == "bce" else f"reward: {objective}, {variant}"
    with Progress(stage, config.epochs * task.count, "traces") as progress:
        for epoch in range(1, config.epochs + 1):
            losses = []
            for batch in task.batches(rng):
                loss = task.loss(model, batch)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
                progress.advance(len(batch))
            scores = score_traces(model.eval(), latents, heldout, config.batch_size)
            model.train()
            history.append(
                {"epoch": epoch, "train_loss": torch.stack(losses).mean().item(), "auroc": _order(scores, objective)}
                | {"n": problems}
            )
            best = max(range(len(history)), key=lambda i: history[i]["auroc"])
            if best == len(history) - 1:
                best_state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            elif len(history) - 1 - best >= config.patience:
                break
    model.load_state_dict(best_state)
    check_finite(model.state_dict())
    model.eval().requires_grad_(False)
    return TrainedReward(model, pd.DataFrame(history), score_traces(model, latents, heldout, config.batch_size))


@torch.no_grad()
def mean_difference(latents: LatentTraces, config: RewardSection, seed: int, device: str = "cpu") -> TrainedReward:
    """The linear reward that needs no training: right traces' mean latent less wrong ones', over all tokens of the
    problems that are not held out.

    Its logit is zero halfway between the means, and as steep as it would be for two classes of equal spread.

    Raises:
        ValueError: all traces are correct, or all are wrong.
    """
    out = held_out(latents.problem_ids, config.early_stopping_share, seed)
    training = np.flatnonzero(~out)
    class_weights(latents.correct[training], latents.lengths[training])
    tokens: dict[bool, list[Tensor]] = {True: [], False: []}
    for batch in latents.batches(training, config.batch_size, rng=None):
        dense, mask = latents.dense(batch, torch.device("cpu"))
        right = torch.from_numpy(latents.correct[batch])[:, None] & mask
        tokens[True].append(dense[right])
        tokens[False].append(dense[mask & ~right])
    right, wrong = torch.cat(tokens[True]).double(), torch.cat(tokens[False]).double()
    difference = right.mean(dim=0) - wrong.mean(dim=0)
    spread = ((right @ difference).var() + (wrong @ difference).var()) / 2
    weight = difference / spread
    bias = -weight @ (right.mean(dim=0) + wrong.mean(dim=0)) / 2
    return _linear(weight, bias, latents, config, seed, device)


def random_reward(
    latents: LatentTraces,
    variant: Variant,
    config: RewardSection,
    seed: int,
    device: str = "cpu",
    draw: int = 0,
) -> TrainedReward:
    """A reward that knows nothing, a control: its weights are drawn from `seed` and `draw`. A `linear` one pushes in
    one direction, any other in one of the state's own."""
    drawn = seed + 1_000_003 * draw
    if variant == "linear":
        weight = torch.randn(latents.d_sae, generator=torch.Generator().manual_seed(drawn))
        return _linear(weight / weight.norm(), torch.zeros(()), latents, config, seed, device)
    torch.manual_seed(drawn)
    model = LatentRewardModel(RewardConfig(latents.d_sae, variant, config.width, config.layers, config.heads))
    return _untrained(model.to(resolve_device(device)), latents, config, seed)


@torch.no_grad()
def part_of_push(
    whole: LatentRewardModel,
    part: Literal["mean", "rest", "level"],
    W_dec: Float[Tensor, "d_sae d_model"],
    latents: LatentTraces,
    config: RewardSection,
    seed: int,
) -> TrainedReward:
    """A push of any length, everywhere as it is on average over all tokens of the problems that are not held out
    (`mean`); the same at the length in the residual stream that pushes have on average (`level`); or, of the variant
    `free`, without that average (`rest`)."""
    training = np.flatnonzero(~held_out(latents.problem_ids, config.early_stopping_share, seed))
    pushes = []
    for batch in latents.batches(training, config.batch_size, rng=None):
        dense, mask = latents.dense(batch, whole.device)
        pushes.append(whole.direction(dense[mask]).double())
    mean = (every := torch.cat(pushes)).mean(dim=0)
    if part == "level":
        decoder = W_dec.double()
        mean = mean * (every @ decoder).norm(dim=-1).mean() / (mean @ decoder).norm()
    if part == "rest":
        model = deepcopy(whole)
        model.shift.sub_(mean)
    else:
        model = LatentRewardModel(replace(whole.config, variant="shift")).to(whole.device)
        if whole.config.variant in HEAD_ON_LATENTS:
            model.head.load_state_dict(whole.head.state_dict())
        else:  # its score has no place here: an arm asks `whole` for it
            for weight in model.head.parameters():
                weight.zero_()
        model.shift.copy_(mean)
    return _untrained(model, latents, config, seed)


@torch.no_grad()
def _linear(
    weight: Tensor, bias: Tensor, latents: LatentTraces, config: RewardSection, seed: int, device: str
) -> TrainedReward:
    """A linear reward with these weights."""
    model = LatentRewardModel(RewardConfig(latents.d_sae, "linear", config.width, config.layers, config.heads))
    model.head.weight.copy_(weight)
    model.head.bias.copy_(bias)
    return _untrained(model.to(resolve_device(device)), latents, config, seed)


def _untrained(model: LatentRewardModel, latents: LatentTraces, config: RewardSection, seed: int) -> TrainedReward:
    """What is said of a reward that has been made, not trained."""
    model.eval().requires_grad_(False)
    heldout = np.flatnonzero(held_out(latents.problem_ids, config.early_stopping_share, seed))
    scores = score_traces(model, latents, heldout, config.batch_size)
    reached = auroc(scores["correct"].to_numpy(), scores["probability"].to_numpy())
    count = len(np.unique(latents.problem_ids[heldout]))
    history = pd.DataFrame([{"epoch": 0, "train_loss": float("nan"), "auroc": reached, "n": count}])
    return TrainedReward(model, history, scores)


class FittedReward(NamedTuple):
    """What training a reward model left behind: tables as in `TrainedReward`."""

    history: pd.DataFrame
    heldout: pd.DataFrame


def fit_reward(kind: RewardKind, config: Config, folder: Path) -> FittedReward:
    """Train the reward of `folder` on the profile's latents, unless it is there; what it begins as lies beside it."""
    latents = config.latents(kind.basis)
    plan = {
        "kind": kind._asdict(),
        "latents": digest_of(latents),
        "reward": config.reward.model_dump(),
        "seed": config.seed,
        "device": describe_device(resolve_device(config.device)),
    }

    if kind.begins_as:
        plan |= {"made_from": digest_of(folder.with_name(kind.begins_as))}

    def make(made: Path) -> None:
        how = (config.reward, config.seed, config.device)
        if kind.learns in OBJECTIVES:
            trained = train_reward(load_latents(latents), kind.variant, *how, kind.learns, kind.draw)
        elif kind.begins_as and kind.learns in ("mean", "rest", "level"):
            whole = load_reward(folder.with_name(kind.begins_as), resolve_device(config.device))
            W_dec = load_dictionary(config.dictionary(kind.basis), device=whole.device).W_dec
            trained = part_of_push(whole, kind.learns, W_dec, load_latents(latents), config.reward, config.seed)
        elif kind.learns == "lot":
            trained = random_reward(load_latents(latents), kind.variant, *how, kind.draw)
        else:
            trained = mean_difference(load_latents(latents), *how)
        save_reward(trained.model, made)
        write_frame(made / "history.arrow", trained.history)
        write_frame(made / "heldout.arrow", trained.heldout)

    keep(folder, f"reward: {folder.name}", plan | code_of(__name__), make)
    return FittedReward(*(read_kept(folder / f"{name}.arrow").to_pandas() for name in FittedReward._fields))
