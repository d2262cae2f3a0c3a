"""The answer of a run: its verdict follows the primary contrasts, and its numbers are theirs."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from lrs.config import PROFILES
from lrs.report.answer import answer, gains_table
from lrs.report.promoted import promoted_answer
from lrs.report.readme import confirmed_answer, put_block, readme_block


def main_table(*deltas: float, p_holm: float = 0.5, mde: float = 0.013) -> pd.DataFrame:
    """A reasoner for each delta: base and lrs on two benchmarks and pooled, greedy and sampled."""
    rows = []
    for number, delta in enumerate(deltas):
        for benchmark in ("gcd", "countdown", "pooled"):
            for decoding in ("greedy", "sampled"):
                primary = benchmark == "pooled" and decoding == "greedy"
                name = {"backbone": f"model-{number}", "benchmark": benchmark, "decoding": decoding}
                base = 0.5 if primary else 0.1
                rows.append(name | {"arm": "base", "n": 2000, "accuracy": base})
                contrast = {"delta": delta, "delta_low": delta - 0.01, "delta_high": delta + 0.01, "p_holm": p_holm}
                if not primary:
                    contrast |= {"delta": 0.4, "p_holm": 1e-9}  # what must not be reported as the answer
                more = {"wins": 30.0, "losses": 20.0, "p_mcnemar": 0.2, "mde": mde}
                rows.append(name | {"arm": "lrs", "n": 2000, "accuracy": base + delta} | contrast | more)
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("delta", "p_holm", "verdict"),
    [
        (0.02, 0.5, "does not beat"),
        (0.02, 0.049, "beats"),
        (-0.02, 0.049, "falls behind"),
        (-0.02, 0.05, "does not beat"),
    ],
)
def test_the_verdict_takes_significance_and_sign(delta: float, p_holm: float, verdict: str):
    assert answer(main_table(delta, p_holm=p_holm), 0.95).startswith(f"**LRS {verdict} the unsteered model.** ")


def test_the_numbers_are_those_of_the_primary_contrast():
    told = answer(main_table(-0.012), 0.95)
    assert told.endswith(" LRS (`lrs`) beats the unsteered model in samples on `model-0`.")
    assert told.removesuffix(" LRS (`lrs`) beats the unsteered model in samples on `model-0`.").endswith(
        "On 2,000 test problems of 2 benchmarks, decoded greedily, `model-0` is right in 50.0% unsteered and in 48.8% "
        "with LRS: -1.2 [-2.2, -0.2] points, 30 problems won and 20 lost, exact McNemar p 0.2. A true gain of 1.3 "
        "points would have been found four times in five."
    )


def test_power_is_told_of_a_null_alone():
    assert "would have been found" not in answer(main_table(0.02, p_holm=0.001), 0.95)
    assert "would have been found" not in answer(main_table(0.0, mde=float("nan")), 0.95)  # nothing won or lost


def test_several_reasoners_are_told_one_by_one():
    told = answer(main_table(0.01, -0.01), 0.95)
    assert told.startswith("**Decoded greedily, LRS beats the unsteered model on none of 2 reasoners.** ")
    assert "`model-0` +1.0 [+0.0, +2.0] (2,000 test problems of 2 benchmarks); `model-1` -1.0 [-2.0, +0.0] (2,0" in told
    assert "The smallest p after Holm's correction over these 2 is 0.5. " in told
    assert answer(main_table(0.03, -0.03, p_holm=0.01), 0.95).startswith(
        "**Decoded greedily, LRS beats the unsteered model on `model-0`; it falls behind on `model-1`.** "
    )


def test_where_other_pushes_beat_it_is_told_by_decoding_after_holm():
    table = main_table(0.01, -0.01)
    causal = table[table["arm"] == "lrs"].assign(arm="lrs_causal")
    greedy, first = causal["decoding"] == "greedy", causal["backbone"] == "model-0"
    causal.loc[greedy, ["delta", "p_holm"]] = [0.06, 0.01]
    causal.loc[~greedy & first, ["delta", "p_holm"]] = [0.08, 0.2]
    causal.loc[~greedy & ~first, ["delta", "p_holm"]] = [-0.08, 0.001]
    told = answer(pd.concat([table, causal.assign(arm="cot"), causal]), 0.95)
    assert told.endswith(
        " LRS (`lrs`) beats the unsteered model in samples on `model-0` and `model-1`."
        " LRS with a reward trained through its own push (`lrs_causal`) beats the unsteered model greedily on "
        "`model-0` and `model-1`, in samples on none (and falls behind on `model-1`)."
        " Unsteered, greedy decoding is worth +40.0 points on `model-0`, +40.0 points on `model-1` over samples, which "
        "a push that only makes the model surer would gain in samples too; greedily there is no such way out."
    )
    surer = pd.concat([table, causal]).assign(accuracy=0.5)  # greedy and samples are worth the same
    assert "surer" not in answer(surer, 0.95)
    alone = answer(table[table["decoding"] == "greedy"], 0.95)
    assert alone.endswith("after Holm's correction over these 2 is 0.5.")


def test_the_table_of_gains_has_a_row_an_arm_and_marks_what_is_sure():
    table = main_table(0.01, -0.01)
    sure = table[table["arm"] == "lrs"].assign(arm="cot", delta=0.2, delta_low=0.1, delta_high=0.3, p_holm=0.01)
    header, _, *rows = gains_table(pd.concat([table, sure]), 0.05).splitlines()
    assert [cell.strip() for cell in header.split("|")[3:-1]] == [
        f"`model-{number}`, {decoding}" for number in (0, 1) for decoding in ("greedy", "sampled")
    ]
    (name, *lrs), (other, *cot) = ([cell.strip() for cell in row.split("|")[1:-1]] for row in rows)
    assert (name, other) == ("`lrs`", "`cot`")
    assert lrs[0].startswith("the paper's method")
    assert lrs[1:] == ["+1.0 [+0.0, +2.0]", "**+40.0 [+0.0, +2.0]**", "-1.0 [-2.0, +0.0]", "**+40.0 [-2.0, +0.0]**"]
    assert cot[1:] == ["**+20.0 [+10.0, +30.0]**"] * 4
    assert gains_table(table[table["arm"] == "base"], 0.05) == ""


def test_fewer_problems_of_one_reasoner_are_told():
    table = main_table(0.01, 0.02)
    table.loc[table["backbone"] == "model-1", "n"] = 400
    table.loc[(table["backbone"] == "model-1") & (table["benchmark"] != "pooled"), "benchmark"] = "gcd"
    told = answer(table, 0.95)
    assert "`model-0` +1.0 [+0.0, +2.0] (2,000 test problems of 2 benchmarks); " in told
    assert "`model-1` +2.0 [+1.0, +3.0] (400 test problems of 1 benchmark). " in told


def test_the_level_of_confidence_is_the_profiles():
    told = answer(main_table(0.01, 0.02, p_holm=0.07), 0.9)
    assert told.startswith("**Decoded greedily, LRS beats the unsteered model on `model-0`, `model-1`.** ")
    assert "with 90% intervals: " in told
    assert answer(main_table(0.01, p_holm=0.02), 0.99).startswith("**LRS does not beat ")


def test_a_run_without_the_primary_arm_says_so():
    table = main_table(0.01)
    assert answer(table[table["arm"] == "base"], 0.95) == "This run has no primary contrast: `lrs` is none of its arms."


def test_the_block_has_the_answers_that_there_are_and_one_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lrs.config.PROFILES", PROFILES.absolute())
    monkeypatch.chdir(tmp_path)
    expected = Path("data/expected")
    for profile, table in (("cpu", main_table(0.0)), ("full", main_table(0.01, -0.01))):
        (expected / profile / "model-0").mkdir(parents=True)
        (expected / profile / "model-0/delta.png").write_text("picture")
        table.to_csv(expected / profile / "main_results.csv", index=False)
    block = readme_block(expected, ("cpu", "full", "smoke"))
    assert block.count("**LRS ") == block.count("**Decoded greedily, LRS ") == 1
    assert block.count("](data/expected/cpu/model-0/delta.png)") == block.count("![") == 1
    assert [f"](data/expected/{name}/results.md)" in block for name in ("cpu", "full", "smoke")] == [True, True, False]
    assert put_block(f"before {block} after", block) == f"before {block} after"
    assert "second claim" not in block


def test_the_block_says_behind_what_was_confirmed_whether_behaviors_are_promoted(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        "lrs.report.readme.confirmed_answer", lambda _: ["what was confirmed", "| its table |", "what is beside it"]
    )
    row = {"backbone": "small", "decoding": "greedy", "arm": "lrs", "behavior": "verification", "gain": -0.1}
    table = pd.DataFrame([row | {"density": 0.5, "density_low": 0.25, "density_high": 0.75}])
    folder = tmp_path / "natural"
    folder.mkdir()
    table.to_csv(folder / "promoted.csv", index=False)
    _, *confirmed, second, _ = readme_block(tmp_path).split("\n\n")
    assert confirmed == ["what was confirmed", "| its table |", "what is beside it"]
    assert promoted_answer(table) in second
    assert second.endswith(f"([profile `natural`]({(folder / 'results.md').as_posix()}))")


def cells_of(table: str) -> list[list[str]]:
    """Rows of a table in Markdown, its head first."""
    head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")]
    return [head, *lines]


def test_what_was_confirmed_comes_first_with_the_margin_over_the_better_constant(tmp_path: Path):
    home = tmp_path / "data/confirm"
    gains = {"lrs": (-0.01, 0.002), "free_push": (0.15, 0.12), "trained_constant": (0.07, 0.0)}
    gains["lrs_slope"] = (0.14, 0.11)
    for number in (0, 1):
        row = {"backbone": f"model-{number}", "decoding": "greedy", "benchmark": "pooled", "n": 900, "device": "cpu"}
        rows = [row | {"arm": "base", "accuracy": 0.4}]
        sampled = {"base": 0.3, "free_push": 0.38 + number / 20}
        rows += [row | {"decoding": "sampled", "arm": arm, "accuracy": share} for arm, share in sampled.items()]
        for arm, deltas in gains.items():
            delta = deltas[number]
            rows.append(
                row
                | {
                    "arm": arm,
                    "accuracy": 0.4 + delta,
                    "delta": delta,
                    "delta_low": delta,
                    "delta_high": delta,
                    "p_holm": 0.2,
                }
            )
        others = [row | {"benchmark": name} for name in ("a", "b", "c")]
        sure = {"decoding": "sampled", "p_holm": 0.001, "delta_low": 0.0, "delta_high": 0.2}
        gaps = {
            "a": 0.05,
            "b": 0.05 * number,
            "pooled": 0.05,
        }  # from the constant: on model-0 the margin holds on one of two
        others += [row | sure | {"benchmark": name, "arm": "lrs_slope", "delta": 0.1, "accuracy": 0.3} for name in gaps]
        against = [
            row | {"arm": arm, "reference": reference, "delta": delta} | sure | {"decoding": "greedy"}
            for reference, arm, delta in (
                ("free_push", "trained_constant", -0.08 - number / 100),
                ("free_push", "free_constant", -0.11),
                ("free_push", "base", -0.01),
                ("lrs_causal", "trained_constant", -0.01),
                ("lrs_slope", "trained_constant", -0.07),
                ("lrs_slope", "slope_mean", -0.02 - number / 10),
                ("lrs_slope", "slope_along", -0.01 - number / 50),
            )
        ]
        constant = {"arm": "trained_constant", "reference": "lrs_slope"}
        against += [row | sure | constant | {"benchmark": name, "delta": -gap} for name, gap in gaps.items()]
        new = home / ("natural", "longer")[number] / f"model-{number}/new"
        new.mkdir(parents=True)
        pd.DataFrame(rows + others).to_csv(new / "results.csv", index=False)
        pd.DataFrame(against).to_csv(new / "controls.csv", index=False)
    ends = {"benchmark": "pooled", "delta_low": 0.01, "delta_high": 0.05}
    less = [
        ends | {"arm": arm, "delta": delta} for arm, delta in {"greedy": None, "base": -0.1, "free_push": 0.03}.items()
    ]
    pd.DataFrame(less).to_csv(new / "against_greedy.csv", index=False)  # of the last one; earlier ones have none
    (home / "natural/model-0/old").mkdir()
    (home / "natural/model-0/old/controls.csv").write_text("what was confirmed before")
    confirmed = [("natural", 0, "old"), ("longer", 1, "new"), ("natural", 0, "new"), ("natural", 1, "not ended")]
    confirmed.append(("cpu", 1, "new"))
    logged = [
        {"profile": profile, "backbone": f"model-{n}", "selection": name, "problems": 500}
        for profile, n, name in confirmed
    ]
    (home / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in logged))
    first, table, is_it_more, above, beside = confirmed_answer(home)
    assert first == (
        "**On fresh problems, decoded greedily, `model-1` / `model-0`: LRS adds +0.2 / -1.0 points. Of what is trained "
        "on whether the steered model's answers are right, the gradient of a quadratic reward (`lrs_slope`) adds +11.0 "
        "/ +14.0; a push that is learned directly (`free_push`) adds +12.0 / +15.0; the best constant vector, the same "
        "at each token, +0.0 / +7.0.**"
    )
    assert table.count("\n| `") == len(gains)
    pages = ", ".join(
        f"[`{name}` in `{place.split('/')[0]}`]({(home / place / 'new/README.md').as_posix()})"
        for name, place in (("model-1", "longer/model-1"), ("model-0", "natural/model-0"))
    )
    slope, free, nothing, wide = "`lrs_slope`", "`free_push`", "not asked", "[-20.0, +0.0]"
    assert beside == (
        "**Is it more than a length?** Points over the same lengths in a push's own average direction (`slope_along`, "
        f"`free_mean_along`): {slope} +3.0 {wide} greedy on `model-1` in `longer`; {slope} +1.0 {wide} greedy on "
        "`model-0` in `natural`. **A gain in samples counts less**: a push that only makes the model surer moves them "
        "towards greedy answers. Samples less the unsteered greedy answers to the same problems: -10.0 unsteered, "
        "+3.0 [+1.0, +5.0] with `free_push` on `model-1` in `longer`. The first table: 900 / 900 problems "
        "of 3 benchmarks, seed 0, cpu. Nothing is planted in these reasoners. "
        f"All settings were frozen before the problems were drawn, which were asked once: {pages}."
    )
    assert "and directions by lot it is `trained_constant` or `slope_mean`)" in is_it_more
    assert "at least 5 points over the unsteered model and 3 over every control, each with a p below 0.01" in is_it_more
    longer, natural = ("`longer`, seed 0, 500 a benchmark", "`natural`, seed 0, 500 a benchmark")
    places = [f"`model-{number}`, {how}" for number in (1, 0) for how in ("greedy", "sampled")]
    assert cells_of(above) == [
        ["push", "run", *places],
        [slope, longer, f"+11.0; +7.0 {wide}; 0 of 0", f"+10.0; +5.0 {wide}; 2 of 2+", nothing, nothing],
        [slope, natural, nothing, nothing, f"+14.0; +2.0 {wide}; 0 of 0", f"+10.0; +5.0 {wide}; 1 of 2+"],
        [free, longer, f"+12.0; +9.0 {wide}; 0 of 0", *[nothing] * 3],
        [free, natural, nothing, nothing, f"+15.0; +8.0 {wide}; 0 of 0", nothing],
    ]
    assert "\n\n".join((first, table, is_it_more, above, beside)) in readme_block(tmp_path / "none", confirmed=home)
    again = home / "replication/model-1/more"
    shutil.copytree(home / "longer/model-1/new", again)
    more = logged[1] | {"profile": "replication", "selection": "more", "problems": 4000}
    (home / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in [*logged, more]))
    once_more = confirmed_answer(home)
    assert once_more[:3] == [first, table, is_it_more]
    assert [line[0] for line in cells_of(once_more[3]) if "`replication`, seed 1, 4,000 a benchmark" in line] == [
        *(slope, free)
    ]
    assert f"[`model-1` in `replication`]({(again / 'README.md').as_posix()})" in once_more[4]
    assert "**On fresh" not in readme_block(tmp_path / "none", confirmed=tmp_path / "none")
    (home / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in [*logged[:1] * 9, *logged]))
    assert cells_of(confirmed_answer(home)[3])[2][5] == f"+10.0; +5.0 {wide}; 0 of 2"  # the eleventh time
    least = home / "natural/model-0/new/results.csv"  # a constant that was asked of one reasoner alone is its best
    one = pd.read_csv(least)
    extra = one.query("arm == 'trained_constant'").assign(arm="slope_mean_tuned", delta=0.09)
    pd.concat([one, extra]).to_csv(least, index=False)
    assert "the best constant vector, the same at each token, +0.0 / +9.0.**" in confirmed_answer(home)[0]
    other = home / "longer/model-1/new/results.csv"
    pd.read_csv(other).query("arm != 'lrs_slope' and arm != 'lrs'").to_csv(other, index=False)
    assert confirmed_answer(home)[0].startswith(
        "**On fresh problems, decoded greedily, `model-1` / `model-0`: Of what is trained on whether the steered "
        "model's answers are right, a push that is learned"
    )


@pytest.mark.parametrize("text", ["no marks", "<!-- results -->", "<!-- results --><!-- /results -->" * 2])
def test_a_readme_without_its_marks_is_refused(text: str):
    with pytest.raises(ValueError, match=r"one block from <!-- results --> to <!-- /results -->"):
        put_block(text, "block")


def test_a_block_is_taken_as_it_is():
    assert put_block("<!-- results --><!-- /results -->", r"\1 \g<0>") == r"\1 \g<0>"
