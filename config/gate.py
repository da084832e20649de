"""The thresholds under [gate] in a brand's file: what a version must reach before `promote` puts it to work."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
GatedMeasure = Literal[
    "form", "style", "grounded", "citation", "citation_precision", "citation_recall", "fact", "refusal", "correct"
]


class GateRules(BaseModel):
    """Shares from 0 to 1; 0 as a least value demands nothing.

    min_questions: with fewer held-out questions nothing is decided.
    form ... macro_f1: least values over the held-out questions. `correct` and `macro_f1` are for brands whose output
    is a label. A value that the questions cannot tell (no unanswerable ones, say) fails only where the file sets it.
    max_wrong_refusal: the most answerable questions that may be refused.
    max_leak: how many more facts than the base it may tell with retrieval off. max_forgetting: how much of the general
    ability it may lose. max_gap: how much better it may be on training rows than on held-out ones. max_loss_to_active:
    how much worse than the active version any measure may be. These four are losses: one counts where it is larger
    than the limit and its 95 % interval does not reach zero.
    better_than_prompt: measures whose interval must lie above that of the base under its best prompt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    min_questions: Annotated[int, Field(gt=0)] = 20
    form: Share = 0.9
    style: Share = 0.8
    grounded: Share = 0.6
    citation: Share = 0.5
    citation_precision: Share = 0.0
    citation_recall: Share = 0.0
    fact: Share = 0.0
    refusal: Share = 0.5
    correct: Share = 0.8
    macro_f1: Share = 0.7
    max_wrong_refusal: Share = 0.4
    max_leak: Share = 0.1
    max_forgetting: Share = 0.1
    max_gap: Share = 0.25
    max_loss_to_active: Share = 0.05
    better_than_prompt: tuple[GatedMeasure, ...] = ("form",)
