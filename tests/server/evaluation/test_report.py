"""The HTML report: what it shows, that it is inert, and that it loads nothing."""

import json
from html.parser import HTMLParser
from pathlib import Path

from server.evaluation.evaluate import Evaluation, Subject, as_json
from server.evaluation.gate import Shortfall
from server.evaluation.judging import Absent, Judged
from server.evaluation.measures import score
from server.evaluation.plot import HEIGHT, WIDTH, plot
from server.evaluation.questions import Expected
from server.evaluation.report import render_report, worst_misses
from tests.server.evaluation.found import candidate, judged, retrieval

ATTACK = "\"'><script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)>{{ 7 * 7 }}"


class Elements(HTMLParser):
    """Collects tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)


def evaluation(*items: Judged, absent: tuple[Absent, ...] = ()) -> Evaluation:
    return Evaluation(Subject(Path(f"{ATTACK[:20]}.jsonl"), (ATTACK,), 0.3), items, score(items), absent)


def missed(name: str, path: str, relevance: float, *found: str) -> Judged:
    candidates = [candidate(other, 0, ATTACK, dense=n, lexical=None) for n, other in enumerate(found, 1)]
    return judged(name, (Expected(path, ()),), retrieval(*candidates, relevance=relevance))


def test_everything_from_outside_is_escaped_and_nothing_is_loaded() -> None:
    found = evaluation(
        missed(ATTACK, ATTACK, 0.9, "x", ATTACK),
        judged("u", (), retrieval(candidate(ATTACK), relevance=0.9)),
        missed("refused", "y", 0.1, "z"),
        absent=(Absent(ATTACK, Expected(ATTACK, (ATTACK,)), "the document is not indexed"),),
    )
    page = render_report(found, [Shortfall("fused.R@1", 0.9, None)], ATTACK)
    elements = Elements()
    elements.feed(page)
    assert not elements.tags & {"script", "img", "link", "iframe", "object", "embed", "a", "form", "base"}
    assert not elements.attributes & {"src", "href", "srcset", "onerror", "onload", "style"}
    assert "<script" not in page
    assert "{{ 7 * 7 }}" in page
    assert "default-src 'none'" in page


def test_misses_stand_beside_what_was_retrieved_worst_first() -> None:
    second = missed("second", "b", 0.7, "a", "b")
    never = missed("never", "z", 0.5, "a", "b")
    surely_never = missed("surely never", "z", 0.9, "a")
    first = missed("first", "a", 0.9, "a", "b")
    misses = worst_misses([second, first, never, surely_never])
    assert [miss.judged.question.id for miss in misses] == ["surely never", "never", "second"]
    assert misses[2].sought[0].candidate is second.retrieval.candidates[1]
    assert [item.document.path for item in misses[2].found] == ["a", "b"]
    page = render_report(evaluation(second, first), [], "today")
    assert "found at rank 2" in page
    assert "1 of 2 answerable questions" in page
    assert "Passed." in page


def test_the_plot_shows_shares_side_by_side() -> None:
    drawn = plot([0.99, 0.99, 0.5, 1.2], [0.1, -0.1], 0.33)
    assert [bar.height for bar in drawn.answerable] == [HEIGHT / 3, HEIGHT]
    assert [bar.height for bar in drawn.unanswerable] == [HEIGHT * 2 / 3, HEIGHT * 2 / 3]
    assert all(bar.y + bar.height == HEIGHT and 0 <= bar.x <= WIDTH for bar in (*drawn.answerable, *drawn.unanswerable))
    assert drawn.floor.x == WIDTH * 0.33
    assert plot([], [], 0.3).answerable == ()


def test_json_holds_scores_and_each_questions_rank() -> None:
    found = evaluation(missed("a", "y", 0.9, "x", "y"))
    tree = json.loads(json.dumps(as_json(found, [Shortfall("fused.R@1", 0.9, 0.0)])))
    assert tree["scores"]["fused.R@5"]["value"] == 1
    assert tree["scores"]["refusal.auroc"] is None
    assert tree["results"][0]["rank"] == 2
    assert [row["document"] for row in tree["results"][0]["found"]] == ["x", "y"]
    assert tree["fell_short"] == [{"name": "fused.R@1", "least": 0.9, "got": 0.0}]
