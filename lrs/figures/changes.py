"""Figure of 09_paper: what each arm repairs and breaks, and what its answers do where they first differ from base's."""

import pandas as pd
from matplotlib.patches import Patch

from lrs.figures.palette import BEHAVIOR_COLORS, BEHAVIOR_LABELS, LIGHT, arm_label
from lrs.figures.parts import decodings_in, fitted, legend_above, named_lines, panels, percent_axis
from lrs.figures.style import PAGE, Sheet, count_range, styled
from lrs.tasks.behaviors import BEHAVIORS

_LINE, _AROUND = 0.17, 1.2  # inches: of an arm, and for titles, legends and labels


@styled
def transitions_figure(table: pd.DataFrame) -> Sheet:
    """A panel a decoding, a line an arm: share of the answers that it repairs (right) and breaks (left), coloured by
    the behavior that the arm's answer opens with the first word that differs from base's; grey where it opens none.

    Args:
        table: of one backbone, what `lrs.report.changes.transitions_table` returns.
    """
    decodings, arms = decodings_in(table["decoding"]), list(table["arm"].unique())
    each = fitted(len(arms), _AROUND, _LINE)
    figure, axes = panels(1, len(decodings), PAGE, _AROUND + each * len(arms), sharex=True, sharey=True)
    named = {f"opens_{behavior}": BEHAVIOR_COLORS[behavior] for behavior in BEHAVIORS}
    for axis, decoding in zip(axes[0], decodings, strict=True):
        part = table[table["decoding"] == decoding].set_index("arm")
        total = part.groupby(level="arm")["n"].sum().reindex(arms)
        for change, sign in (("repaired", 1), ("broken", -1)):
            rows = part[part["change"] == change].reindex(arms)
            none = rows["n"] - rows[list(named)].sum(axis=1)
            left = pd.Series(0.0, index=arms)
            for counts, color in ((rows[name], color) for name, color in named.items()):
                width = sign * counts / total
                axis.barh(range(len(arms)), width, 0.7, left=left, color=color)
                left = left + width
            axis.barh(range(len(arms)), sign * none / total, 0.7, left=left, color=LIGHT)
        axis.axvline(0, color="black", linewidth=0.6)
        axis.set_title(decoding)
        percent_axis(axis, "")
    named_lines(axes, [arm_label(arm) for arm in arms], each)
    figure.supxlabel("answers broken (left) and repaired (right), %", size="medium")
    handles = [Patch(color=BEHAVIOR_COLORS[name], label=f"opens {BEHAVIOR_LABELS[name]}") for name in BEHAVIORS]
    legend_above(figure, [*handles, Patch(color=LIGHT, label="opens none")])
    answers = table.groupby(["decoding", "arm"])["n"].sum()
    figure.counted = f"{count_range(answers, 'answers')} · by the first word that differs from base's"
    return figure
