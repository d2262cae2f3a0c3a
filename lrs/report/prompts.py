"""The appendix of prompts: what was asked, word for word, as Markdown and as LaTeX."""

import re
from pathlib import Path

import pandas as pd

from lrs.core.frames import each_group
from lrs.core.store import write_text

_WAYS = {
    "plain": "asked plainly",
    "instructed": "asked with the instruction (cot)",
    "examples": "asked after worked examples (few_shot)",
}


def write_prompts(table: pd.DataFrame, folder: Path) -> str:
    """Write `prompts.csv`, `.md` and `.tex` to `folder`.

    Args:
        table: of `lrs.experiment.asked.prompts_asked`, with the backbone. What several were asked in the same words is
            told once.

    Returns:
        The appendix, as Markdown.
    """
    parts, latex = ["The first test problem of each benchmark, word for word, as a backbone reads it."], []
    for (benchmark, way, text), group in each_group(table, ["benchmark", "way", "text"], sort=False):
        heading = f"{benchmark}, {_WAYS[way]}: {', '.join(group['backbone'])}"
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))  # longer than any within
        parts += [f"**{heading}**", f"{fence}text\n{text}\n{fence}"]
        escaped = heading.replace("_", "\\_")
        latex += [f"\\paragraph{{{escaped}}}", f"\\begin{{verbatim}}\n{text}\n\\end{{verbatim}}"]
    page = "\n\n".join(parts) + "\n"
    write_text(folder / "prompts.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(folder / "prompts.md", page)
    write_text(folder / "prompts.tex", "\n".join(latex) + "\n")
    return page
