"""Margins over base and over every control of direction: the closest control decides, and every p."""

import pandas as pd
import pytest

from lrs.method.arms import ARMS
from lrs.report.margins import (
    ALONG,
    DIRECTION_CONTROLS,
    MARGIN_COLUMNS,
    direction_controls,
    margin_sentence,
    margin_table,
    margins_beside,
    own_lengths,
    readable_margins,
)


def results(**of_arms: tuple[float, float]) -> pd.DataFrame:
    """Gains over base, with their p, on two benchmarks and pooled."""
    rows = [
        {"decoding": "sampled", "benchmark": name, "arm": arm, "n": 500, "delta": gain, "p_holm": p}
        for name in ("sums", "sorting", "pooled")
        for arm, (gain, p) in of_arms.items()
    ]
    table = pd.DataFrame(rows)
    return table.assign(delta_low=table["delta"] - 0.02, delta_high=table["delta"] + 0.03)


def against(method: str, sorting: float, p: float = 0.001) -> pd.DataFrame:
    """Controls of direction less the method; on sorting one comes as close as `sorting`."""
    return direction_controls(all_against(method, sorting, p))


def all_against(method: str, sorting: float, p: float = 0.001) -> pd.DataFrame:
    """Other arms less the method, those that read the state too."""
    deltas = {"trained_constant": -0.06, "random": -0.12, "slope_along": -0.001, "base": -0.1}
    rows = [
        {"decoding": "sampled", "benchmark": name, "arm": arm, "delta": delta, "p_holm": p}
        for name in ("sums", "sorting", "pooled")
        for arm, delta in deltas.items()
    ]
    table = pd.DataFrame(rows).assign(reference=method)
    table.loc[(table["benchmark"] == "sorting") & (table["arm"] == "trained_constant"), "delta"] = -sorting
    return table.assign(delta_low=table["delta"] - 0.01, delta_high=table["delta"] + 0.02)


GAINS = {"base": (float("nan"), float("nan")), "cot": (0.2, 0.001), "lrs_slope": (0.1, 0.001)}


def test_the_closest_control_decides():
    table = margin_table(results(**GAINS), against("lrs_slope", sorting=0.02)).set_index("benchmark")
    assert list(table.reset_index()[MARGIN_COLUMNS]) == MARGIN_COLUMNS
    assert table["closest"].tolist() == ["trained_constant"] * 3  # what reads the state is none
    assert table["margin"].tolist() == pytest.approx([0.06, 0.02, 0.06])
    assert table.loc["sums", ["margin_low", "margin_high"]].tolist() == pytest.approx([0.04, 0.07])
    assert table["told"].tolist() == pytest.approx([0.2] * 3)
    assert table["held"].to_dict() == {"sums": True, "sorting": False, "pooled": True}
    told = margin_sentence(table.reset_index())
    assert told == "- `lrs_slope`, sampled: on 1 of 2 benchmarks, and pooled: sums."
    line = readable_margins(table.reset_index()).iloc[1].tolist()
    assert line[3:] == [
        500,
        "+20.0",
        "+10.0 [+8.0, +13.0]",
        "0.001",
        "`trained_constant`",
        "+2.0 [+0.0, +3.0]",
        "0.001",
        "no",
    ]


@pytest.mark.parametrize(
    ("gain", "p_base", "p_controls"), [(0.04, 0.001, 0.001), (0.1, 0.02, 0.001), (0.1, 0.001, 0.02)]
)
def test_every_condition_counts(gain, p_base, p_controls):
    table = margin_table(
        results(**(GAINS | {"lrs_slope": (gain, p_base)})), against("lrs_slope", sorting=0.06, p=p_controls)
    )
    assert not table["held"].any()
    assert margin_sentence(table) == "- `lrs_slope`, sampled: on 0 of 2 benchmarks, and not pooled."


def test_each_confirmation_before_counts():
    once, often = (margin_table(results(**GAINS), against("lrs_slope", 0.06, p=0.004), n) for n in (1, 3))
    assert once["held"].all()
    assert not often["held"].any()
    assert often["margin_p"].tolist() == pytest.approx([0.012] * 3)
    assert often["gain_p"].tolist() == pytest.approx([0.003] * 3)
    most = margin_table(results(**GAINS), against("lrs_slope", 0.06, p=0.4), 3)
    assert set(most["margin_p"]) == {1.0}


def test_what_holds_is_told_by_decoding_of_what_all_reasoners_were_asked():
    def held(method, sorting):
        gains = GAINS | {method: (0.1, 0.001)}
        sampled = margin_table(results(**gains), against(method, sorting))
        greedy = margin_table(results(**gains), against(method, 0.05)).assign(decoding="greedy")
        return pd.concat([sampled, greedy])

    tables = {"small": held("lrs_slope", 0.02), "large": pd.concat([held("lrs_slope", 0.05), held("free_push", 0.05)])}
    told = margins_beside({("once", name): table for name, table in tables.items()}, ["lrs_slope", "free_push"])
    assert told.columns.tolist() == [
        *("push", "run", "`small`, greedy", "`small`, sampled", "`large`, greedy", "`large`, sampled")
    ]
    over = "+10.0; +6.0 [+4.0, +7.0]"
    assert told.to_numpy().tolist() == [
        ["`lrs_slope`", "once", *(f"{over}; {held} of 2+" for held in (2, 1, 2, 2))],
        ["`free_push`", "once", "not asked", "not asked", *[f"{over}; 2 of 2+"] * 2],
    ]
    again = margins_beside({("once", "small"): tables["small"], ("again", "small"): tables["small"]}, ["lrs_slope"])
    assert again["run"].tolist() == ["once", "again"]
    assert margins_beside({("once", "small"): tables["small"]}, ["lrs"]).empty
    assert margins_beside({}, ["lrs_slope"]).empty


def test_what_goes_as_far_one_way_is_held_against_what_it_follows():
    others = pd.concat([all_against("lrs_slope", 0.06), all_against("free_push", 0.06)])
    table = margin_table(results(**GAINS), own_lengths(others))
    assert table[["method", "closest"]].drop_duplicates().to_numpy().tolist() == [["lrs_slope", "slope_along"]]
    assert table["margin"].tolist() == pytest.approx([0.001] * 3)
    assert not table["held"].any()
    assert {ARMS[name].matches: name for name in ALONG.values()} == ALONG
    assert all(ARMS[name].paced and name not in DIRECTION_CONTROLS for name in ALONG.values())


def test_without_controls_of_direction_nothing_is_said():
    others = all_against("lrs_slope", sorting=0.06)
    others = others[others["arm"].isin(["base", "slope_along"])]
    assert margin_table(results(**GAINS), direction_controls(others)).empty
    assert margin_table(results(**GAINS), own_lengths(others[others["arm"] == "base"])).empty


def test_controls_of_direction_are_controls():
    assert {ARMS[name].group for name in DIRECTION_CONTROLS} == {"control"}
