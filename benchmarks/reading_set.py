"""Questions with their paragraphs in SQuAD's format (Rajpurkar et al. 2016; XQuAD, Artetxe et al. 2020), as reading
tasks: the right paragraph among others of the same article, which are about nearly the same, so hard to tell apart.
"""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.prompt import Conversation, Source, Turn

INSTRUCTIONS = "Answer in a few words, with the number of the source."
MARKER = re.compile(r"\s*\[\d+\]")


@dataclass(frozen=True)
class Task:
    """paragraphs: as shown, with the right one at place `gold`. start: of the first answer in it, in characters."""

    id: str
    title: str
    question: str
    answers: tuple[str, ...]
    start: int
    paragraphs: tuple[str, ...]
    gold: int

    def conversation(self, instructions: str = INSTRUCTIONS) -> Conversation:
        """Sources numbered 1..n as shown."""
        sources = tuple(Source(number, self.title, "", text) for number, text in enumerate(self.paragraphs, 1))
        return Conversation((Turn("user", self.question),), sources, instructions)


def read_articles(path: Path) -> list[dict[str, Any]]:
    """As published. path: the file, or a folder that holds XQuAD. Ends the program with the reason where it is none."""
    file = path / "xquad" / "xquad.en.json" if path.is_dir() else path
    try:
        articles = json.loads(file.read_text(encoding="utf-8"))["data"]
        if not all(article["paragraphs"] for article in articles):
            raise ValueError("an article without paragraphs")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path} is no file of questions in SQuAD's format ({error!r}).") from error
    return list(articles)


def tasks_of(articles: Sequence[Mapping[str, Any]], num_paragraphs: int) -> Iterator[Task]:
    """Every answerable question, in the file's order. All questions on a paragraph are shown the same paragraphs, drawn
    and shuffled by its text, so a second run asks the same. Articles with fewer paragraphs are passed over."""
    for article in articles:
        texts = [str(paragraph["context"]) for paragraph in article["paragraphs"]]
        if len(texts) < num_paragraphs:
            continue
        for place, paragraph in enumerate(article["paragraphs"]):
            shown = _shown(texts, place, num_paragraphs)
            for row in paragraph["qas"]:
                if row["answers"] and not row.get("is_impossible"):
                    yield _task(str(article.get("title", "")), row, texts[place], shown)


def contains_answer(text: str, answers: Sequence[str]) -> bool:
    """One of the answers stands in the text as whole words. Case, punctuation and the sources' numbers do not count."""
    said = f" {_words(MARKER.sub('', text))} "
    return any(f" {words} " in said for answer in answers if (words := _words(answer)))


def _shown(texts: Sequence[str], place: int, num_paragraphs: int) -> list[str]:
    chance = random.Random(texts[place])
    others = [text for other, text in enumerate(texts) if other != place and text != texts[place]]
    shown = [*chance.sample(others, min(num_paragraphs - 1, len(others))), texts[place]]
    return chance.sample(shown, len(shown))


def _task(title: str, row: Mapping[str, Any], paragraph: str, shown: Sequence[str]) -> Task:
    answers = tuple(dict.fromkeys(str(answer["text"]) for answer in row["answers"]))
    start = int(row["answers"][0]["answer_start"])
    named = title.replace("_", " ") or "Article"
    return Task(str(row["id"]), named, str(row["question"]), answers, start, tuple(shown), shown.index(paragraph))


def _words(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", "", text.lower()).split())
