import numpy as np
import pytest
import torch
from conftest import VOCABULARY, tiny_llama
from transformers import LlamaConfig, Qwen2Config

from lrs.bench import tables
from lrs.bench.paths import measure, paths_of, run_engine, work_ratio
from lrs.bench.tables import compare_paths, compare_shapes, cost_curves, placebo_table, write_shapes
from lrs.bench.workloads import Shape, Workload, larger_shapes, random_workload, steerings_for
from lrs.config import load_config
from lrs.engine.policy import Policy

SHAPE = Shape(d_sae=24, k=4, width=16, layers=1, heads=2)
CPU = torch.device("cpu")
OURS = ("unsteered", "lrs_token", "lrs_history", "lrs_slope")


@pytest.fixture
def workload(prompts) -> Workload:
    return Workload("tiny", tiny_llama().float(), prompts, 24, [2, 7], batch=4, policy=Policy(selects_rows=True))


def test_every_path_writes_the_same_tokens_and_steers_the_asked_share(workload):
    steerings = steerings_for(workload, SHAPE, share=0.4)
    done = {
        name: run() for name, (_, run) in paths_of(workload, steerings, len(workload.prompts), without=True).items()
    }
    assert {tokens for tokens, _ in done.values()} == {done["unsteered"][0]}
    assert done["hf_generate"][1] == done["unsteered"][1] == 0
    for name in ("lrs_token", "lrs_history"):
        assert abs(done[f"{name}_all_rows"][1] - done[name][1]) <= 2
    processed = done["unsteered"][0] - len(workload.prompts)
    assert done["lrs_slope"][1] == processed  # at every token
    for variant in ("token", "history"):
        assert 0.25 < done[f"lrs_{variant}"][1] / processed < 0.55
    for name, ours in (("naive", "lrs_token"), ("naive_history", "lrs_history")):
        assert abs(done[name][1] - done[ours][1]) <= 2  # the threshold is a quantile, and may be a reward itself


def test_fixed_workloads_end_at_their_budget(workload):
    assert run_engine(workload.fixed(prompts=3, max_new_tokens=10, batch=2)) == (30, 0)
    shape = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    drawn = random_workload("random", shape, torch.float32, "cpu", prompts=3, new_tokens=5, batch=3)
    assert run_engine(drawn) == (15, 0)
    assert all(16 <= len(prompt) <= 48 for prompt in drawn.prompts)


def test_table_of_paths(workload):
    table = compare_paths(workload, steerings_for(workload, SHAPE), rounds=2, naive_prompts=2).set_index("path")
    asked = ["device", "model", "batch", "tokens_per_s", "ratio_to_unsteered", "ratio_to_hf_generate", "peak_memory_mb"]
    assert set(asked) <= set(table.columns)
    assert table.loc["unsteered", "ratio_to_unsteered"] == 1
    assert table.loc["hf_generate", "ratio_to_hf_generate"] == 1
    assert table.loc["naive", "batch"] == 1
    assert table.loc["naive", "problems"] == 2
    assert (table["ratio_to_unsteered_low"] <= table["ratio_to_unsteered"]).all()
    assert (table["ratio_to_unsteered"] <= table["ratio_to_unsteered_high"]).all()
    assert (table.drop(index="unsteered")["ratio_to_unsteered"] > 0).all()
    steered = table.loc["lrs_token"]
    assert steered["triggers"] == pytest.approx(steered["steered_fraction"] * (steered["tokens_per_problem"] - 1))
    assert list(table.index[table["work_ratio"] > 1]) == ["lrs_token", "lrs_history", "lrs_slope"]


def test_naive_paths_may_run_not_at_all_and_the_others_write_and_run_alike(workload):
    steerings = steerings_for(workload, SHAPE)
    table = compare_paths(workload, steerings, rounds=3, naive_prompts=0, naive_tokens=2).set_index("path")
    assert table["tokens_per_problem"]["hf_generate"] == table["tokens_per_problem"]["unsteered"] > 2
    assert table["rounds"].to_dict() == dict.fromkeys(("hf_generate", *OURS), 3)
    assert table["ratio_to_hf_generate"].notna().all()
    assert (table["peak_memory_mb"].isna() | (table["peak_memory_mb"] > 0)).all()


