from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import sparse_traces
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid

from lrs.config import RewardSection
from lrs.learning import objectives, reward_training
from lrs.learning.objectives import class_weights, pairs_within, success_logits, task_of
from lrs.learning.reward_training import (
    mean_difference,
    part_of_push,
    random_reward,
    score_traces,
    train_reward,
)
from lrs.method.reward import LatentRewardModel, RewardConfig
from lrs.models.devices import resolve_device
from lrs.tasks.splits import held_out

VARIANTS = ["token", "history"]
CONFIG = RewardSection(
    width=16,
    layers=1,
    heads=2,
    learning_rate=0.01,
    weight_decay=0.01,
    batch_size=16,
    epochs=6,
    patience=6,
    early_stopping_share=0.25,
)


def toy_traces(problems=24, seeds=3, d_sae=6):
    """Latents of which one pair tells, with some noise, whether the trace is correct."""
    rng = np.random.default_rng(0)
    dense, correct, identifiers = [], [], []
    for problem in range(problems):
        for _ in range(seeds):
            right = bool(rng.random() < 0.6)
            latents = np.maximum(rng.normal(size=(rng.integers(3, 9), d_sae)), 0)
            latents[:, 0 if right else 1] += 2
            dense.append(torch.tensor(latents, dtype=torch.float32))
            correct.append(right)
            identifiers.append(f"p{problem}")
    return sparse_traces(dense, correct, identifiers)


@pytest.fixture(scope="module")
def trained():
    return {variant: train_reward(toy_traces(), variant, CONFIG, seed=0) for variant in VARIANTS}


def test_shuffled_labels_are_dealt_out_among_the_traces_that_teach(monkeypatch):
    latents, training, seen = toy_traces(), np.arange(10, 60), []
    monkeypatch.setitem(objectives._TASKS, "bce", lambda given, *_: seen.append(given.correct))
    for draw in (0, 0, 1):
        task_of("shuffled", latents, training, 16, draw)
    dealt, again, other = seen
    assert (dealt == again).all()
    assert (dealt != other).any()
    assert dealt[training].sum() == latents.correct[training].sum()
    assert (dealt != latents.correct).sum() > 5
    assert (np.delete(dealt, training) == np.delete(latents.correct, training)).all()


def test_the_released_reward_learns_from_whole_traces():
    latents = toy_traces(60)
    released = train_reward(latents, "published", CONFIG, seed=0, objective="unmasked")
    batch = np.arange(8)
    dense, mask = latents.dense(batch)
    loss = task_of("unmasked", latents, np.arange(len(latents)), 16).loss(released.model, batch)
    wrong, right = class_weights(latents.correct, latents.lengths)
    probability = released.model.released.whole(dense, mask).sigmoid()
    target = torch.from_numpy(latents.correct[batch])[:, None].expand_as(mask)
    each = -torch.where(target, right * probability.log(), wrong * (1 - probability).log())
    assert loss.item() == pytest.approx(each[mask].mean().item(), rel=1e-4)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 50)), min_size=2, max_size=20))
def test_class_weights_balance_the_tokens(traces):
    correct, lengths = (np.array(column) for column in zip(*traces, strict=True))
    if correct.all() or not correct.any():
        with pytest.raises(ValueError, match=f"of {len(traces)} traces {correct.sum()} are correct") as error:
            class_weights(correct, lengths)
        assert "\n" not in str(error.value)
        return
    wrong, right = class_weights(correct, lengths)
    assert right * lengths[correct].sum() == pytest.approx(wrong * lengths[~correct].sum())
    assert np.average(np.where(correct, right, wrong), weights=lengths) == pytest.approx(1)


def tiny_model():
    torch.manual_seed(0)
    return LatentRewardModel(RewardConfig(6, "history", width=16, layers=1, heads=2)).eval()


def logits_of(model, latents, trace):
    return model(latents.dense([trace])[0])[0]


def test_bce_is_the_balanced_cross_entropy_of_every_real_token():
    latents, training, batch, terms = toy_traces(problems=3), np.arange(9), np.array([4, 0, 7, 2]), []
    model, (wrong, right) = tiny_model(), class_weights(latents.correct, latents.lengths)
    for trace in batch:
        logits, label = logits_of(model, latents, trace), latents.correct[trace]
        terms += (-logsigmoid(logits if label else -logits) * (right if label else wrong)).tolist()
    assert len(set(latents.lengths[batch])) > 1
    assert task_of("bce", latents, training, 4).loss(model, batch).item() == pytest.approx(np.mean(terms), rel=1e-5)


