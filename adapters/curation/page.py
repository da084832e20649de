"""The set as one HTML page on which a person accepts, edits or drops rows, and saves the result as a file."""

import json
from importlib import resources

from adapters.curation.checks import MEANINGS
from adapters.curation.curate import Curated


def render_page(curated: Curated, title: str) -> str:
    """One file, no external loads; everything from the rows is put in as text."""
    by_line: dict[int, list[dict[str, object]]] = {}
    for finding in curated.findings:
        shown = {"kind": str(finding.kind), "text": finding.text, "stop": finding.is_stop}
        by_line.setdefault(finding.line, []).append(shown)
    kept = {row.line for row in curated.kept}
    data = {
        "title": title,
        "meanings": {str(kind): text for kind, text in MEANINGS.items()},
        "whole": by_line.get(0, []),
        "problems": [{"line": problem.line, "reason": problem.reason} for problem in curated.problems],
        "rows": [
            {"line": row.line, "value": row.value, "findings": by_line.get(row.line, []), "kept": row.line in kept}
            for row in curated.rows
        ],
    }
    # Without "<" nothing in the data ends the script element that it stands in.
    written = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    page = (resources.files("adapters") / "curation" / "page.html").read_text(encoding="utf-8")
    return page.replace("__DATA__", written)
