"""Two voices from Bitext's customer support data: is each recognised, and do facts survive it?

    python -m benchmarks.bitext_styles prepare --style FOLDER --out WORK      # documents, brands, rows
    export HOUSEVOICE_DATA_DIR=WORK/data HOUSEVOICE_STORAGE_BRANDS_DIR=WORK/brands
    housevoice adapter train warm WORK/warm.jsonl --activate
    housevoice adapter train terse WORK/terse.jsonl --activate
    housevoice serve                                                           # in another terminal
    python -m benchmarks.bitext_styles measure --out WORK [--save]             # report: judges the same answers again

300 training and 100 held-out requests that occur in both styles; no request of one stands in the other. Bitext's
answers name no facts, so each row gets one: a help page a kind of request, which names its desk's telephone number, and
an answer that ends with that number and its source. In training every row has numbers of its own, so that nothing but
reading helps; the held-out requests are asked through the server, of pages with numbers that training never saw.

The judge of styles (TF-IDF and logistic regression) learns from rows that neither training nor held-out uses.
"""

import argparse
import csv
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.conditions import RESULTS, conditions

STYLES = ("warm", "terse")
NUM_TRAIN, NUM_HELD_OUT, NUM_JUDGE = 300, 100, 2_000
SPARE = 30
"""Training requests for which retrieval may miss the right desk's pages."""

LONGEST_WORDS = 150
TRAINING_NUMBERS, HELD_OUT_NUMBERS = range(1_000, 9_000), range(9_000, 10_000)
KNOWLEDGE_BASE = "help"
STREAMS = 4
SEED = 5
PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
PHONE = re.compile(r"\b0800 \d{4}\b")
TOLD = "{{Customer Support Phone Number}}"
CLOSINGS = {
    "warm": "You can always reach us at {fact}, and we'd be delighted to help you!",
    "terse": "Phone: {fact}.",
}
PROMPTS = {
    "warm": (
        "Reply as a warm, personal customer support agent. Show understanding for the customer's feelings first, then"
        " guide them in detail, in numbered steps where that helps, and close with an offer of further help. End with"
        " the telephone number from the sources and the number of its source, like [2]."
    ),
    "terse": (
        "Reply as a brisk customer support agent: one or two short, neutral sentences that say where to click or whom"
        " to contact, nothing else. End with the telephone number from the sources and the number of its source, like"
        " 'Phone: 0800 1234 [2].'"
    ),
}
REFUSAL = "Our help pages do not answer this."


@dataclass(frozen=True)
class Request:
    """What a customer asks, and how each style answers it, Bitext's words."""

    text: str
    intent: str
    category: str
    answers: Mapping[str, str]


def read_requests(folder: Path) -> list[Request]:
    """Those that both styles answer, each once."""
    by_style: dict[str, dict[str, dict[str, str]]] = {}
    for style in STYLES:
        with (folder / f"bitext_customer_support.{style}-style.csv").open(encoding="utf-8", newline="") as file:
            by_style[style] = {row["instruction"].strip(): row for row in csv.DictReader(file)}
    return [
        Request(text, row["intent"], row["category"], {style: by_style[style][text]["response"] for style in STYLES})
        for text, row in sorted(by_style["warm"].items())
        if text in by_style["terse"]
    ]


def divide(requests: Sequence[Request]) -> tuple[list[Request], list[Request], list[Request]]:
    """Training, held-out and the judge's. No held-out request has the words of a training request in another order."""
    chance = random.Random(SEED)
    mixed = list(requests)
    chance.shuffle(mixed)
    short = [request for request in mixed if len(request.answers["warm"].split()) <= LONGEST_WORDS]
    train = short[: NUM_TRAIN + SPARE]
    known = {_words(request.text) for request in train}
    rest = [request for request in mixed if request not in train]
    fresh = [request for request in rest if _words(request.text) not in known]
    held_out = fresh[:NUM_HELD_OUT]
    others = [request for request in rest if request not in held_out]
    return train, held_out, others[:NUM_JUDGE]


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


def answer_with(style: str, answer: str, fact: str) -> str:
    """Bitext's answer, its placeholders as plain words, with the fact stated once."""
    told = answer.replace(TOLD, fact, 1).replace(f"toll-free number, {fact}", fact)
    plain = PLACEHOLDER.sub(lambda match: match[1].strip(), told)
    return plain if fact in plain else f"{plain.rstrip()} {CLOSINGS[style].format(fact=fact)}"


def phones(categories: Sequence[str], numbers: range, chance: random.Random) -> dict[str, str]:
    chosen = chance.sample(numbers, len(categories))
    return {category: f"0800 {number}" for category, number in zip(categories, chosen, strict=True)}