def test_advantage_has_the_logit_of_its_problems_success_rate_as_an_offset():
    latents, training, batch, terms = toy_traces(problems=3), np.arange(9), np.array([4, 0, 7, 2]), []
    model = tiny_model()
    for trace in batch:
        attempts = latents.correct[latents.problem_ids == latents.problem_ids[trace]]
        rate = (attempts.sum() + 0.5) / (len(attempts) + 1)
        logits = logits_of(model, latents, trace) + np.log(rate / (1 - rate))
        terms += (-logsigmoid(logits if latents.correct[trace] else -logits)).tolist()
    loss = task_of("advantage", latents, training, 4).loss(model, batch)
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-5)


def test_pairs_are_of_one_problem_and_their_means_are_compared():
    latents = toy_traces()
    task, model = task_of("pairwise", latents, np.arange(len(latents)), 8), tiny_model()
    batches = list(task.batches(np.random.default_rng(0)))
    pairs = np.concatenate([batch.reshape(2, -1).T for batch in batches])
    assert latents.correct[pairs[:, 0]].all()
    assert not latents.correct[pairs[:, 1]].any()
    assert (latents.problem_ids[pairs[:, 0]] == latents.problem_ids[pairs[:, 1]]).all()
    by_problem = pd.Series(latents.correct).groupby(latents.problem_ids)
    assert len(pairs) == (by_problem.sum() * (by_problem.size() - by_problem.sum())).sum()
    assert len(np.unique(pairs, axis=0)) == len(pairs) == task.count / 2
    means = [[logits_of(model, latents, trace).mean() for trace in pair] for pair in pairs[:4]]
    by_hand = np.mean([-logsigmoid(right - wrong).item() for right, wrong in means])
    assert task.loss(model, batches[0]).item() == pytest.approx(by_hand, rel=1e-4)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=20))
def test_success_logits_are_a_problems_own(traces):
    problems, correct = (np.array(column) for column in zip(*traces, strict=True))
    for problem, logit in zip(problems, success_logits(problems, correct), strict=True):
        own = correct[problems == problem]
        assert 1 / (1 + np.exp(-logit)) == pytest.approx((own.sum() + 0.5) / (len(own) + 1))
    assert all(correct[right] and not correct[wrong] for right, wrong in pairs_within(problems, correct))


def test_without_a_problem_that_is_mixed_there_are_no_pairs():
    latents = sparse_traces([torch.ones(2, 3)] * 4, [True, True, False, False], ["a", "a", "b", "b"])
    with pytest.raises(ValueError, match="pairs need right and wrong traces of one problem, but of 4 traces"):
        task_of("pairwise", latents, np.arange(4), 2)


@pytest.mark.parametrize("objective", ["advantage", "pairwise"])
def test_other_objectives_learn_what_orders_the_traces_of_a_problem(objective):
    trained = train_reward(toy_traces(), "token", CONFIG, seed=0, objective=objective)
    assert trained.history["auroc"].max() > 0.85
    assert trained.history["train_loss"].iloc[-1] < trained.history["train_loss"].iloc[0]


def test_a_reward_of_advantages_does_not_tell_difficulty():
    """Latents that tell nothing but the problem's success rate: bce learns it, the others cannot."""
    rng = np.random.default_rng(0)
    rates = rng.random(40)
    correct = [bool(rng.random() < rate) for rate in rates for _ in range(4)]
    dense = [torch.tensor([[rate, 1 - rate]] * 4, dtype=torch.float32) for rate in rates for _ in range(4)]
    latents = sparse_traces(dense, correct, [f"p{i}" for i in range(40) for _ in range(4)])
    spread = {}
    for objective in ("bce", "advantage", "pairwise"):
        model = train_reward(latents, "token", CONFIG, seed=0, objective=objective).model
        low, high = (model(torch.tensor([[[rate, 1 - rate]]])).item() for rate in (0.1, 0.9))
        spread[objective] = high - low
    assert spread["bce"] > 1
    assert abs(spread["advantage"]) < spread["bce"] / 3
    assert abs(spread["pairwise"]) < spread["bce"] / 3


@pytest.mark.parametrize("variant", VARIANTS)
def test_learns_what_can_be_learned(trained, variant):
    history = trained[variant].history
    assert list(history.columns) == ["epoch", "train_loss", "auroc", "n"]
    assert history["epoch"].tolist() == list(range(1, len(history) + 1))
    assert history["auroc"].max() > 0.9
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert not any(parameter.requires_grad for parameter in trained[variant].model.parameters())
    assert not trained[variant].model.training
    assert trained[variant].model.config.variant == variant


def test_auto_is_a_device_here_too():
    model = train_reward(toy_traces(), "token", CONFIG.model_copy(update={"epochs": 1}), 0, device="auto").model
    assert model.head.weight.device == resolve_device("auto")


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_seed_same_model(trained, variant):
    again = train_reward(toy_traces(), variant, CONFIG, seed=0)
    for name, tensor in trained[variant].model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    pd.testing.assert_frame_equal(again.heldout, trained[variant].heldout)
    other = train_reward(toy_traces(), variant, CONFIG, seed=1)
    assert not torch.equal(other.model.head.weight, again.model.head.weight)


