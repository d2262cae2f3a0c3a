"""Is it specific to the state, and to the reward? Each push is held against others that lack one thing, on the same
problems.

Each was tuned on its own, but for parts of a push, pushes the other way and what is drawn by lot, unless they are
called tuned: these take the steps of that push.
"""

import pandas as pd

from lrs.config import StatisticsSection
from lrs.core.statistics import holm
from lrs.method.arms import DRAWS
from lrs.report.comparison import pair_arms, paired_contrast

HELD_AGAINST = {  # what differs, by arm and the one it is held against
    ("free_push", "free_along"): "one vector, of which the length alone reads the state, trained alike",
    ("free_push", "free_gated"): "one vector and a gate that reads the state, trained alike",
    ("free_push", "free_constant"): "does not read the state, trained alike",
    ("free_push", "free_mean"): "the same push, everywhere as on average",
    ("free_push", "free_rest"): "the same push, without that average",
    ("free_push", "trained_constant"): "does not read the state, steps of one length",
    **{("free_push", f"free_turned{n}"): "as far at each token, in a direction drawn by lot" for n in DRAWS},
    ("free_push", "free_negated"): "the other way",
    ("free_push", "free_mean_along"): "as far at each token, in one direction: its own average",
    ("lrs_slope", "lrs_causal"): "up a reward that was trained alike, in steps of one length",
    ("lrs_slope", "free_along"): "one vector, of which the length alone reads the state, trained alike",
    ("lrs_slope", "free_gated"): "one vector and a gate that reads the state, trained alike",
    ("lrs_slope", "free_constant"): "does not read the state, trained alike",
    ("lrs_slope", "trained_constant"): "does not read the state, steps of one length",
    ("lrs_slope", "free_push"): "reads the state, and is no gradient",
    ("lrs_slope", "slope_mean"): "the same push, everywhere as on average",
    ("lrs_slope", "slope_along"): "as far at each token, in one direction: its own average",
    ("lrs_slope", "slope_even"): "the same directions, equally far at each token",
    ("lrs_slope", "slope_negated"): "the other way",
    **{("lrs_slope", f"slope_turned{n}"): "as far at each token, in a direction drawn by lot" for n in DRAWS},
    ("free_gated", "free_along"): "a length that is linear in the latents, either way",
    ("free_gated", "free_constant"): "does not read the state, trained alike",
    ("free_along", "free_constant"): "does not read the state, trained alike",
    ("free_along", "trained_constant"): "does not read the state, steps of one length",
    ("lrs", "lrs_basic"): "at every token",
    **{("lrs", f"lrs_turned{n}"): "at the same gate, in a direction drawn by lot" for n in DRAWS},
    ("lrs", "lrs_along"): "at the same gate, in one direction: its own average",
    ("lrs", "lrs_negated"): "at the same gate, the other way",
    ("lrs", "gate_reward"): "where the reward is low, and nowhere else",
    ("lrs", "gate_confidence"): "where confidence is low, and nowhere else",
    ("lrs", "gate_certainty"): "where entropy is high",
    ("lrs", "gate_fifth"): "at the fifth of all tokens where entropy is highest",
    ("lrs", "gate_stability"): "where entropy is high, or much has changed",
    ("lrs", "gate_lot"): "anywhere, at as many tokens",
    **{("lrs", f"shuffled{n}"): "a reward that learned from shuffled answers" for n in DRAWS},
    ("lrs_causal", "lrs_causal_history"): "up a reward that sees the trace so far, trained alike",
    ("lrs_causal", "trained_constant"): "does not read the state, trained alike",
    ("lrs_causal", "untrained"): "reads the state, has learned nothing",
    **{("lrs_causal", f"random{n}"): "does not read the state, has learned nothing" for n in DRAWS},
    **{("lrs_causal", f"random_fresh{n}"): "another direction at every state, drawn by lot" for n in DRAWS},
    ("lrs_causal", "causal_along"): "as far at each token, in one direction: its own average",
    **{("lrs_causal", f"causal_turned{n}"): "as far at each token, in a direction drawn by lot" for n in DRAWS},
    **{("lrs_causal", f"random_outside{n}"): "does not read the state, where the decoder cannot write" for n in DRAWS},
    **{("lrs_causal", f"random_fresh_outside{n}"): "another direction at every state, there" for n in DRAWS},
    **{("lrs_causal", f"causal_shuffled{n}"): "up a reward trained alike, on shuffled answers" for n in DRAWS},
    ("lrs_causal", "negated"): "the other way",
    ("lrs_causal", "causal_gate_reward"): "where the reward is low",
    ("lrs_causal", "causal_gate_confidence"): "where confidence is low",
    ("lrs_causal", "causal_gate_certainty"): "where entropy is high",
    ("lrs_causal", "causal_gate_fifth"): "at the fifth of all tokens where entropy is highest",
    ("lrs_causal", "causal_gate_stability"): "where entropy is high, or much has changed",
    ("lrs_causal", "causal_gate_lot"): "anywhere, at as many tokens",
}
SPECIFIC_COLUMNS = [
    *("backbone", "decoding", "arm", "against", "which", "n", "delta", "low", "high", "wins", "losses", "p_holm"),
]


def specific_table(outcomes: pd.DataFrame, statistics: StatisticsSection, seed: int = 0) -> pd.DataFrame:
    """Every contrast of `HELD_AGAINST` of which both arms were run, all benchmarks pooled.

    Args:
        outcomes: of all backbones together, as `lrs.saved.load_outcomes` returns them.
        seed: of the bootstrap over problems, within their benchmarks.

    Returns:
        columns `SPECIFIC_COLUMNS`; `delta` is arm less the one it is held against, `wins` where it alone is right, and
        `p_holm` the exact sign test over problems, adjusted within backbone and decoding.
    """
    tables = []
    for (backbone, decoding), group in outcomes.groupby(["backbone", "decoding"], sort=False):
        there = set(group["arm"])
        found = [pair for pair in HELD_AGAINST if there.issuperset(pair)]
        if not found:
            continue
        paired, problems, rows = pair_arms(group, "base"), group["problem_id"].nunique(), []
        for arm, against in found:
            contrast = paired_contrast(paired[arm], paired[against], statistics, seed)
            name = {"backbone": backbone, "decoding": decoding, "arm": arm, "against": against}
            rows.append(name | {"which": HELD_AGAINST[arm, against], "n": problems} | contrast)
        table = pd.DataFrame(rows).rename(columns={"delta_low": "low", "delta_high": "high"})
        tables.append(table.assign(p_holm=holm(table["p_mcnemar"].to_numpy())).astype({"wins": int, "losses": int}))
    return (pd.concat(tables) if tables else pd.DataFrame()).reindex(columns=SPECIFIC_COLUMNS)
