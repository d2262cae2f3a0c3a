"""A labeller of behaviors of one's own: a judge model behind one interface, held to exact labels before it counts."""

import json
import re

import pandas as pd

from lrs.report.changes import first_differences
from lrs.report.labelled import labelled_by
from lrs.tasks.behaviors import BEHAVIORS
from lrs.tasks.labeller import JudgeLabeller, validate_labeller


def ask(prompt: str) -> str:
    """From a prompt to a model's whole answer. No model stands behind this one: it quotes what begins with `check`."""
    text = prompt.split("-----\n")[1]
    return json.dumps({name: re.findall(r"check[^.]*\.", text) * (name == "verification") for name in BEHAVIORS})


texts = {
    "base": "<think> b 3 + 4 = 8 . </think> answer 8",
    "lrs": "<think> b 3 + 4 = 8 . check 3 + 4 = 7 no . back to b . b 3 + 4 = 7 . </think> answer 7",
}
rows = [{"arm": arm, "text": text, "correct": arm == "lrs"} for arm, text in texts.items()]
named = {"backbone": "mine", "decoding": "greedy", "benchmark": "chain_sum", "problem_id": "p0", "seed": 0}
outcomes, judge = pd.DataFrame(rows).assign(**named), JudgeLabeller(ask)
print(validate_labeller(judge, outcomes)[["behavior", "exact", "precision", "recall"]])
print(labelled_by(outcomes, judge)[["arm", *BEHAVIORS]])
print(first_differences(outcomes, judge)[["change", "base_word", "arm_word", "opens"]])