def test_heldout_has_a_row_a_token(trained):
    latents, table = toy_traces(), trained["history"].heldout
    assert list(table.columns) == ["problem_id", "seed", "position", "length", "correct", "probability"]
    assert table["probability"].between(0, 1).all()
    for (problem, seed), rows in table.groupby(["problem_id", "seed"]):
        trace = int(np.flatnonzero((latents.problem_ids == problem) & (latents.seeds == seed))[0])
        assert rows["position"].tolist() == list(range(latents.lengths[trace]))
        assert (rows["length"] == latents.lengths[trace]).all()
        assert (rows["correct"] == latents.correct[trace]).all()
        alone = trained["history"].model(latents.dense([trace])[0])[0].sigmoid()
        np.testing.assert_allclose(rows["probability"], alone.numpy(), atol=1e-5)


def test_scores_do_not_depend_on_the_batch_size(trained):
    latents, keys = toy_traces(), ["problem_id", "seed", "position"]
    model, traces = trained["history"].model, np.arange(len(latents))
    tables = (score_traces(model, latents, traces, size) for size in (1, 50))
    one, many = (table.sort_values(keys, ignore_index=True) for table in tables)
    assert len(one) == latents.lengths.sum()
    pd.testing.assert_frame_equal(one, many, atol=1e-5)


def test_where_memory_is_short_fewer_traces_are_scored_side_by_side(trained, monkeypatch, capsys):
    latents, traces, rows = toy_traces(), np.arange(20), []
    model, forward = trained["token"].model, LatentRewardModel.forward
    expected = score_traces(model, latents, traces, 16)

    def short(self, given):
        rows.append(len(given))
        if len(given) > 5:
            raise torch.OutOfMemoryError
        return forward(self, given)

    monkeypatch.setattr(LatentRewardModel, "forward", short)
    pd.testing.assert_frame_equal(score_traces(model, latents, traces, 16), expected, atol=1e-5)
    assert rows == [16, 8, *[4] * 5]  # and of the next batch as few from the start
    assert "scoring: out of memory with 8 rows side by side; going on with 4\n" in capsys.readouterr().err


def test_heldout_problems_are_not_trained_on(monkeypatch):
    latents, batches = toy_traces(), []

    def watched(*given):
        task = task_of(*given)
        return replace(task, loss=lambda model, batch: batches.append(batch) or task.loss(model, batch))

    monkeypatch.setattr(reward_training, "task_of", watched)
    heldout = train_reward(latents, "token", CONFIG.model_copy(update={"epochs": 2}), seed=3).heldout
    used = np.concatenate(batches)
    trained_on, held = set(latents.problem_ids[used]), set(heldout["problem_id"])
    assert not trained_on & held
    assert trained_on | held == set(latents.problem_ids)
    assert len(held) == 6  # a quarter of the problems
    assert (np.unique(used, return_counts=True)[1] == 2).all()  # each trace once an epoch


def test_training_stops_when_patience_is_out_and_keeps_the_best_epoch(monkeypatch):
    states, reached, score = [], iter([0.6, 0.9, 0.7, 0.9, 0.95]), reward_training.score_traces

    def remember(model, *rest):
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return score(model, *rest)

    monkeypatch.setattr(reward_training, "score_traces", remember)
    monkeypatch.setattr(reward_training, "auroc", lambda labels, scores: next(reached))
    trained = train_reward(toy_traces(), "token", CONFIG.model_copy(update={"patience": 2}), seed=0)
    assert trained.history["auroc"].tolist() == [0.6, 0.9, 0.7, 0.9]
    weights = trained.model.head.weight
    assert torch.equal(weights, states[1]["head.weight"])
    assert not torch.equal(weights, states[3]["head.weight"])
    assert torch.equal(weights, states[-1]["head.weight"])  # heldout is scored with the model that is returned


@pytest.mark.parametrize("right", [True, False])
def test_traces_of_one_kind_are_one_clear_line(right):
    latents = toy_traces(problems=8)
    latents.correct[:] = right
    with pytest.raises(ValueError, match="a reward needs correct and wrong traces") as error:
        train_reward(latents, "token", CONFIG, seed=0)
    assert "\n" not in str(error.value)


