import numpy as np
import pandas as pd
import pytest
import torch
from conftest import sparse_traces
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid

from lrs.config import RewardSection
from lrs.learning import reward_training
from lrs.learning.reward_training import class_weights, mean_difference, random_direction, score_traces, train_reward
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


def test_loss_is_the_balanced_cross_entropy_of_every_real_token():
    latents = toy_traces(problems=3)
    torch.manual_seed(0)
    model = LatentRewardModel(RewardConfig(6, "history", width=16, layers=1, heads=2)).double()
    batch, terms = np.array([4, 0, 7, 2]), []
    for trace in batch:
        logits = model(latents.dense([trace])[0].double())[0]
        right = latents.correct[trace]
        terms += (-logsigmoid(logits if right else -logits) * (3.0 if right else 0.5)).tolist()
    assert len(set(latents.lengths[batch])) > 1
    loss = reward_training._loss(model.float(), latents, batch, (0.5, 3.0))
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-5)


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


def test_heldout_problems_are_not_trained_on(monkeypatch):
    latents, batches, loss = toy_traces(), [], reward_training._loss
    monkeypatch.setattr(reward_training, "_loss", lambda *given: batches.append(given[2]) or loss(*given))
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
    weights = [random_direction(latents, CONFIG, seed).model.head.weight[0] for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert all(weight.norm().item() == pytest.approx(1, abs=1e-6) for weight in weights)
    fitted, trained = random_direction(latents, CONFIG, seed=0), mean_difference(latents, CONFIG, seed=0)
    assert fitted.heldout.drop(columns="probability").equals(trained.heldout.drop(columns="probability"))
