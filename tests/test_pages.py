"""Results pages, held to tables of a few rows that can be read off."""

import re
from pathlib import Path

import pandas as pd
import pytest

from lrs.config import load_config
from lrs.report.accepted import of_natural, read_accepted
from lrs.report.pages import results_page
from lrs.report.sentences import SMOKE_MARK
from lrs.report.tables import MAIN_COLUMNS

COMMON = {"profile": "cpu", "device": "cpu", "backbone": "pocket", "split": "test", "decoding": "greedy", "seeds": 1}
GROUPS = {"base": "baseline", "placebo": "placebo", "cot": "prompting", "lrs_basic": "method", "lrs": "method"}
DELTAS = {  # by arm, on gcd and pooled
    "placebo": (0.0, 0.0),
    "cot": (0.07, 0.03),
    "lrs_basic": (-0.04, -0.02),
    "lrs": (0.01, 0.005),
}
P_HOLM = {"cot": (0.01, 0.2), "lrs_basic": (0.6, 0.7), "lrs": (1.0, 0.45)}


def main_table() -> pd.DataFrame:
    rows = []
    for place, benchmark in enumerate(("gcd", "pooled")):
        for arm, group in GROUPS.items():
            row = COMMON | {"benchmark": benchmark, "arm": arm, "arm_group": group, "n": 1000, "accuracy": 0.5}
            row |= {"ci_low": 0.47, "ci_high": 0.53, "tokens": 40.0, "truncated": 0.125, "steered_fraction": 0.0}
            if arm != "base":
                delta = DELTAS[arm][place]
                row |= {"accuracy": 0.5 + delta, "delta": delta, "delta_low": delta - 0.01, "delta_high": delta + 0.01}
                changed = 0 if arm == "placebo" else 10
                row |= {"wins": changed, "losses": changed, "p_mcnemar": abs(0.3 - delta), "mde": 0.02}
                row |= {"p_holm": P_HOLM[arm][place] if arm in P_HOLM else None}
            rows.append(row)
    return pd.DataFrame(rows).reindex(columns=MAIN_COLUMNS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Accepted tables of a profile with one backbone."""
    main_table().to_csv(tmp_path / "main_results.csv", index=False)
    quality = {
        "backbone": "pocket",
        "variant": "token",
        "traces": 60,
        "auroc_traces": 0.812,
        "auroc_tokens": 0.6,
        "constancy": 0.884,
    }
    pd.DataFrame([quality | {"auroc_within_problems": 0.514, "calibration_error": 0.2}]).to_csv(
        tmp_path / "reward_quality.csv", index=False
    )
    tried = [("lrs_basic", 0.5, 0.008, True), ("lrs_basic", 2.0, -0.03, False), ("lrs", 1.0, 0.01, True)]
    selection = pd.DataFrame(tried, columns=["arm", "step_size", "delta", "chosen"])
    selection = selection.assign(backbone="pocket", decoding="greedy", n=90, push_ratio=0.044)
    selection = selection.assign(dose=0.0123, within_cap=True)
    selection.to_csv(tmp_path / "selection.csv", index=False)
    known = {"backbone": "pocket", "decoding": "greedy", "method": "lrs", "n": 1000, "wins": 12, "losses": 2}
    known |= {"ceiling": 0.1, "ceiling_low": 0.05, "ceiling_high": 0.15, "gain": 0.01, "gain_low": 0, "gain_high": 0.02}
    places = [known | {"benchmark": "gcd", "share": 0.3}, known | {"benchmark": "pooled", "share": 0.1}]
    places += [known | {"benchmark": "pooled", "decoding": "sampled", "ceiling_low": -0.05, "share": None}]
    pd.DataFrame(places).to_csv(tmp_path / "assay.csv", index=False)
    shares = [("base", "verification", 0.2), ("cot", "verification", 0.9), ("base", "backward_chaining", 0.5)]
    shares += [("cot", "backward_chaining", 0.4)]
    behaviors = pd.DataFrame(shares, columns=["arm", "behavior", "share"])
    behaviors.assign(backbone="pocket", decoding="greedy", benchmark="gcd").to_csv(
        tmp_path / "behaviors.csv", index=False
    )
    of = {"backbone": "pocket", "decoding": "greedy", "n": 80}
    stages = [("cot", "told", 0.1, 0.05, 0.15), ("free_push", "pushed", 0.09, 0.04, 0.14)]
    budget = pd.DataFrame(stages, columns=["arm", "stage", "gain", "low", "high"]).assign(**of)
    budget.assign(step=[None, -0.01], step_low=[None, -0.02], step_high=[None, 0.0]).to_csv(tmp_path / "budget.csv")
    contrast = of | {"arm": "free_push", "against": "free_turned", "which": "by lot", "delta": 0.095, "p_holm": 0.021}
    specific = pd.DataFrame([contrast | {"low": 0.05, "high": 0.14, "wins": 9, "losses": 1}])
    specific.to_csv(tmp_path / "specific.csv", index=False)
    densities = [("lrs", "verification", -0.1, -0.3, 0.1), ("lrs", "backward_chaining", 0.2, -0.1, 0.5)]
    densities += [("free_push", "verification", 2.5, 2.0, 3.0), ("free_push", "backward_chaining", -1, -2, -0.5)]
    one = "trained_constant"
    densities += [(one, "verification", 2.4, 2.1, 3.0), (one, "backward_chaining", 0, -1, 1)]
    promoted = pd.DataFrame(densities, columns=["arm", "behavior", "density", "density_low", "density_high"])
    gains = promoted["arm"].map({"lrs": 0.01, "free_push": 0.09, one: 0.02})
    promoted.assign(**of, gain=gains, gain_more=0.08).to_csv(tmp_path / "promoted.csv", index=False)
    parts = of | {"arm": "lrs", "total": 0.01, "indirect_low": -0.01, "indirect_high": 0.02, "unmatched": 0.0}
    parts |= {"indirect_least": 0.004, "indirect_most": 0.004}
    gone = [parts | {"behavior": name, "indirect": by} for name, by in (("all_four", 0.004), ("verification", 0.0))]
    pd.DataFrame(gone).to_csv(tmp_path / "mediation.csv", index=False)
    costs = {"device": "cpu", "model": "pocket", "path": "lrs_token", "batch": 128, "tokens_per_s": 3654.6}
    costs |= {"ratio_to_unsteered": 0.8, "ratio_to_unsteered_low": 0.5, "ratio_to_unsteered_high": 1.0}
    costs |= {"steered_fraction": 0.279, "work_ratio": 1.18, "workload": "pocket, batch 128", "rounds": 3}
    cold = costs | {"path": "hf_generate", "rounds": 1}
    pd.DataFrame([cold, costs]).to_csv(tmp_path / "costs.csv", index=False)
    for name in ("pocket/delta.png", "pocket/selection.png", "costs.png", "pocket/new.png", "notebooks/1.ipynb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "table1.md").write_text("x")
    (tmp_path / "main_results.md").write_text("x")
    return tmp_path


@pytest.fixture
def page(folder: Path) -> str:
    return results_page(read_accepted(folder))


def cells(page: str, section: str) -> list[list[str]]:
    """Rows of the tables of a section, headers and rulers left out."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", page, flags=re.DOTALL | re.MULTILINE)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rulers = [place for place, line in enumerate(lines) if set(line) <= set("|:- ")]
    kept = [line for place, line in enumerate(lines) if place not in rulers and place + 1 not in rulers]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in kept]


