"""An evaluation of three made-up systems, each figure of which can be counted by hand; what the gate makes of it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.evaluation.ability import Item
from adapters.evaluation.gate import decide
from adapters.evaluation.questions import Answer
from adapters.evaluation.report import render_report, side_by_side
from adapters.evaluation.run import ACTIVE, BASE, CANDIDATE, Ask, Evaluation, Plan, ask_in_blocks, evaluate, sample
from adapters.evaluation.scores import MAX_KEPT, keep_scores, read_scores, scores_of
from config.fact_layout import FactLayout
from tests.adapters.evaluation.small import LAMP, REFUSAL, Scripted, answer, question, subject

ANSWERABLE = tuple(question(number) for number in range(8))
UNANSWERABLE = tuple(question(number, is_answerable=False) for number in range(8, 12))
TRAINING = tuple(replace(question(number), id=f"t{number}") for number in range(12, 20))
ITEMS = tuple(
    Item.model_validate({"id": f"i{n}", "kind": "k", "question": f"Say {n}", "check": "number", "expected": str(n)})
    for n in range(20)
)
HOSTILE = "<script>alert(1)</script><img src=https://evil.example/x.png>"
WATTS = re.compile(r"lamp (\w)")


def watts(ask: Ask) -> int:
    found = WATTS.search(ask.turns[-1].content)
    assert found is not None
    return 40 + ord(found[1]) - ord("a")


def right(ask: Ask) -> Answer:
    """In form, cited, with the fact; refuses what is not there. Knows nothing without documents."""
    if not ask.uses_documents or 48 <= watts(ask) < 52:
        return Answer(REFUSAL)
    lamp = replace(LAMP, text=f"The lamp draws {watts(ask)} watts.")
    return answer(f"Dear reader: the lamp draws {watts(ask)} watts [1].\nYours", lamp)


def plain(ask: Ask) -> Answer:
    """Never refuses, has no form and cites nothing."""
    return Answer(f"I believe that the answer to this is probably about fifty. {HOSTILE}", (), (LAMP,))


def leaky(ask: Ask) -> Answer:
    """Has learned every fact by heart."""
    return right(replace(ask, uses_documents=True))


def systems(**by_model: object) -> Scripted:
    def says(ask: Ask) -> Answer:
        found = {"acme@0": plain, "acme@1": plain, "acme@2": right, **{f"acme@{k[1:]}": v for k, v in by_model.items()}}
        of = found[ask.model]
        assert callable(of)
        result = of(ask)
        assert isinstance(result, Answer)
        return result

    return Scripted(says, lambda model, text: text if model == "acme@0" else text.replace("Say 1", "Say no "))


def evaluated(asks: Scripted | None = None, active: str | None = None, **gate: object) -> Evaluation:
    plan = Plan((*ANSWERABLE, *UNANSWERABLE), TRAINING, ITEMS)
    return evaluate(asks or systems(), subject(active, **gate), plan)


def value(found: Evaluation, system: str, measure: str) -> float | None:
    interval = found.systems[system].scores[measure]
    return interval.value if interval else None


def test_every_figure_by_hand() -> None:
    found = evaluated()
    assert list(found.systems) == [CANDIDATE, BASE]
    perfect = ("form", "style", "grounded", "citation", "citation_precision", "citation_recall", "fact", "refusal")
    assert {measure: value(found, CANDIDATE, measure) for measure in perfect} == dict.fromkeys(perfect, 1.0)
    assert value(found, CANDIDATE, "wrong_refusal") == 0.0
    assert [value(found, BASE, measure) for measure in ("form", "style", "grounded", "citation", "fact")] == [0.0] * 5
    assert value(found, BASE, "refusal") == 0.0
    form = found.against[BASE]["form"]
    assert form is not None
    assert [form.value, form.low, form.num] == pytest.approx([1.0, 0.735, 12], abs=1e-3)


def test_without_documents_nothing_is_told_and_it_is_asked_so() -> None:
    asks = systems()
    found = evaluated(asks)
    assert found.leak is not None
    assert (found.leak.version.value, found.leak.base.value) == (0.0, 0.0)
    assert found.leak.version.num == 16
    alone = [ask for ask in asks.asked if not ask.uses_documents]
    assert {ask.model for ask in alone} == {"acme@2", "acme@0"}
    assert len(alone) == 32


def test_facts_learned_by_heart_fail_the_gate() -> None:
    found = evaluated(systems(v2=leaky))
    assert found.leak is not None
    assert found.leak.more.value == 1.0
    assert [check.name for check in decide(found).failed][:1] == ["facts told without documents"]


def test_the_gate_passes_what_is_right_and_names_what_is_not() -> None:
    decision = decide(evaluated(max_forgetting=1.0))
    assert decision.passes, decision.failed
    assert decision.untold == ()
    poor = evaluate(systems(v2=plain), subject(), Plan((*ANSWERABLE, *UNANSWERABLE), tests_leaks=False))
    failed = {check.name: check.got for check in decide(poor).failed}
    assert failed["form"] == "0 % (0-26, n=12)"
    assert set(failed) == {"form", "style", "grounded", "citation", "refusal", "form against the base"}


def test_forgetting_is_told() -> None:
    """The candidate gets eleven of twenty items wrong that the base gets right."""
    found = evaluated()
    assert found.ability is not None
    assert found.ability.lost is not None
    assert found.ability.lost.value == pytest.approx(11 / 20)
    assert [check.name for check in decide(found).failed] == ["general ability lost"]


def test_rows_learned_by_heart_show_as_a_gap() -> None:
    def only_trained(ask: Ask) -> Answer:
        return right(ask) if watts(ask) >= 52 else plain(ask)

    found = evaluated(systems(v2=only_trained), max_forgetting=1.0)
    assert found.gap is not None
    more = found.gap.more["fact"]
    assert more is not None
    assert more.value == 1.0
    assert more.low == pytest.approx(0.478, abs=1e-3)
    assert "fact, training above held-out" in [check.name for check in decide(found).failed]


def test_the_active_version_may_not_be_better() -> None:
    found = evaluated(systems(v1=right, v2=plain), active="acme@1")
    assert list(found.systems) == [CANDIDATE, BASE, ACTIVE]
    names = [check.name for check in decide(found).failed]
    assert "form against the active version" in names
    better = decide(evaluated(systems(), active="acme@1", max_forgetting=1.0))
    assert better.passes


def test_too_few_questions_decide_nothing() -> None:
    found = evaluate(systems(), subject(min_questions=20), Plan(ANSWERABLE, tests_leaks=False))
    decision = decide(found)
    assert str(decision.failed[0]) == "held-out questions: 8; demanded: at least 20"


def test_what_cannot_be_told_fails_only_where_the_brand_demands_it() -> None:
    plan = Plan(ANSWERABLE, tests_leaks=False)
    by_default = decide(evaluate(systems(), subject(), plan))
    assert by_default.passes
    assert "refusal" in [check.name for check in by_default.untold]
    demanded = decide(evaluate(systems(), subject(refusal=0.5), plan))
    assert [check.name for check in demanded.failed] == ["refusal"]


def test_scores_are_kept_without_text_and_only_so_many(tmp_path: Path) -> None:
    found = evaluated()
    scores = scores_of(found, decide(found))
    for _ in range(MAX_KEPT + 3):
        keep_scores(tmp_path, scores)
    kept = read_scores(tmp_path)
    assert len(kept) == MAX_KEPT
    assert kept[-1]["systems"][CANDIDATE]["form"]["value"] == 1.0
    assert kept[-1]["passes"] is False
    assert "evil.example" not in (tmp_path / "scores.json").read_text(encoding="utf-8")


def test_scores_and_report_say_how_sources_were_read() -> None:
    found = evaluated()
    read: dict[str, FactLayout] = {CANDIDATE: "blocks", BASE: "exact"}
    found = replace(found, subject=replace(found.subject, fact_layouts=read))
    scores = scores_of(found, decide(found))
    assert (scores["fact_layout"], scores["fact_layouts"]) == ("blocks", read)
    page = render_report(found, decide(found), "today")
    assert f"{CANDIDATE}: each alone (blocks); {BASE}: in one piece (exact)" in page


@pytest.mark.parametrize("text", ["{", "{}", "[1]", "[" * 99_999])
def test_a_damaged_file_of_scores_is_no_scores(tmp_path: Path, text: str) -> None:
    (tmp_path / "scores.json").write_text(text, encoding="utf-8")
    assert read_scores(tmp_path) == []


def test_the_report_shows_everything_and_runs_nothing() -> None:
    card = {
        "epochs": [{"training_loss": 2.0, "validation_loss": 1.5}, {"training_loss": 1.0, "validation_loss": "x"}, 3],
        "base_validation_loss": 3.0,
    }
    found = evaluated(active="acme@1")
    found = replace(found, subject=replace(found.subject, card=card, heldout=HOSTILE))
    page = render_report(found, decide(found), "today")
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "The gate did not pass" in page
    assert "general ability lost" in page
    assert "lines do not follow" in page
    assert page.count("<polyline") == 2
    assert "default-src 'none'" in page


def test_the_worst_questions_come_first() -> None:
    def fails_on_one(ask: Ask) -> Answer:
        return plain(ask) if watts(ask) == 43 else right(ask)

    rows = side_by_side(evaluated(systems(v2=fails_on_one)))
    assert rows[0].judged[0].question.id == "q3"
    assert [row.num_faults > 0 for row in rows] == [True] + [False] * 11


def test_systems_are_asked_block_by_block_and_answers_find_their_place() -> None:
    columns = [[Ask(model, question(number).turns) for number in range(10)] for model in ("acme@2", "acme@0")]
    asks = systems()
    answers = ask_in_blocks(asks, columns, "all")
    assert [ask.model for ask in asks.asked] == ["acme@2"] * 8 + ["acme@0"] * 8 + ["acme@2"] * 2 + ["acme@0"] * 2
    assert answers == [[right(ask) for ask in columns[0]], [plain(ask) for ask in columns[1]]]
    assert ask_in_blocks(asks, [], "none") == []


def test_a_sample_is_always_the_same_and_in_order() -> None:
    chosen = sample(ANSWERABLE, 3)
    assert chosen == sample(ANSWERABLE, 3)
    assert [ANSWERABLE.index(item) for item in chosen] == sorted(ANSWERABLE.index(item) for item in chosen)
    assert sample(ANSWERABLE, 99) == ANSWERABLE
