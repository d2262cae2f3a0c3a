"""The field's harness (lm-evaluation-harness) on a steered model: its model `lrs`, and its command with that model.

    python -m lrs.bench.harness --model lrs --model_args pretrained=<model>,fitted=<folder of lrs.fit> --tasks gsm8k

The harness finds models of its own alone; one from elsewhere is known once its module is imported, which this does.
"""

from pathlib import Path
from typing import Any

from lrs.experiment.own_model import Fitted, load_fitted
from lrs.method.gate import ALWAYS, Gate

try:
    from lm_eval.api.registry import register_model
    from lm_eval.models.huggingface import HFLM
except ImportError as error:
    raise ImportError(f"{error}; from a clone: pip install '.[harness]'") from None


@register_model("lrs")
class SteeredLM(HFLM):
    """The harness's own model of transformers, whose generations are steered by what `lrs.fit` has made.

    Requests for likelihoods are refused: no token of a text that is given is ever steered, so that their scores would
    be those of the unsteered model (`--model hf`) under another name.

    Args:
        pretrained: as the harness reads it: a name, a folder or a model.
        fitted: what `lrs.fit` made for this model, or the folder.
        gated: whether the gate of `fitted` chooses tokens; if not, every generated token is steered.
        reward_threshold: in place of the gate's own.
        confidence_threshold: in place of the gate's own.
        options: of the harness: batch_size, device, dtype, ...
    """

    def __init__(
        self,
        pretrained: Any,
        fitted: str | Path | Fitted,
        num_steps: int = 1,
        step_size: float = 1.0,
        gated: bool = True,
        reward_threshold: float | None = None,
        confidence_threshold: float | None = None,
        **options: Any,
    ):
        super().__init__(pretrained, **options)
        self.fitted = fitted if isinstance(fitted, Fitted) else load_fitted(fitted, self.model)
        own = self.fitted.gate
        reward = own.reward_threshold if reward_threshold is None else float(reward_threshold)
        confidence = own.confidence_threshold if confidence_threshold is None else float(confidence_threshold)
        gate = Gate(reward, confidence, own.signal) if gated else ALWAYS
        self._steering = int(num_steps), float(step_size), gate

    def _model_generate(self, *arguments: Any, **options: Any) -> Any:
        with self.fitted.steer(self.model, *self._steering):
            return super()._model_generate(*arguments, **options)

    def loglikelihood(self, *arguments: Any, **options: Any) -> Any:
        """Raises NotImplementedError: what is given is not steered."""
        raise NotImplementedError(_UNSTEERED)

    def loglikelihood_rolling(self, *arguments: Any, **options: Any) -> Any:
        """Raises NotImplementedError: what is given is not steered."""
        raise NotImplementedError(_UNSTEERED)


_UNSTEERED = (
    "lrs steers what is generated: likelihoods of given texts are those of --model hf (use tasks that generate)"
)

if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