def test_the_pooled_table_has_every_arm(page: str):
    rows = cells(page, "Accuracy")
    assert [row[0] for row in rows] == [f"`{arm}`" for arm in GROUPS]
    assert rows[0] == ["`base`", "50.0%", "", "", "", "", "12.5%", "0.0%"]
    assert rows[2] == ["`cot`", "53.0%", "+3.0 [+2.0, +4.0]", "10/10", "0.27", "0.2", "12.5%", "0.0%"]
    assert "won and lost nothing" in page


def test_a_placebo_that_moves_is_told(folder: Path):
    table = main_table()
    moved = (table["arm"] == "placebo") & (table["benchmark"] == "pooled")
    table.assign(wins=table["wins"].mask(moved, 3), losses=table["losses"].mask(moved, 1)).to_csv(
        folder / "main_results.csv", index=False
    )
    assert "won or lost 4 answers in all: that many flips come from rounding alone" in results_page(
        read_accepted(folder)
    )


def test_secondary_contrasts_leave_out_the_primary_one_and_the_placebo(page: str):
    assert "There are 5: an arm against base" in page
    assert "leaves 1 of them, 0 of steered arms." in page
    surviving, *leads = cells(page, "Secondary contrasts")
    assert surviving == ["pocket", "gcd", "greedy", "`cot`", "+7.0 [+6.0, +8.0]", "10/10", "0.23", "0.01"]
    assert [(row[1], row[3]) for row in leads] == [("gcd", "`lrs`"), ("pooled", "`lrs_basic`"), ("gcd", "`lrs_basic`")]
    assert (
        "Steered arms range from -4.0 points (`lrs_basic`, `pocket`, `gcd`, greedy) to +1.0 points (`lrs`, `pocket`, "
        "`gcd`, greedy)." in page
    )


