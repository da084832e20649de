"""Sixteen streams of the sample company over HTTP, both brands and the base: together against one after another.

    housevoice serve --sample                                  # in another terminal
    python -m benchmarks.company_streams [--streams 16] [--rounds 3] [--save]

Real questions with retrieval, temperature 0. A first pass warms every prompt's prefix, so both ways start alike; then
the ways alternate, and the ratio is of the medians. Each answer of the streams that ran together is compared with the
one that ran alone: equal, parted at a near tie of the two best logits (under 0.1), or different.
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import openai

from benchmarks.answers import Token, compare, gap_at_parting, tally
from benchmarks.conditions import RESULTS, conditions
from config.settings import SAMPLE, load_settings

MODELS = ("halden", "pipkin", "smollm2-135m")
MAX_TOKENS = 160


@dataclass(frozen=True)
class Answer:
    model: str
    question: str
    tokens: tuple[Token, ...]
    finish_reason: str
    first_token_seconds: float


@dataclass(frozen=True)
class Pass:
    seconds: float
    answers: tuple[Answer, ...]

    @property
    def tokens_per_second(self) -> float:
        return sum(len(answer.tokens) for answer in self.answers) / self.seconds


def ask(client: openai.OpenAI, model: str, question: str) -> Answer:
    message: Any = {"role": "user", "content": question}
    begin = time.perf_counter()
    first: float | None = None
    tokens: list[Token] = []
    reason = ""
    stream = client.chat.completions.create(
        model=model,
        messages=[message],
        temperature=0,
        stream=True,
        logprobs=True,
        top_logprobs=2,
        max_tokens=MAX_TOKENS,
        extra_body={"repetition_penalty": 1.0},
    )
    for chunk in stream:
        for choice in chunk.choices:
            for item in (choice.logprobs.content if choice.logprobs else None) or []:
                first = first or time.perf_counter() - begin
                ranked = [alternative.logprob for alternative in item.top_logprobs]
                tokens.append(Token(item.token, ranked[0] - ranked[1]))
            reason = choice.finish_reason or reason
    return Answer(model, question, tuple(tokens), reason, first or time.perf_counter() - begin)


def one_after_another(client: openai.OpenAI, work: list[tuple[str, str]]) -> Pass:
    begin = time.perf_counter()
    answers = tuple(ask(client, *item) for item in work)
    return Pass(time.perf_counter() - begin, answers)


def together(client: openai.OpenAI, work: list[tuple[str, str]]) -> Pass:
    begin = time.perf_counter()
    with ThreadPoolExecutor(len(work)) as pool:
        answers = tuple(pool.map(lambda item: ask(client, *item), work))
    return Pass(time.perf_counter() - begin, answers)


def questions(count: int) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in (SAMPLE / "examples" / "halden-pairs.jsonl").read_text().splitlines()]
    asked = [row["messages"][0]["content"] for row in rows if row["split"] == "heldout" and len(row["messages"]) == 2]
    return [(MODELS[number % len(MODELS)], text) for number, text in enumerate(asked[:count])]


def report(alone: list[Pass], joined: list[Pass], work: list[tuple[str, str]]) -> str:
    ratio = statistics.median(p.seconds for p in alone) / statistics.median(p.seconds for p in joined)
    pairs = [
        pair for one, other in zip(alone, joined, strict=True) for pair in zip(one.answers, other.answers, strict=True)
    ]
    verdicts = [compare(a.tokens, b.tokens) for a, b in pairs]
    different = [
        f"- {a.model}: {a.question} (parted where the two best were {gap_at_parting(a.tokens, b.tokens):.2f} apart)"
        for (a, b), verdict in zip(pairs, verdicts, strict=True)
        if verdict == "different"
    ]
    lines = ["| way | seconds | answer tokens/s | TTFT p50 |", "|---|---|---|---|"]
    for name, passes in (("one after another", alone), ("together", joined)):
        seconds = statistics.median(p.seconds for p in passes)
        speed = statistics.median(p.tokens_per_second for p in passes)
        first = statistics.median(a.first_token_seconds for p in passes for a in p.answers)
        lines.append(f"| {name} | {seconds:.1f} | {speed:.0f} | {first:.2f} s |")
    finished = sum(answer.finish_reason in ("stop", "length") for p in joined for answer in p.answers)
    lines += [
        "",
        f"{len(work)} streams over {', '.join(MODELS)}, {len(joined)} rounds. **{ratio:.2f} times as fast together.**",
        f"Finished: {finished} of {len(work) * len(joined)}.",
        f"Answers: {tally(verdicts)}.",
        *different,
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/company-streams.md")
    arguments = parser.parse_args()
    key = load_settings().data.local_key.read_text(encoding="utf-8").strip()
    client = openai.OpenAI(base_url=f"{arguments.url}/v1", api_key=key, max_retries=0)
    work = questions(arguments.streams)
    one_after_another(client, work)
    alone, joined = [], []
    for number in range(arguments.rounds):
        alone.append(one_after_another(client, work))
        joined.append(together(client, work))
        print(f"round {number + 1}: {alone[-1].seconds:.1f} s alone, {joined[-1].seconds:.1f} s together", flush=True)
    text = f"# Sixteen streams of the sample company\n\n{report(alone, joined, work)}\n\n{conditions()}\n"
    print(text)
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "company-streams.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