def test_mean_difference_is_the_difference_of_the_means_of_what_is_not_held_out():
    latents = toy_traces()
    fitted = mean_difference(latents, CONFIG, seed=0)
    seen = ~held_out(latents.problem_ids, CONFIG.early_stopping_share, 0)
    means = {}
    for right in (True, False):
        rows = np.flatnonzero(seen & (latents.correct == right))
        dense, mask = latents.dense(rows, torch.device("cpu"))
        means[right] = dense[mask].mean(dim=0)
    difference = means[True] - means[False]
    weight = fitted.model.head.weight[0]
    assert torch.allclose(weight / weight.norm(), difference / difference.norm(), atol=1e-5)
    halfway = (means[True] + means[False]) / 2
    assert abs(fitted.model(halfway[None, None]).item()) < 1e-4
    assert fitted.history["auroc"].item() > 0.8
    assert set(fitted.heldout["problem_id"]) == set(latents.problem_ids[~seen])


def test_a_random_direction_has_length_one_follows_from_the_seed_and_knows_nothing():
    latents = toy_traces()
    weights = [random_reward(latents, "linear", CONFIG, seed).model.head.weight[0] for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert all(weight.norm().item() == pytest.approx(1, abs=1e-6) for weight in weights)
    fitted, trained = random_reward(latents, "linear", CONFIG, seed=0), mean_difference(latents, CONFIG, seed=0)
    assert fitted.heldout.drop(columns="probability").equals(trained.heldout.drop(columns="probability"))


W_DEC = torch.randn(toy_traces().d_sae, 5, generator=torch.Generator().manual_seed(1))


def push_of_any_length(variant):
    """A drawn push, traces, and their latents at every token whose push counts for the mean."""
    latents = toy_traces()
    torch.manual_seed(0)
    whole = LatentRewardModel(RewardConfig(latents.d_sae, variant))
    torch.nn.init.normal_(whole.push[1].weight)
    if variant == "free":
        torch.nn.init.normal_(whole.shift)
    seen = np.flatnonzero(~held_out(latents.problem_ids, CONFIG.early_stopping_share, 0))
    dense, mask = latents.dense(seen, torch.device("cpu"))
    return whole.requires_grad_(False), latents, dense[mask]


@pytest.mark.parametrize("variant", ["free", "potential"])
def test_a_push_has_a_mean(variant):
    whole, latents, here = push_of_any_length(variant)
    mean = part_of_push(whole, "mean", W_DEC, latents, CONFIG, seed=0).model
    assert mean.config.variant == "shift"
    assert torch.allclose(mean.direction(here)[0], whole.direction(here).mean(dim=0), atol=1e-5)


def test_steps_of_one_length_have_a_mean_which_no_gate_reads():
    latents = toy_traces()
    wide = CONFIG.model_copy(
        update={"width": latents.d_sae, "heads": 1}
    )  # its head is no map of latents, though as wide
    whole = random_reward(latents, "token", wide, 0).model
    seen = np.flatnonzero(~held_out(latents.problem_ids, CONFIG.early_stopping_share, 0))
    dense, mask = latents.dense(seen, torch.device("cpu"))
    mean = part_of_push(whole, "mean", W_DEC, latents, CONFIG, seed=0).model
    steps = [whole.direction(token[None])[0] for token in dense[mask]]
    assert torch.allclose(mean.direction(dense[mask])[0], sum(steps) / len(steps), atol=1e-5)
    assert not mean(dense).any()


def test_a_push_of_the_mean_way_is_as_long_everywhere_as_pushes_are_on_average():
    whole, latents, here = push_of_any_length("potential")
    level, mean = (part_of_push(whole, part, W_DEC, latents, CONFIG, seed=0).model for part in ("level", "mean"))
    decoded, of_mean = level.direction(here) @ W_DEC, mean.direction(here) @ W_DEC
    lengths = (whole.direction(here) @ W_DEC).norm(dim=1)
    assert decoded.norm(dim=1).tolist() == pytest.approx([lengths.mean().item()] * len(here), rel=1e-5)
    assert torch.cosine_similarity(decoded, of_mean).min() > 1 - 1e-5
    assert level.direction(here)[0].norm() > 1.1 * mean.direction(here)[0].norm()  # some pushes cancel out


def test_a_free_push_is_its_mean_and_the_rest():
    whole, latents, here = push_of_any_length("free")
    mean, rest = (part_of_push(whole, part, W_DEC, latents, CONFIG, seed=0).model for part in ("mean", "rest"))
    assert torch.allclose(mean.direction(here) + rest.direction(here), whole.direction(here), atol=1e-5)
    assert rest.direction(here).mean(dim=0).abs().max() < 1e-4
    assert rest.config.variant == "free"


def test_what_is_drawn_by_lot_differs_from_draw_to_draw_and_may_be_the_states_own():
    latents = toy_traces()
    first, again, other = (random_reward(latents, "linear", CONFIG, 0, draw=draw).model for draw in (0, 0, 1))
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    here = torch.rand(6, latents.d_sae)
    directions = random_reward(latents, "token", CONFIG, 0).model.direction(here)
    assert directions.norm(dim=1).tolist() == pytest.approx([1] * 6, abs=1e-5)
    assert directions.std(dim=0).max() > 0.01
