"""Is it specific to the state? Each push held against others that lack one thing, on the same problems.

Each was tuned on its own, but for parts of a push and pushes drawn by lot, which take the steps of that push.
"""

import pandas as pd

from lrs.config import StatisticsSection
from lrs.core.statistics import holm, mcnemar_exact
from lrs.report.comparison import bootstrap_by_problem, by_problem_means, pair_arms

HELD_AGAINST = {  # what differs, by arm and the one it is held against
    ("free_push", "free_constant"): "does not read the state, trained alike",
    ("free_push", "free_mean"): "the same push, everywhere as on average",
    ("free_push", "free_rest"): "the same push, without that average",
    ("free_push", "trained_constant"): "does not read the state, steps of length one",
    ("lrs_causal", "trained_constant"): "does not read the state, trained alike",
    ("lrs_causal", "untrained"): "reads the state, has learned nothing",
    ("lrs_causal", "random"): "does not read the state, has learned nothing",
    ("lrs_causal", "random_outside"): "the same, where the decoder cannot write",
    ("lrs_causal", "negated"): "the other way",
    ("lrs_causal", "causal_gate_reward"): "where the reward is low",
    ("lrs_causal", "causal_gate_confidence"): "where confidence is low",
    ("lrs_causal", "causal_gate_certainty"): "where entropy is high",
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
        paired, rows = pair_arms(group, "base"), []
        for arm, against in found:
            single = paired[arm] - paired[against]
            delta = by_problem_means(single)
            low, high = bootstrap_by_problem(delta, statistics, seed)
            name = {"backbone": backbone, "decoding": decoding, "arm": arm, "against": against}
            name |= {"which": HELD_AGAINST[arm, against], "n": len(delta)}
            counts = {"wins": int((single > 0).sum()), "losses": int((single < 0).sum())}
            rows.append(
                name
                | {"delta": delta.mean(), "low": low, "high": high}
                | counts
                | {"p": mcnemar_exact(int((delta > 0).sum()), int((delta < 0).sum()))}
            )
        table = pd.DataFrame(rows)
        tables.append(table.assign(p_holm=holm(table["p"])))
    return (pd.concat(tables) if tables else pd.DataFrame()).reindex(columns=SPECIFIC_COLUMNS)
