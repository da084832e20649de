"""A run of ingest over many files of which none has changed.

    python -m benchmarks.rerun_unchanged [--files 10000] [--save]

The first run indexes them all (with a predictable embedder, as vectors are not what is measured); then three runs find
nothing to do. Each runs as `housevoice ingest` would: look at every file, compare with the catalog, settle the rules
about readers.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.conditions import RESULTS, conditions
from config.datadir import DataDirectory
from config.settings import load_settings
from ingest.embed import HashEmbedder
from ingest.store import FactStore

FILES_A_FOLDER = 100


def write_files(folder: Path, count: int) -> None:
    for number in range(count):
        file = folder / f"part{number // FILES_A_FOLDER}" / f"note{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"Note {number} says that parcel {number * 7919 % 100_003} left on day {number % 365}.\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_files(work / "files", arguments.files)
        settings = load_settings().ingest
        store = FactStore.open(DataDirectory(work / "data"), settings, HashEmbedder(), lambda text: len(text.split()))
        first = store.ingest(work / "files", "kb")
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            again = store.ingest(work / "files", "kb")
            seconds.append(time.perf_counter() - started)
        store.close()
    text = "\n".join(
        [
            f"# A run over {arguments.files} unchanged files",
            "",
            f"First run: {first.summary} in {first.seconds:.0f} s. Again: {again.summary} in"
            f" **{statistics.median(seconds):.2f} s** (median of {len(seconds)}).",
            "",
            conditions(),
            "",
        ]
    )
    print(text)
    if arguments.save:
        (RESULTS / "rerun-unchanged.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
