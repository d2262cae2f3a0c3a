"""Tables on outcomes small enough to count by hand, and the paper's own table."""

import json

import numpy as np
import pandas as pd
import pytest

from lrs.config import StatisticsSection, load_config
from lrs.core.statistics import mcnemar_exact, wilson_interval
from lrs.report.comparison import RESULT_COLUMNS, behavior_shares, compare_arms, significance
from lrs.report.paper import read_paper_table
from lrs.report.tables import (
    MAIN_COLUMNS,
    against_greedy,
    caption_for,
    describe_rows,
    main_results,
    readable,
    settings_table,
    summary_text,
    table_one,
    write_table,
)

pytestmark = pytest.mark.filterwarnings("error")
STATISTICS = StatisticsSection(confidence_level=0.95, bootstrap_resamples=500)
#                 problem:   0  1  2  3  4  5  6  7
BASE = {"countdown": "1 1 1 0 0 0 0 0", "chain_sum": "1 1 1 1"}
LRS = {"countdown": "1 1 0 1 1 1 0 0", "chain_sum": "1 1 1 0"}


def outcomes_of(arm, correct, seed=0, decoding="greedy", steered=0):
    """One outcome a problem; `correct` is a string of 0s and 1s per benchmark."""
    return pd.DataFrame(
        [
            {
                "backbone": "pocket",
                "device": "cpu",
                "problem_id": f"{benchmark}-{index}",
                "benchmark": benchmark,
                "split": "test",
                "arm": arm,
                "seed": seed,
                "decoding": decoding,
                "correct": value == "1",
                "tokens": 40 + index,
                "finish_reason": "answered" if value == "1" else "truncated",
                "steered_tokens": steered,
                "processed_tokens": 40,
            }
            for benchmark, values in correct.items()
            for index, value in enumerate(values.split())
        ]
    )


@pytest.fixture
def outcomes():
    return pd.concat([outcomes_of("base", BASE), outcomes_of("lrs", LRS, steered=10)], ignore_index=True)


def row_of(table, benchmark, arm):
    (row,) = table[(table["benchmark"] == benchmark) & (table["arm"] == arm)].to_dict("records")
    return row


def test_counts_by_hand(outcomes):
    table = compare_arms(outcomes, STATISTICS)
    assert list(table.columns) == RESULT_COLUMNS
    assert list(table["benchmark"].unique()) == ["countdown", "chain_sum", "pooled"]
    row = row_of(table, "countdown", "lrs")
    assert (row["n"], row["seeds"], row["wins"], row["losses"]) == (8, 1, 3, 1)
    assert row["accuracy"] == 5 / 8
    assert row["delta"] == 2 / 8
    assert row["delta_low"] <= row["delta"] <= row["delta_high"]
    assert row["p_mcnemar"] == mcnemar_exact(3, 1)
    assert (row["ci_low"], row["ci_high"]) == wilson_interval(5, 8)
    assert row["tokens"] == 43.5
    assert row["truncated"] == 3 / 8
    assert row["steered_fraction"] == 0.25
    assert row["arm_group"] == "method"
    pooled = row_of(table, "pooled", "lrs")
    assert (pooled["n"], pooled["wins"], pooled["losses"]) == (12, 3, 2)
    assert pooled["delta"] == pytest.approx(1 / 12)


def test_the_reference_has_no_contrast(outcomes):
    row = row_of(compare_arms(outcomes, STATISTICS), "pooled", "base")
    assert row["accuracy"] == pytest.approx(7 / 12)
    assert row["steered_fraction"] == 0
    for column in ("delta", "delta_low", "delta_high", "wins", "losses", "p_mcnemar", "p_holm", "mde"):
        assert np.isnan(row[column])


def test_holm_runs_over_the_whole_table(outcomes):
    table = compare_arms(outcomes, STATISTICS).dropna(subset=["p_mcnemar"])
    assert len(table) == 3
    smallest = table.loc[table["p_mcnemar"].idxmin()]
    assert smallest["p_holm"] == pytest.approx(min(1.0, 3 * smallest["p_mcnemar"]))


