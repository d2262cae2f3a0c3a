"""What is looked at closely, by rule: which latents, which arms, and which answers that these repaired and broke."""

import pandas as pd

from lrs.core.frames import each_group, each_row
from lrs.learning.reward_metrics import cases_of
from lrs.method.arms import ARMS
from lrs.tutor.planted import FORK, MOON, SUN

_PAPER = "lrs"
_REPLAYED = (False, True, "reward", "confidence")  # gates whose pushes a ledger tells


def extremes(latents: pd.DataFrame, count: int = 5) -> pd.DataFrame:
    """The latents that raise the paper's reward most, and below them as many that lower it most: rows of
    `lrs.experiment.latent_study`."""
    ordered = latents.sort_values("shapley", ascending=False, kind="stable")
    return ordered if len(ordered) <= 2 * count else pd.concat([ordered[:count], ordered[-count:]])


def studied_arms(candidates: pd.DataFrame) -> list[str]:
    """The arm that gained most on validation problems, greedily, of those that can be written anew; then the paper's.
    None, if neither was run.

    Args:
        candidates: of `lrs.saved.load_candidates`.
    """
    chosen = candidates[(candidates["decoding"] == "greedy") & candidates["chosen"].astype(bool)]
    ordered = chosen.sort_values("delta", ascending=False, kind="stable")["arm"]
    rivals = [arm for arm in ordered if arm != _PAPER and ARMS[arm].gated in _REPLAYED]
    return [*rivals[:1], *ordered[ordered == _PAPER]]


def case_studies(paths: pd.DataFrame) -> list[tuple[str, str, str]]:
    """What is worth looking at of each arm, by rule: what `cases_of` chooses, and the first planted repair, if there is
    one.

    Args:
        paths: of `keep_paths` (`lrs/experiment/reward_paths.py`).

    Returns:
        Arm, title and problem_id of each, no problem twice for one arm: a case that is the planted repair too says so.
    """
    chosen, cases = cases_of(paths), []
    for by, part in each_group(paths, "by", sort=False):
        titles = {name: title for arm, title, name in chosen if arm == by}
        if planted := planted_repair(part):
            titles[planted] = f"{titles[planted]}, a planted repair" if planted in titles else "planted repair"
        cases += [(by, title, name) for name, title in titles.items()]
    return cases


def planted_repair(paths: pd.DataFrame) -> str | None:
    """The first problem, by id, that an arm repaired by a mode: its answer first differs from base's in the word at a
    fork. None where there is no such problem.

    Args:
        paths: of one arm, as in `case_studies`.
    """
    repaired = paths.loc[paths["change"] == "repaired", ["problem_id", "arm", "text"]]
    is_base = repaired["arm"] == "base"
    both = repaired[is_base].merge(repaired[~is_base], on="problem_id", suffixes=("_base", ""))
    ordered = each_row(both.sort_values("problem_id"))
    return next((row.problem_id for row in ordered if _in_the_mode(row.text_base, row.text)), None)


def _in_the_mode(base: str, other: str) -> bool:
    """Whether the first word in which two texts differ is the mode at a fork."""
    said, instead = base.split(), other.split()
    for place, words in enumerate(zip(said, instead, strict=False)):
        if len(set(words)) > 1:
            return set(words) == {SUN, MOON} and FORK in said[place - 2 : place - 1]
    return False