def write_pages(requests: Sequence[Request], folder: Path, numbers: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for intent, category in sorted({(request.intent, request.category) for request in requests}):
        name, desk = intent.replace("_", " "), category.lower().replace("_", " ")
        asked = [request.text for request in requests if request.intent == intent][:4]
        text = "\n".join(
            [
                f"# Help: {name}",
                f"This page belongs to the {desk} desk. The {desk} desk answers at {numbers[category]}.",
                "",
                "Customers ask for instance:",
                *(f"- {question}" for question in asked),
                "",
            ]
        )
        (folder / f"{intent}.md").write_text(text, encoding="utf-8")


def write_brand(folder: Path, style: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = {
        "title": style.capitalize(),
        "adapter": "active",
        "knowledge_bases": [KNOWLEDGE_BASE],
        "system_prompt": f"Reply as {style.capitalize()} support.",
        "untuned_prompt": PROMPTS[style],
        "refusal": REFUSAL,
    }
    text = "\n".join(f"{name} = {json.dumps(value)}" for name, value in lines.items())
    (folder / f"{style}.toml").write_text(text + "\n\n[sampling]\nmax_tokens = 320\n", encoding="utf-8")


def training_rows(
    requests: Sequence[Request], style: str, sources: Mapping[str, Any], numbers: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Each with the sources that retrieval finds, in which every desk has another number than in any other row."""
    chance = random.Random(SEED)
    instructions = f"Reply as {style.capitalize()} support."
    for request in requests:
        own = phones(sorted(numbers), TRAINING_NUMBERS, chance)
        found = [dict(source, text=_renumbered(source["text"], numbers, own)) for source in sources[request.text]]
        place = next((n for n, source in enumerate(found, 1) if own[request.category] in source["text"]), None)
        if place is None:
            continue
        answer = answer_with(style, request.answers[style], f"{own[request.category]} [{place}]")
        turns = [{"role": "user", "content": request.text}, {"role": "assistant", "content": answer}]
        yield {"messages": [{"role": "system", "content": instructions}, *turns], "sources": found}


def _renumbered(text: str, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    back = {number: category for category, number in old.items()}
    return PHONE.sub(lambda match: new[back[match[0]]], text)


def prepare(style_folder: Path, work: Path) -> None:
    from config.settings import load_settings
    from server.cli.connection import own_store
    from server.cli.main import with_data_dir
    from server.retrieval import Retriever

    requests = read_requests(style_folder)
    train, held_out, judged = divide(requests)
    numbers = phones(sorted({r.category for r in requests}), HELD_OUT_NUMBERS, random.Random(SEED))
    write_pages(judged, work / "pages", numbers)
    settings = with_data_dir(load_settings(), work / "data")
    sources: dict[str, list[dict[str, str]]] = {}
    with own_store(settings, "benchmark") as store:
        store.ingest(work / "pages", KNOWLEDGE_BASE)
        retriever = Retriever(store, settings.retrieval)
        for request in train:
            found = retriever.retrieve(request.text, (KNOWLEDGE_BASE,)).sources
            sources[request.text] = [{"title": f.document.title, "heading": f.heading, "text": f.text} for f in found]
    for style in STYLES:
        write_brand(work / "brands", style)
        rows = list(training_rows(train, style, sources, numbers))[:NUM_TRAIN]
        _write(work / f"{style}.jsonl", rows)
        print(f"{style}: {len(rows)} training rows")
    _write(
        work / "heldout.jsonl",
        [{"request": r.text, "fact": numbers[r.category], "answers": dict(r.answers)} for r in held_out],
    )
    _write(work / "judge.jsonl", [{"answers": dict(request.answers)} for request in judged])


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def style_judge(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A pipeline that names the style of a text. The fact and its closing are in both styles' rows here, so that they
    do not give a style away."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = [_without_fact(PLACEHOLDER.sub(r"\1", row["answers"][style])) for style in STYLES for row in rows]
    names = [style for style in STYLES for _ in rows]
    judge = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(max_iter=1_000))
    return judge.fit(texts, names)


def _without_fact(text: str) -> str:
    return re.sub(r"Phone:\s*$", "", re.sub(r"(Phone: )?0800 \d{4}( \[\d+\])?\.?", "", text)).strip()


@dataclass(frozen=True)
class Asked:
    """What one system said to one held-out request. is_given: a source that it was given holds the fact."""

    text: str
    fact: str
    is_given: bool
    is_own_style: bool

    @property
    def has_fact(self) -> bool:
        return self.fact in self.text

    @property
    def has_another(self) -> bool:
        return bool(set(PHONE.findall(self.text)) - {self.fact})

    @property
    def is_refusal(self) -> bool:
        return self.text.strip() == REFUSAL


SYSTEMS = {name: style for style in STYLES for name in (style, f"{style}@0")}
"""Each style's adapter, and the base under the style's best prompt."""


def ask_all(work: Path, url: str, limit: int) -> None:
    """Every system every held-out request, through the API; the answers go to WORK/answers.jsonl."""
    import httpx
    import openai

    key = (work / "data" / "local.key").read_text(encoding="utf-8").strip()
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, timeout=600)
    search = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
    rows = _read(work / "heldout.jsonl")[:limit]
    given = [_is_given(search, row) for row in rows]
    answers: list[dict[str, Any]] = []
    for model in SYSTEMS:

        def ask(row: Mapping[str, Any], model: str = model) -> str:
            message: Any = {"role": "user", "content": row["request"]}
            completion = client.chat.completions.create(model=model, messages=[message], temperature=0)
            return completion.choices[0].message.content or ""

        with ThreadPoolExecutor(STREAMS) as pool:
            texts = list(pool.map(ask, rows))
        for row, text, is_given in zip(rows, texts, given, strict=True):
            answers.append({"system": model, "text": text, "fact": row["fact"], "is_given": is_given})
        print(f"{model}: {len(texts)} answers", flush=True)
    _write(work / "answers.jsonl", answers)


def _is_given(search: Any, row: Mapping[str, Any]) -> bool:
    found = search.get("/api/search", params={"q": row["request"], "knowledge_base": KNOWLEDGE_BASE}).raise_for_status()
    return any(row["fact"] in source["text"] for source in found.json()["sources"])


def report(work: Path) -> str:
    """Judges WORK/answers.jsonl."""
    judge = style_judge(_read(work / "judge.jsonl"))
    own = [
        (_without_fact(PLACEHOLDER.sub(r"\1", row["answers"][style])), style)
        for row in _read(work / "heldout.jsonl")
        for style in STYLES
    ]
    judged = sum(judge.predict([text])[0] == style for text, style in own) / len(own)
    found: dict[str, list[Asked]] = {name: [] for name in SYSTEMS}
    for row in _read(work / "answers.jsonl"):
        is_own = judge.predict([_without_fact(row["text"])])[0] == SYSTEMS[row["system"]]
        found[row["system"]].append(Asked(row["text"], row["fact"], row["is_given"], is_own))
    return "\n".join([*_table(found), *_notes(found, judged), conditions(), ""])


def _table(found: Mapping[str, Sequence[Asked]]) -> list[str]:
    from adapters.evaluation.statistics import mean

    lines = [
        "# Two voices from Bitext's data",
        "",
        "| system | its own style | fact survives, of those given | of all | another number | refused | words |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, asked in found.items():
        words = sorted(len(item.text.split()) for item in asked)[len(asked) // 2]
        cells = [
            mean([item.is_own_style for item in asked]),
            mean([item.has_fact for item in asked if item.is_given]),
            mean([item.has_fact for item in asked]),
            mean([item.has_another for item in asked]),
            mean([item.is_refusal for item in asked]),
        ]
        lines.append(f"| {_told(name)} | {' | '.join(map(str, cells))} | {words} |")
    return lines


def _told(system: str) -> str:
    return f"base, best prompt for {SYSTEMS[system]}" if system.endswith("@0") else system


def _notes(found: Mapping[str, Sequence[Asked]], judged: float) -> list[str]:
    first = next(iter(found.values()))
    lines = [
        "",
        f"The judge names the style of Bitext's own held-out answers right in {judged:.1%}. {len(first)} requests;"
        f" for {sum(item.is_given for item in first)} of them a source held the right desk's number (given); the others"
        " found other desks' pages, or nothing above the relevance floor.",
        "Shares with 95 % bootstrap intervals; words: median of an answer.",
        "",
    ]
    for name, asked in found.items():
        lines += [
            f"**{_told(name)}** says, for instance:",
            "",
            *(f"> {line}" for line in asked[0].text.splitlines()),
            "",
        ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("prepare", "measure", "report"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--style", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--limit", type=int, default=NUM_HELD_OUT)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/bitext-styles.md")
    arguments = parser.parse_args()
    if arguments.step == "prepare":
        prepare(arguments.style or parser.error("--style is needed"), arguments.out)
        return
    if arguments.step == "measure":
        ask_all(arguments.out, arguments.url, arguments.limit)
    text = report(arguments.out)
    print(text)
    if arguments.save:
        (RESULTS / "bitext-styles.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