def test_holms_family_spans_backbones_and_decodings():
    """Three contrasts a backbone and decoding; the smallest p is multiplied by all that are not primary."""
    clear = {"countdown": " ".join("1" * 30), "chain_sum": "1 1"}
    base = {"countdown": " ".join("0" * 30), "chain_sum": "1 1"}
    arms = [
        outcomes_of(arm, correct, seed, decoding).assign(backbone=backbone)
        for backbone in ("pocket", "other")
        for seed, decoding in ((0, "greedy"), (1, "sampled"))
        for arm, correct in (("base", base), ("lrs", clear if backbone == "other" else base))
    ]
    alone = compare_arms(pd.concat(arms[-2:]), STATISTICS)
    table = compare_arms(pd.concat(arms), STATISTICS)
    assert table["p_holm"].notna().sum() == 2 * 2 * 3
    best = table[table["backbone"] == "other"].dropna(subset=["p_holm"]).iloc[0]
    assert best["p_holm"] == pytest.approx(10 * best["p_mcnemar"])
    pd.testing.assert_frame_equal(
        table.tail(6).reset_index(drop=True).drop(columns="p_holm"), alone.drop(columns="p_holm")
    )


def test_backbones_are_compared_apart_and_pooled_over_benchmarks_only(outcomes):
    other = outcomes.assign(backbone="other", device="gpu", correct=True)
    table = main_results(pd.concat([outcomes, other]), load_config("cpu"))
    assert list(table["backbone"].unique()) == ["pocket", "other"]
    assert table.groupby("backbone")["device"].unique().map(list).to_dict() == {"pocket": ["cpu"], "other": ["gpu"]}
    pooled = table[table["benchmark"] == "pooled"]
    assert pooled.groupby("backbone")["n"].first().to_dict() == {"pocket": 12, "other": 12}
    header, first, *_, last = summary_text(table).splitlines()
    assert header.split()[:3] == ["backbone", "benchmark", "arm"]
    assert (first.split()[0], last.split()[0]) == ("pocket", "other")
    assert "Backbone" not in caption_for(table, load_config("cpu"))


def test_the_placebo_is_no_hypothesis(outcomes):
    placebo = outcomes[outcomes["arm"] == "lrs"].assign(arm="placebo")
    alone = compare_arms(outcomes, STATISTICS)
    table = compare_arms(pd.concat([outcomes, placebo]), STATISTICS)
    assert row_of(table, "pooled", "placebo")["arm_group"] == "placebo"
    assert np.isnan(row_of(table, "pooled", "placebo")["p_holm"])
    assert row_of(table, "pooled", "lrs")["p_holm"] == row_of(alone, "pooled", "lrs")["p_holm"]


def test_order_of_rows_does_not_matter(outcomes):
    shuffled = outcomes.sort_values(["tokens", "problem_id", "arm"])
    keys = ["benchmark", "arm"]
    first, second = (compare_arms(data, STATISTICS).sort_values(keys) for data in (outcomes, shuffled))
    pd.testing.assert_frame_equal(first.reset_index(drop=True), second.reset_index(drop=True))


def test_identical_arms_differ_by_exactly_zero():
    same = pd.concat([outcomes_of("base", BASE), outcomes_of("placebo", BASE)])
    row = row_of(compare_arms(same, STATISTICS), "pooled", "placebo")
    assert (row["delta"], row["delta_low"], row["delta_high"]) == (0, 0, 0)
    assert (row["wins"], row["losses"], row["p_mcnemar"]) == (0, 0, 1)
    assert row["arm_group"] == "placebo"


def test_seeds_are_averaged_and_clustered_by_problem():
    one, two = {"countdown": "0 0 0 0"}, {"countdown": "1 1 0 0"}
    arms = [outcomes_of("base", one, seed, "sampled") for seed in (1, 2)]
    arms += [outcomes_of("lrs", two, seed, "sampled") for seed in (1, 2)]
    row = row_of(compare_arms(pd.concat(arms), STATISTICS), "countdown", "lrs")
    assert (row["n"], row["seeds"], row["accuracy"], row["delta"]) == (4, 2, 0.5, 0.5)
    assert (row["wins"], row["losses"]) == (4, 0)  # pairs of problem and seed
    assert row["p_mcnemar"] == mcnemar_exact(2, 0)  # a problem that is won twice is one win


