"""What a backbone is asked, word for word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from lrs.experiment.prompting import prompting_for
from lrs.method.arms import ARMS
from lrs.models.backbones import Backbone
from lrs.tasks.problems import Problem, first_of_each
from lrs.tasks.prompts import prompt_ids, text_of

if TYPE_CHECKING:
    from lrs.config import Config


def prompts_asked(backbone: Backbone, problems: Sequence[Problem], config: Config) -> pd.DataFrame:
    """The whole prompt of the first problem of each benchmark, with all marks of its chat template, in each way in
    which an arm of the profile asks.

    Args:
        problems: all that are asked: worked examples have to fit beside the longest.

    Returns:
        A row a benchmark and way: benchmark, way (`Arm.prompt`), text.
    """
    ways = {ARMS[arm].prompt: prompting_for(ARMS[arm], backbone, problems, config) for arm in config.steering.arms}
    rows = [
        (problem.benchmark, way, text_of(prompt_ids(problem, backbone.tokenizer, prompting), backbone.tokenizer))
        for problem in first_of_each(problems, 1)
        for way, prompting in ways.items()
    ]
    return pd.DataFrame(rows, columns=["benchmark", "way", "text"])
