"""Does an answer read like the brand's own writing, or like the base's?

TF-IDF over characters and words with logistic regression, trained on the brand's written answers against what the base
says under its best prompt, five-fold over the questions so that no answer is judged by a classifier that saw an answer
to its question. Digits and citation markers are masked, as facts are not style.

It measures likeness of wording, punctuation and layout to the brand's examples *as opposed to the base's*. It does not
measure whether the text is good, true or pleasant; a copy of a training answer scores full marks. Where the base writes
like the brand already, the two cannot be told apart: `separation` says so, and the figure means nothing then.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NUM_FOLDS = 5
MAX_OWN = 600
MIN_EACH = 5
LEAST_SEPARATION = 0.7
MASKED = re.compile(r"\d")
MARKER = re.compile(r"\s*\[\d+\]")


@dataclass(frozen=True, slots=True)
class Styles:
    """own: by system, for each question 1.0 where the answer is taken for the brand's own. separation: the share of
    the brand's written answers and of the base's that the classifiers tell right, mean of the two; 0.5 is guessing.
    """

    own: Mapping[str, tuple[float, ...]]
    separation: float

    @property
    def can_tell(self) -> bool:
        return self.separation >= LEAST_SEPARATION


def recognise(
    written: Sequence[str], references: Sequence[str], foreign: Sequence[str], systems: Mapping[str, Sequence[str]]
) -> Styles | None:
    """written: the brand's training answers, may be empty. references: its answers to the held-out questions. foreign:
    the base's to them; `systems` what each system said to them, in the same order. None for too few questions.
    """
    num = len(references)
    if num < NUM_FOLDS * 2 or len(written) + num < MIN_EACH * 2:
        return None
    own: dict[str, list[float]] = {name: [0.0] * num for name in systems}
    right: list[list[float]] = [[], []]
    for fold in range(NUM_FOLDS):
        inside = range(fold, num, NUM_FOLDS)
        others = [place for place in range(num) if place % NUM_FOLDS != fold]
        brand = [*written[:MAX_OWN], *(references[place] for place in others)]
        tells = _classifier(brand, [foreign[place] for place in others])
        for name, answers in systems.items():
            for place, verdict in zip(inside, tells([answers[place] for place in inside]), strict=True):
                own[name][place] = verdict
        right[0] += tells([references[place] for place in inside])
        right[1] += [1 - verdict for verdict in tells([foreign[place] for place in inside])]
    separation = sum(sum(side) / len(side) for side in right) / 2
    return Styles({name: tuple(values) for name, values in own.items()}, separation)


def _classifier(own: Sequence[str], foreign: Sequence[str]) -> Any:
    """A function from texts to 1.0 (own) or 0.0 each."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    features = make_union(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 4), lowercase=False, sublinear_tf=True, min_df=2),
        TfidfVectorizer(analyzer="word", ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]"),
    )
    model = make_pipeline(features, LogisticRegression(C=10.0, class_weight="balanced", max_iter=1_000))
    model.fit([_masked(text) for text in (*own, *foreign)], [1] * len(own) + [0] * len(foreign))
    return lambda texts: [float(label) for label in model.predict([_masked(text) for text in texts])]


def _masked(text: str) -> str:
    return MASKED.sub("0", MARKER.sub("", text)).strip() or "-"