def test_accuracy_over_several_seeds_has_an_interval_that_knows_what_hangs_together():
    """Problems that are right half of the time vary less than a coin does; those that are always or never, more."""
    halves = {"countdown": " ".join("10" * 20), "chain_sum": " ".join("1" * 10)}, {"countdown": " ".join("01" * 20)}
    halves[1]["chain_sum"] = " ".join("0" * 5 + "1" * 5)
    sampled = pd.concat([outcomes_of("base", correct, seed, "sampled") for seed, correct in enumerate(halves, 1)])
    table = compare_arms(sampled, STATISTICS).set_index("benchmark")
    low, high = wilson_interval(7.5, 10)
    ours = table.loc["chain_sum"]
    assert low < ours["ci_low"] < 0.75 < ours["ci_high"] < high
    # every problem has accuracy one half, so that nothing can be told of their spread
    assert tuple(table.loc["countdown", ["ci_low", "ci_high"]]) == wilson_interval(20, 40)
    alike = pd.concat([outcomes_of("base", {"countdown": "1 1 1 0 0 0 0 0"}, seed, "sampled") for seed in range(1, 9)])
    clustered = compare_arms(alike, STATISTICS).set_index("benchmark").loc["countdown"]
    assert clustered["ci_high"] - clustered["ci_low"] > np.subtract(*wilson_interval(24, 64)[::-1]) * 2


def test_primary_contrasts_have_a_holm_family_of_their_own(outcomes):
    others = [outcomes[outcomes["arm"] == "lrs"].assign(arm=f"control{number}") for number in range(9)]
    second = pd.concat([outcomes, *others]).assign(backbone="second")
    table = compare_arms(pd.concat([outcomes, *others, second]), STATISTICS)
    primary = table[(table["arm"] == "lrs") & (table["benchmark"] == "pooled")]
    assert primary["p_holm"].tolist() == [min(1, 2 * p) for p in primary["p_mcnemar"]]
    others = table.drop(primary.index).dropna(subset="p_mcnemar")
    assert (others["p_holm"] >= others["p_mcnemar"]).all()
    assert others["p_holm"].min() == min(1, len(others) * others["p_mcnemar"].min())


def test_decodings_are_compared_apart(outcomes):
    sampled = outcomes.assign(seed=1, decoding="sampled", correct=True)
    table = compare_arms(pd.concat([outcomes, sampled]), STATISTICS)
    assert (table[table["decoding"] == "sampled"]["accuracy"] == 1).all()
    assert len(table) == 12


def test_samples_are_held_against_the_one_greedy_answer_of_base_to_the_same_problem():
    samples = [
        outcomes_of("lrs", {"countdown": one}, seed, "sampled") for seed, one in enumerate(("1 1 0", "1 0 0"), 1)
    ]
    outcomes = pd.concat([outcomes_of("base", {"countdown": "0 1 0 1"}), *samples])  # the fourth was not sampled
    table = against_greedy(outcomes, load_config("cpu"))
    assert set(table["decoding"]) == {"sampled"}
    row = row_of(table, "countdown", "greedy")
    assert (row["n"], row["accuracy"]) == (3, pytest.approx(1 / 3))
    row = row_of(table, "countdown", "lrs")  # its first sample of each
    assert (row["n"], row["seeds"], row["wins"], row["losses"], row["delta"]) == (3, 1, 1, 0, pytest.approx(1 / 3))
    assert against_greedy(outcomes_of("base", BASE), load_config("cpu")).empty
    assert against_greedy(samples[0], load_config("cpu")).empty


def test_faults_in_the_pairing_are_refused(outcomes):
    with pytest.raises(ValueError, match=r"same \(problem, seed\) set: lrs lacks 1 of 12"):
        compare_arms(outcomes.iloc[:-1], STATISTICS)
    with pytest.raises(ValueError, match="more than one outcome"):
        compare_arms(pd.concat([outcomes, outcomes.tail(1)]), STATISTICS)
    with pytest.raises(ValueError, match="no outcomes of the reference arm 'base'; arms found: lrs"):
        compare_arms(outcomes[outcomes["arm"] == "lrs"], STATISTICS)