def test_intervals_and_corrections_are_at_the_level_of_the_profile(folder: Path):
    assert "All intervals are 95%." in results_page(read_accepted(folder))
    page = results_page(read_accepted(folder)._replace(confidence_level=0.75))
    assert "All intervals are 75%." in page
    assert "leaves 2 of them, 0 of steered arms." in page


def test_the_page_of_smoke_carries_a_mark_and_no_other_does(folder: Path, page: str):
    assert SMOKE_MARK not in page
    accepted = read_accepted(folder)
    smoke = results_page(accepted._replace(main=accepted.main.assign(profile="smoke")))
    assert smoke.startswith(f"# Results of profile `smoke`\n\n**{SMOKE_MARK}. ")
    assert smoke.index(SMOKE_MARK) < smoke.index("**LRS ")


def test_selection_stands_beside_test(page: str):
    assert cells(page, "What was selected") == [
        ["pocket", "`lrs_basic`", "greedy", "0.5", "4.4%", "0.012", "+0.8", "-2.0", "-3.0 (2)"],
        ["pocket", "`lrs`", "greedy", "1", "4.4%", "0.012", "+1.0", "+0.5", "+1.0 (1)"],
    ]


def test_the_assay_tells_the_pooled_shares(page: str):
    assert cells(page, "The assay") == [
        ["pocket", "greedy", "`lrs`", "1,000", "+10.0 [+5.0, +15.0]", "+1.0 [+0.0, +2.0]", "10%", "12/2"],
        ["pocket", "sampled", "`lrs`", "1,000", "+10.0 [-5.0, +15.0]", "+1.0 [+0.0, +2.0]", "", "12/2"],
    ]


@pytest.mark.parametrize("arms", [["base"], ["base", "cot"], ["base", "lrs_basic"], ["base", "placebo", "lrs"]])
def test_a_page_of_any_arms(folder: Path, arms: list[str]):
    accepted = read_accepted(folder)
    accepted = accepted._replace(
        main=accepted.main[accepted.main["arm"].isin(arms)],
        behaviors=accepted.behaviors[accepted.behaviors["arm"].isin(arms)],
    )
    page = results_page(accepted)
    assert ("This run has no primary contrast" in page) == ("lrs" not in arms)
    selected = [row[1] for row in cells(page, "What was selected")] if "## What was selected" in page else []
    assert selected == [f"`{arm}`" for arm in arms if arm.startswith("lrs")]
    assert [row[0] for row in cells(page, "Accuracy")] == [f"`{arm}`" for arm in arms]
    assert not re.search(r"\bnan\b", page)


def test_rewards_behaviors_and_costs(page: str):
    assert cells(page, "What the rewards know") == [
        ["pocket", "token", "60", "0.81", "0.51", "0.60", "0.20", "0.88", "`lrs_basic`", "-2.0 [-3.0, -1.0]"]
    ]
    assert cells(page, "Behaviors")[1] == ["pocket", "cot", "90.0%", "40.0%"]
    assert cells(page, "Behaviors")[-3:-1] == [
        ["pocket", "`lrs`", "80", "-0.10 [-0.30, +0.10]", "+0.20 [-0.10, +0.50]"],
        ["pocket", "`free_push`", "80", "+2.50 [+2.00, +3.00]", "-1.00 [-2.00, -0.50]"],
    ]
    assert (
        "Does steering promote them, the paper's second claim? Not here: decoded greedily on 1 reasoner, LRS as the "
        "paper trains it makes no cognitive behavior denser, beyond chance by intervals of each. The steered arm that "
        "gains most makes behaviors denser on 1 of 1: verification changes in 100 tokens by +2.50 with `free_push` on "
        "`pocket` (with a constant by at most +2.40)." in page
    )
    assert (
        "By base's answers, matched for behaviors (an accounting, no proof): `lrs` on `pocket`, greedy: of +1.0 points "
        "+0.4 [-1.0, +2.0] go through the four behaviors." in page
    )
    assert (
        "with `cot`, `pocket` shows verification in 90.0% of its `gcd` traces instead of 20.0%; its accuracy there "
        "changes by +7.0 points." in page
    )
    # a ratio of speeds turns into one of times: its ends change places
    # what ran once, and cold, has none
    assert cells(page, "What steering costs") == [
        ["cpu", "pocket", "`hf_generate`", "128", "3,655", "", "27.9%", "1.18"],
        ["cpu", "pocket", "`lrs_token`", "128", "3,655", "1.25 [1.00, 2.00]", "27.9%", "1.18"],
    ]


