"""Training rows for a reader adapter from questions in SQuAD's format, none of which are ever asked in an evaluation.

    python -m benchmarks.reading_rows --squad train-v1.1.json --never xquad.en.json --out rows/
    for layout in blocks exact; do
        housevoice adapter train BRAND rows/train.jsonl --validation rows/development.jsonl \\
            --fact-layout $layout --out $layout/
    done
    python -m benchmarks.answers_by_mode --questions xquad.en.json \\
        --adapter blocks/adapter.gguf --adapter exact/adapter.gguf

Articles of which a title, a paragraph or a question also stands in a --never file are left out whole. Where there is
only one file, `--held-out 0.5` keeps so many of its articles apart and writes them to rows/heldout.json, for
--questions of `answers_by_mode`. All questions on a paragraph get the same four paragraphs, so their sources are read
once; `shuffle_share = 0` in the recipe keeps that so, and they are in random order already. Rows bear numbers 1..n:
training renumbers them for blocks.
"""

import argparse
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.reading_set import INSTRUCTIONS, Task, read_articles, tasks_of
from config.prompt import SENTENCE_END

REFUSAL = "The sources do not say."
Article = Mapping[str, Any]


def seen_in(articles: Sequence[Article]) -> set[str]:
    """Titles, paragraphs and questions, as far as they are the same words."""
    return {text for article in articles for text in _texts(article)}


def without(articles: Sequence[Article], never: set[str]) -> list[Article]:
    return [article for article in articles if not never.intersection(_texts(article))]


def split_articles(articles: Sequence[Article], share: float) -> tuple[list[Article], list[Article]]:
    """The rest, and the held-out ones: whole articles, by a hash of the title, so that a second run splits alike."""
    held_out = [article for article in articles if _place(str(article.get("title", ""))) < share]
    return [article for article in articles if article not in held_out], held_out


def development_apart(articles: Sequence[Article], num: int, num_paragraphs: int) -> tuple[list[Task], list[Task]]:
    """Tasks to train on, and `num` to validate on, of whole articles that no training task is of."""
    ordered = sorted(articles, key=lambda article: _place(f"development {article.get('title', '')}"))
    development: list[Task] = []
    while ordered and len(development) < num:
        development += tasks_of([ordered.pop(0)], num_paragraphs)
    return list(tasks_of(ordered, num_paragraphs)), development[:num]


def row_of(task: Task, kind: str, instructions: str) -> dict[str, object]:
    """One line of chat-JSONL with sources. kind: "span" answers in the text's own words, "sentence" quotes the whole
    sentence, "refusal" is for a task whose right paragraph was taken away."""
    answer = REFUSAL if kind == "refusal" else _cited(task, kind)
    return {
        "id": f"{task.id}-refusal" if kind == "refusal" else task.id,
        "kind": kind,
        "messages": [
            {"role": "system", "content": instructions},
            {"role": "user", "content": task.question},
            {"role": "assistant", "content": answer},
        ],
        "sources": [{"title": task.title, "text": text} for text in task.paragraphs],
        "fact": "" if kind == "refusal" else task.answers[0],
    }


def rows_of(tasks: Sequence[Task], kind: str, refusals: float, instructions: str, seed: int) -> list[dict[str, object]]:
    """Shuffled. refusals: so many of them are asked again without the paragraph that answers."""
    chance = random.Random(seed)
    rows = [row_of(task, kind, instructions) for task in tasks]
    for task in chance.sample(list(tasks), round(refusals * len(tasks))):
        rows.append(row_of(_without_gold(task), "refusal", instructions))
    return chance.sample(rows, len(rows))


def _without_gold(task: Task) -> Task:
    kept = tuple(text for place, text in enumerate(task.paragraphs) if place != task.gold)
    return Task(task.id, task.title, task.question, task.answers, 0, kept, -1)


def _cited(task: Task, kind: str) -> str:
    """With the marker where `config.prompt.format_source` puts it: before the stop."""
    said = task.answers[0] if kind == "span" else _sentence(task.paragraphs[task.gold], task.start)
    return f"{said.strip().rstrip('.!?')} [{task.gold + 1}]."


def _sentence(text: str, start: int) -> str:
    """The one that holds the character at `start`."""
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    begin = max((end for end in ends if end <= start), default=0)
    return text[begin : min((end for end in ends if end > start), default=len(text))]


def _texts(article: Article) -> set[str]:
    paragraphs = article["paragraphs"]
    questions = [row["question"] for paragraph in paragraphs for row in paragraph["qas"]]
    titles = [article["title"]] if article.get("title") else []
    return {_plain(str(text)) for text in (*titles, *(paragraph["context"] for paragraph in paragraphs), *questions)}


def _plain(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _place(title: str) -> float:
    """From 0 to 1."""
    return int.from_bytes(hashlib.sha256(title.encode()).digest()[:4], "big") / 2**32


def _write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{path.name}: {len(rows)} rows")


def prepare(arguments: argparse.Namespace) -> None:
    """Raises SystemExit where nothing is left."""
    never = set().union(*(seen_in(read_articles(path)) for path in arguments.never))
    articles = read_articles(arguments.squad)
    allowed = without(articles, never)
    training, held_out = split_articles(allowed, arguments.held_out)
    tasks, development = development_apart(training, arguments.development, arguments.paragraphs)
    print(f"{len(articles)} articles, {len(articles) - len(allowed)} left out, {len(held_out)} held out")
    if not tasks:
        raise SystemExit(f"No questions with {arguments.paragraphs} paragraphs are left of {arguments.squad}.")
    chosen = random.Random(arguments.seed).sample(tasks, min(len(tasks), arguments.rows))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, part in (("development", development), ("train", chosen)):
        rows = rows_of(part, arguments.answers, arguments.refusals, arguments.instructions, arguments.seed)
        _write(arguments.out / f"{name}.jsonl", rows)
    if held_out:
        (arguments.out / "heldout.json").write_text(json.dumps({"data": held_out}, ensure_ascii=False), "utf-8")
        print(f"heldout.json: {sum(1 for _ in tasks_of(held_out, arguments.paragraphs))} questions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--squad", type=Path, required=True, help="questions that may be trained on, in SQuAD's format")
    parser.add_argument("--never", type=Path, action="append", default=[], help="questions of evaluations; repeatable")
    parser.add_argument("--out", type=Path, required=True, help="folder for the rows")
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--development", type=int, default=100, help="questions to validate on")
    parser.add_argument("--held-out", type=float, default=0.0, help="share of the articles kept for an evaluation")
    parser.add_argument("--paragraphs", type=int, default=4)
    parser.add_argument("--answers", choices=("span", "sentence"), default="span")
    parser.add_argument("--refusals", type=float, default=0.1, help="share asked again without the right paragraph")
    parser.add_argument("--instructions", default=INSTRUCTIONS)
    parser.add_argument("--seed", type=int, default=7)
    prepare(parser.parse_args())


if __name__ == "__main__":
    main()
