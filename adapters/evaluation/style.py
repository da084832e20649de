"""Does an answer read like the brand's own writing, or like the base's?

TF-IDF over characters and words with logistic regression, trained on the brand's written answers against what the base
says under its best prompt, five-fold over the questions so that no answer is judged by a classifier that saw an answer
to its question. Digits and citation markers are masked, as facts are not style; refusals are left out.

It measures likeness of wording, punctuation and layout to the brand's examples *as opposed to the base's*. It does not
measure whether the text is good, true or pleasant; a copy of a training answer scores full marks. Where the base writes
like the brand already, the two cannot be told apart: `separation` says so, and the figure means nothing then.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

NUM_FOLDS = 5
MAX_OWN = 600
MIN_EACH = 5
LEAST_SEPARATION = 0.7
MASKED = re.compile(r"\d")
MARKER = re.compile(r"\s*\[\d+\]")


Tells = Callable[[Sequence[str]], list[float]]
"""From texts to 1.0 (the brand's own) or 0.0 each."""

Texts = Sequence[str | None]
"""One for each question, in one order. None is left out: a refusal is the brand's fixed text, whoever says it."""


@dataclass(frozen=True, slots=True)
class Styles:
    """own: by system, for each question 1.0 where the answer is taken for the brand's own, None where there is no text.
    separation: the share of the brand's written answers and of the base's that the classifiers tell right, mean of the
    two; 0.5 is guessing.
    """

    own: Mapping[str, tuple[float | None, ...]]
    separation: float

    @property
    def can_tell(self) -> bool:
        return self.separation >= LEAST_SEPARATION


def recognise(written: Sequence[str], references: Texts, foreign: Texts, systems: Mapping[str, Texts]) -> Styles | None:
    """written: the brand's training answers, may be empty. references: its answers to the held-out questions. foreign:
    the base's to them; `systems` what each system said to them, in the same order. None for too few of either side.
    """
    own: dict[str, dict[int, float]] = {name: {} for name in systems}
    right: list[float] = []
    wrong: list[float] = []
    for fold in range(NUM_FOLDS):
        brand = [*written[:MAX_OWN], *_known(references, fold, is_inside=False).values()]
        others = list(_known(foreign, fold, is_inside=False).values())
        if min(len(brand), len(others)) < MIN_EACH:
            return None
        tells = _classifier(brand, others)
        for name, answers in systems.items():
            own[name] |= _told(tells, _known(answers, fold))
        right += _told(tells, _known(references, fold)).values()
        wrong += _told(tells, _known(foreign, fold)).values()
    if not right or not wrong:
        return None
    separation = (sum(right) / len(right) + 1 - sum(wrong) / len(wrong)) / 2
    places = range(len(references))
    return Styles({name: tuple(by_place.get(place) for place in places) for name, by_place in own.items()}, separation)


def _known(texts: Texts, fold: int, *, is_inside: bool = True) -> dict[int, str]:
    """By place, those of the fold, or those of all others."""
    return {
        place: text for place, text in enumerate(texts) if text is not None and (place % NUM_FOLDS == fold) == is_inside
    }


def _told(tells: Tells, texts: Mapping[int, str]) -> dict[int, float]:
    return dict(zip(texts, tells(list(texts.values())), strict=True)) if texts else {}


def _classifier(own: Sequence[str], foreign: Sequence[str]) -> Tells:
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