def test_where_it_is_lost_and_what_a_push_owes(page: str):
    assert cells(page, "Where it is lost") == [
        ["pocket", "greedy", "told", "`cot`", "", "80", "+10.0 [+5.0, +15.0]", ""],
        ["pocket", "greedy", "pushed", "`free_push`", "layer, span", "80", "+9.0 [+4.0, +14.0]", "-1.0 [-2.0, +0.0]"],
    ]
    assert "most is lost from `cot` to `free_push`: -1.0 [-2.0, +0.0] points" in page
    assert "The cap on dose left out no setting" in page
    assert cells(page, "What a push owes to the state, to its direction and to its gate") == [
        ["pocket", "greedy", "`free_push`", "`free_turned`", "by lot", "+9.5 [+5.0, +14.0]", "9/1", "0.021"]
    ]


def test_every_link_leads_to_a_file_and_every_file_is_linked(folder: Path, page: str):
    links = {link for link in re.findall(r"\]\(([^)]+)\)", page) if not link.startswith("#")}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert links == files


def test_pictures_of_many_backbones_are_linked_and_not_shown(folder: Path):
    (folder / "other").mkdir()
    (folder / "other/selection.png").write_text("x")
    page = results_page(read_accepted(folder))
    assert "![what was tried" not in page
    assert "[other/selection.png](other/selection.png), [pocket/selection.png](pocket/selection.png)" in page
    assert "](pocket/delta.png)\n" in page


def test_tables_that_a_run_did_not_write_leave_no_trace(folder: Path):
    for path in folder.glob("*.csv"):
        if path.stem != "main_results":
            path.unlink()
    page = results_page(read_accepted(folder))
    titles = re.findall(r"^## (.*)$", page, flags=re.MULTILINE)
    assert titles == ["Accuracy", "Secondary contrasts", "Tables, figures and notebooks"]
    assert not re.search(r"\bnan\b", page)


def test_what_is_promoted_at_like_length_has_a_table_of_its_own(folder):
    table = pd.read_csv(folder / "promoted.csv")
    lengths = {"at_length": 0.004, "at_length_low": -0.25, "at_length_high": 0.75, "unmatched": 0.125}
    table.assign(**lengths).to_csv(folder / "promoted.csv", index=False)
    page = results_page(read_accepted(folder))
    assert ["pocket", "`lrs`", "12.5%", *["+0.00 [-0.25, +0.75]"] * 2] in cells(page, "Behaviors")


def test_reasoners_with_a_planted_mode_are_no_answer():
    planted = next(name for name, one in load_config("cpu").backbones.items() if one.planted)
    table = pd.DataFrame({"backbone": ["pocket-3m", planted, "gone"]})
    assert of_natural(table, "cpu")["backbone"].tolist() == ["pocket-3m", "gone"]
    assert of_natural(table[1:2], "cpu").empty


def test_margins_over_controls_are_told_where_a_run_has_them(folder: Path):
    main = main_table().replace({"arm": {"lrs": "lrs_causal", "lrs_basic": "random"}})
    own = main["arm"] == "lrs_causal"
    main.loc[own, ["delta", "delta_low", "delta_high", "p_holm"]] = [0.08, 0.06, 0.1, 0.001]
    main.to_csv(folder / "main_results.csv", index=False)
    against = main[main["arm"] == "random"].assign(reference="lrs_causal", delta=-0.1, p_holm=0.002)
    against.assign(delta_low=-0.13, delta_high=-0.07).to_csv(folder / "controls.csv", index=False)
    gains = ["1000", "+3.0", "+8.0 [+6.0, +10.0]", "0.001"]
    assert cells(results_page(read_accepted(folder)), "Over base, and over every control of direction") == [
        ["pocket", "greedy", "`lrs_causal`", *gains, "`random`", "+10.0 [+7.0, +13.0]", "0.002", "yes"]
    ]
