"""Reports are made again from kept samples, and nothing that a system said can become markup."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.bench.plot import draw
from benchmarks.bench.report import Quality, Run, equals_of, markdown, page, read_quality, rows_of
from benchmarks.bench.samples import read, write
from benchmarks.bench.systems import LLAMA, LLAMA_PLAIN
from benchmarks.bench.workloads import STREAMS
from tests.benchmarks.made_samples import sample

EVIL = "<script>alert(1)</script> | x\n# y"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def run_of_everything() -> Run:
    samples = (
        sample(),
        sample(size=18, num_prompt=4_000, first_seconds=2.0, turn=2),
        sample(system=LLAMA, first_seconds=20.0),
        sample(workload=STREAMS, case="no brand", size=4, turn=3, system=LLAMA_PLAIN, answers=("a", "b", "c", "d")),
        sample(model=EVIL, system=EVIL, case=EVIL),
    )
    return Run(EVIL, samples, (f"- note: {EVIL}",), (Quality(EVIL, "blocks", 0.4, 0.3, 0.5, 500),))


def test_the_page_has_plots_loads_nothing_and_escapes_everything() -> None:
    tags = Tags()
    tags.feed(page(run_of_everything()))
    assert "script" not in tags.found
    assert tags.links == []
    assert tags.found.count("polyline") >= 3
    assert "rect" in tags.found


def test_a_page_of_nothing_says_so() -> None:
    assert "Nothing was measured" in page(Run("Empty", (), ()))


def test_a_cell_cannot_break_out_of_its_row() -> None:
    lines = [line for line in markdown(run_of_everything()).splitlines() if "script" in line and line.startswith("| ")]
    assert lines
    assert all(line.endswith(" |") and " \\| x # y" in line for line in lines)


def test_kept_samples_give_the_same_report(tmp_path: Path) -> None:
    run = run_of_everything()
    write(tmp_path / "kept.jsonl", run.samples, run.notes)
    samples, notes = read(tmp_path / "kept.jsonl")
    assert page(Run(run.title, tuple(samples), notes, run.qualities)) == page(run)


@pytest.mark.parametrize("text", ["", "[]", '{"notes": []}\n{"model": 1}', "no json"])
def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"other\.jsonl holds no samples"):
        read(file)


def test_rows_gather_what_was_asked_alike() -> None:
    rows = rows_of([sample(first_seconds=1.0), sample(first_seconds=3.0, num_cached=2_000), sample(size=2)])
    assert [(row.size, row.num) for row in rows] == [(9, 2), (2, 1)]
    assert (rows[0].first, rows[0].first_p95, rows[0].cached) == (1.0, 3.0, 0.75)


def test_answers_are_compared_where_the_same_was_asked() -> None:
    samples = [
        sample(turn=1, answers=("a", "b")),
        sample(turn=1, system=LLAMA, answers=("a", "c")),
        sample(turn=2, system=LLAMA, answers=("a",)),
    ]
    assert [(item.num_equal, item.num) for item in equals_of(samples)] == [(1, 2)]


def test_a_quality_file_of_another_form_is_refused(tmp_path: Path) -> None:
    assert read_quality(tmp_path / "none.json") == ()
    (tmp_path / "some.json").write_text('[{"name": "halden"}]', encoding="utf-8")
    with pytest.raises(SystemExit, match=r"some\.json"):
        read_quality(tmp_path / "some.json")


def test_lines_stay_inside_their_plot() -> None:
    plot = draw("t", "x", "y", {"one": [(500, 0.02), (4_000, 60.0)], "none": []}, is_log=True)
    assert plot is not None
    assert [line.name for line in plot.lines] == ["one"]
    first, last = plot.lines[0].dots
    assert plot.left == first.x < last.x == plot.right
    assert plot.top <= last.y < first.y <= plot.bottom
    assert draw("t", "x", "y", {"none": []}) is None


def test_a_single_value_is_drawn_too() -> None:
    plot = draw("t", "x", "y", {"one": [(1, 0.0)]})
    assert plot is not None
    assert plot.lines[0].dots[0].y == plot.bottom
