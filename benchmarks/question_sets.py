"""Public question sets as folders of documents with questions: XQuAD (Artetxe et al. 2020) and CLAPNQ (Rosenthal et al.
2024). Each paragraph is a file of its own, all of a set in one folder.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.evaluation.questions import Expected, Question


@dataclass(frozen=True)
class QuestionSet:
    """name: also the knowledge base. documents: text by path."""

    name: str
    documents: dict[str, str]
    questions: tuple[Question, ...]

    def write(self, folder: Path) -> None:
        """Only what differs, so that a second run finds the files unchanged. Other files there are removed."""
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            if file.name not in self.documents:
                file.unlink()
        for path, text in self.documents.items():
            file = folder / path
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                file.write_text(text, encoding="utf-8")


def read_sets(folder: Path) -> list[QuestionSet]:
    """folder: holds `xquad` and `clapnq` as published."""
    return [
        read_xquad("xquad-en", folder / "xquad" / "xquad.en.json"),
        read_clapnq("clapnq", folder / "clapnq" / "annotated_data" / "dev", titled),
        read_clapnq("clapnq-untitled", folder / "clapnq" / "annotated_data" / "dev", untitled),
        read_xquad("xquad-de", folder / "xquad" / "xquad.de.json"),
    ]


def read_xquad(name: str, file: Path) -> QuestionSet:
    articles = json.loads(file.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    paths = [f"{number:04d}.txt" for number in range(len(paragraphs))]
    return QuestionSet(
        name,
        {path: paragraph["context"] + "\n" for path, paragraph in zip(paths, paragraphs, strict=True)},
        tuple(
            Question(row["id"], row["question"], (Expected(path),))
            for path, paragraph in zip(paths, paragraphs, strict=True)
            for row in paragraph["qas"]
        ),
    )


Written = Callable[[str, str], tuple[str, str]]
"""(title, text) to (suffix, content of the file)."""


def titled(title: str, text: str) -> tuple[str, str]:
    return ".md", f"---\ntitle: {title}\n---\n\n{text}\n"


def untitled(title: str, text: str) -> tuple[str, str]:
    return ".txt", f"{text}\n"


def read_clapnq(name: str, folder: Path, write: Written) -> QuestionSet:
    """The passages of both kinds of question lie together; one that occurs twice is one document. They are published
    with the titles of their pages.

    The passage beside an unanswerable question does not answer it, and is a document like any other.
    """
    documents: dict[str, str] = {}
    paths: dict[str, str] = {}
    questions = []
    for row, is_answerable in _clapnq_rows(folder):
        passage = row["passages"][0]
        suffix, content = write(" ".join(passage["title"].split()), passage["text"])
        path = paths.setdefault(content, f"{len(paths):04d}{suffix}")
        documents[path] = content
        questions.append(Question(row["id"], row["input"], (Expected(path),) if is_answerable else ()))
    return QuestionSet(name, documents, tuple(questions))


def _clapnq_rows(folder: Path) -> Iterator[tuple[dict[str, Any], bool]]:
    for kind, is_answerable in (("answerable", True), ("unanswerable", False)):
        for line in (folder / f"clapnq_dev_{kind}.jsonl").read_text(encoding="utf-8").splitlines():
            yield json.loads(line), is_answerable