@pytest.fixture
def main_table(outcomes):
    return main_results(outcomes, load_config("cpu"))


def test_main_results_has_the_agreed_columns(main_table):
    assert " ".join(MAIN_COLUMNS) == (
        "profile device backbone benchmark split decoding arm arm_group n seeds accuracy ci_low ci_high delta "
        "delta_low delta_high wins losses p_mcnemar p_holm mde tokens truncated steered_fraction"
    )
    assert list(main_table.columns) == MAIN_COLUMNS
    assert set(main_table["profile"]) == {"cpu"}


def test_written_tables(main_table, tmp_path):
    caption = caption_for(main_table, load_config("cpu"))
    csv, md, tex = write_table(main_table, tmp_path, "main_results", caption)
    pd.testing.assert_frame_equal(pd.read_csv(csv), main_table, rtol=1e-5, check_dtype=False)
    lines = md.read_text().splitlines()
    assert "95% Wilson interval;" in lines[0]
    assert "clustered by problem)" in caption_for(main_table.assign(seeds=4), load_config("cpu"))
    assert "Profile cpu; device cpu; backbone pocket; split test; decoding greedy; seeds 1; n 4 to 12." in lines[0]
    assert "62.5 [30.6, 86.3]" in md.read_text()
    assert "3/1" in md.read_text()
    assert "nan" not in md.read_text()
    assert tex.read_text().count("\\toprule") == 1
    assert "chain\\_sum" in tex.read_text()
    assert "95\\% Wilson" in tex.read_text()


def test_writing_twice_gives_the_same_bytes(main_table, tmp_path):
    first = write_table(main_table, tmp_path / "a", "t", "caption")
    second = write_table(main_table, tmp_path / "b", "t", "caption")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_readable_formats_each_kind_of_value():
    table = pd.DataFrame(
        {
            "name": ["a", "b"],
            "steps": [1, 20_000],
            "chosen": [True, False],
            "p_holm": [0.0004, np.nan],
            "auroc": [0.81234, 0.5],
            "low": [0.8, 0.4],
            "high": [0.9, 0.6],
            "loss": [0.123456, 12.0],
        }
    )
    first, second = readable(table).to_dict("records")
    assert first == {
        "name": "a",
        "steps": "1",
        "chosen": "True",
        "p_holm": "<0.001",
        "auroc": "0.812 [0.800, 0.900]",
        "loss": "0.1235",
    }
    assert second["p_holm"] == ""
    assert second["steps"] == "20000"


def test_summary_text_is_the_main_table_in_brief(main_table):
    lines = summary_text(main_table).splitlines()
    assert len(lines) == 1 + len(main_table)
    assert lines[0].split()[:3] == ["benchmark", "arm", "n"]
    assert max(map(len, lines)) < 130
    assert "+25.0 [" in lines[2]
    assert "3/1" in lines[2]


def test_paper_table_says_what_thirty_problems_mean():
    paper = read_paper_table()
    assert len(paper) == 60
    cell = paper[(paper["backbone"] == "ORZ-7B") & (paper["benchmark"] == "AIME24")].set_index("arm")
    assert cell["successes"].loc[["base", "lrs"]].tolist() == [5, 8]
    assert cell.loc["lrs", "smallest_p"] == pytest.approx(0.25)
    assert np.isnan(cell.loc["base", "smallest_p"])
    assert (cell.loc["lrs", "ci_low"], cell.loc["lrs", "ci_high"]) == wilson_interval(8, 30)
    # Every printed accuracy is a whole number of problems, up to the printing.
    assert (paper["accuracy"] - paper["successes"] / paper["n"]).abs().max() < 0.001


def test_tables_survive_json(main_table):
    """Nothing in a table is of a type that a report could not carry."""
    assert json.loads(main_table.to_json(orient="records"))[0]["arm"] == "base"