def test_the_papers_shapes_are_measured_in_half_precision(monkeypatch, tmp_path):
    sizes = {"hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    small = {"small": Qwen2Config(vocab_size=VOCABULARY, num_key_value_heads=1, **sizes)}
    monkeypatch.setattr(tables, "larger_shapes", lambda device: small)
    measured = list(compare_shapes(SHAPE, "cpu", torch.bfloat16, 8, (4, 1), rounds=2, naive_tokens=3))
    assert [list(table["path"]) for table in measured] == [
        ["hf_generate", *OURS],
        ["hf_generate", *OURS, "naive", "naive_history"],
    ]
    for table in measured:
        assert [2, 2, 2, 2, 2, 1, 1][: len(table)] == list(table["rounds"])
        assert all(table["tokens_per_problem"] == [3 if path.startswith("naive") else 8 for path in table["path"]])
    with pytest.raises(ValueError, match="need an accelerator"):
        write_shapes(load_config("paper"), tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_work_is_the_sizes_of_the_maps_that_a_token_goes_through(workload, share):
    """Reward of width 16 and one layer of two heads over 24 latents of activations of width 16, one ascent step."""
    mlp, embed, encode, decode = 2 * 16 * 64, 24 * 16, 16 * 24, 24 * 16
    mix = {"token": 16 * 16, "history": 4 * 16 * 16}
    attend = {"token": 0, "history": 2 * 16}  # over one token, scores and means
    of_model = sum(part.weight.numel() for part in workload.model.modules() if isinstance(part, torch.nn.Linear))
    steerings = steerings_for(workload, SHAPE)
    quadratic = (
        24 + 2 * 24 * 8
    )  # the head, and to rank 8 and back; its gradient goes there anew, and the same ways back
    expected = encode + quadratic + share * (2 * quadratic + decode + quadratic)
    assert work_ratio(workload, steerings.pop("slope"), share) == pytest.approx(1 + expected / of_model, rel=1e-6)
    for variant, steering in steerings.items():
        backward = embed + mix[variant] + mlp + attend[variant]
        forward = backward + 16  # the head
        expected = encode + forward + share * (backward + decode + forward)
        assert work_ratio(workload, steering, share) == pytest.approx(1 + expected / of_model, rel=1e-6)


def test_cost_curves_have_a_row_a_point_and_path(workload):
    grid = {"batch": (1, 3), "length": (4,), "num_steps": (2,), "d_sae": (8,), "width": (8,)}
    table = cost_curves(workload, 4, 4, SHAPE, grid, rounds=2)
    assert len(table) == 6 * 4
    assert set(table["path"]) == set(OURS)
    assert (table["ratio_low"] <= table["ratio"]).all()
    assert (table["ratio"] <= table["ratio_high"]).all()
    assert (table.loc[table["path"] == "unsteered", ["ratio_low", "ratio", "ratio_high"]] == 1).all(axis=None)


def test_a_workload_without_enough_prompts_is_refused(workload):
    with pytest.raises(ValueError, match="99 prompts are asked for, but tiny has 11"):
        workload.fixed(99, 4, 99)


def test_placebo_counts_what_rounding_does():
    table = placebo_table(load_config("smoke"), problems_each=2, device="cpu", batches=(4, 3)).set_index("dtype")
    assert list(table.index) == ["float32", "bfloat16"]
    assert (table["n"] == 4).all()
    assert np.allclose(
        table["other_accuracy"] - table["accuracy"], (table["wins"] - table["losses"]) / table["n"], atol=1e-12
    )


def test_measure_counts_and_sees_memory():
    taken = measure(lambda: (torch.ones(40 * 2**18).sum().int().item() * 0 + 3, 1), CPU)
    assert (taken.tokens, taken.steered) == (3, 1)
    assert taken.seconds > 0
    assert np.isnan(taken.peak_memory_mb) or taken.peak_memory_mb > 40


def test_an_accelerator_gets_the_papers_shapes():
    assert list(larger_shapes("cpu")) == ["random-28m"]
    parameters = {name: shape.hidden_size for name, shape in larger_shapes("cuda").items()}
    assert parameters == {"shape of orz-1b5": 1536, "shape of orz-7b": 3584}