def test_table_one_has_a_row_a_cell_of_the_paper_and_a_column_an_arm():
    wide = table_one(read_paper_table())
    assert wide.columns.tolist() == ["backbone", "benchmark", "n", "base", "lrs_basic", "lrs", "cot", "few_shot"]
    assert len(wide) == 12
    row = wide[(wide["backbone"] == "ORZ-1.5B") & (wide["benchmark"] == "AMC23")].iloc[0]
    low, high = wilson_interval(15, 40)
    assert row["n"] == 40
    assert row["lrs"] == f"37.5 [{100 * low:.1f}, {100 * high:.1f}]"


def test_table_one_keeps_the_order_of_results_and_tells_decodings_apart(outcomes):
    sampled = pd.concat([outcomes_of(arm, BASE, seed=1, decoding="sampled") for arm in ("base", "lrs")])
    results = main_results(pd.concat([outcomes, sampled]), load_config("smoke"))
    wide = table_one(results)
    assert wide["decoding"].tolist() == ["greedy"] * 3 + ["sampled"] * 3
    assert wide["benchmark"].tolist() == ["countdown", "chain_sum", "pooled"] * 2
    assert wide["lrs"][0].startswith("62.5 [")
    assert wide["lrs"][3].startswith("37.5 [")


def test_what_sampled_rows_and_worked_examples_are_is_told():
    rows = [("base", "gcd", 0), ("few_shot", "gcd", 2), ("few_shot", "prime_factorization", 0)]
    outcomes = pd.DataFrame(rows, columns=["arm", "benchmark", "shots"])
    sampled = load_config("smoke")
    greedy = sampled.model_copy(update={"steering": sampled.steering.model_copy(update={"sampling": None})})
    told = "Worked examples that few_shot shows: 2 of gcd, none of prime_factorization (where none fits"
    assert describe_rows(outcomes, greedy).startswith(told)
    assert describe_rows(outcomes[outcomes["benchmark"] == "gcd"], greedy).endswith("shows: 2 of gcd.")
    assert describe_rows(outcomes[outcomes["arm"] == "base"], greedy) == ""
    told = "Sampled rows: 2 samples a problem at temperature 0.7, of the first 4 problems of each benchmark"
    assert describe_rows(outcomes, sampled).startswith(told)


def test_behavior_shares_count_traces_that_show_it_at_all():
    rows = [("p", 2, 0), ("q", 0, 1), ("r", 1, 0)]
    outcomes = pd.DataFrame(rows, columns=["problem_id", "verification", "backtracking"])
    same = {"backbone": "pocket", "decoding": "greedy", "benchmark": "gcd", "arm": "base"}
    outcomes = outcomes.assign(**same, subgoal_setting=0, backward_chaining=1)
    shares = behavior_shares(outcomes, 0.95).set_index("behavior")
    assert shares["share"].to_dict() == pytest.approx(
        {"verification": 2 / 3, "backtracking": 1 / 3, "subgoal_setting": 0.0, "backward_chaining": 1.0}
    )
    assert (shares["n"] == 3).all()
    assert (shares["low"] <= shares["share"]).all()
    assert (shares["share"] <= shares["high"]).all()


@pytest.mark.parametrize(("level", "below"), [(0.95, 0.05), (0.9, 0.1), (0.99, 0.01)])
def test_a_p_value_of_exactly_one_less_the_level_is_not_below_it(level, below):
    assert significance(level) == below


def test_settings_are_every_number_of_the_methods():
    config = load_config("cpu")
    table = settings_table(config)
    told = {(row.section, row.setting): row.value for row in table.itertuples()}
    assert len(told) == len(table)
    assert list(told)[:2] == [("backbones", "layer of pocket-3m"), ("backbones", "layer of planted-p1")]
    assert told["backbones", "layer of pocket-3m"] == "3"
    sections = {section for section, _ in told} - {"backbones"}
    assert sections == set(type(config).model_fields) & sections  # each is one of the profile's
    for section in sections:
        own = getattr(config, section)
        assert {name: told[section, name] for name in type(own).model_fields} == {
            name: str(value) for name, value in own.model_dump().items()
        }
    assert {"sae", "reward", "causal", "select", "decoding", "traces", "prompting", "statistics"} == sections
    sharper = config.model_copy(update={"sae": config.sae.model_copy(update={"k": 7})})
    changed = table.compare(settings_table(sharper))
    assert changed["value"]["other"].tolist() == ["7"]
