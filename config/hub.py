"""`python -m config.hub REPOSITORY PATTERN FOLDER`: fetch matching files of one hub repository, and nothing else.

Progress goes to standard output's terminal, a failure's reason to the last line of standard error. A partial file is
resumed; every finished file is compared with the checksum that the hub states for it.
"""

import fnmatch
import hashlib
import sys
from pathlib import Path

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def fetch(repository: str, pattern: str, folder: Path) -> None:
    """Raises ValueError where nothing matches or a checksum differs; hub errors pass through."""
    from huggingface_hub import HfApi, hf_hub_download

    siblings = HfApi().model_info(repository, files_metadata=True).siblings or []
    wanted = [file for file in siblings if _is_wanted(file.rfilename, pattern)]
    if not wanted:
        raise ValueError(f"no file of {repository} matches {pattern}")
    for file in wanted:
        path = Path(hf_hub_download(repository, file.rfilename, local_dir=folder))
        if file.lfs is not None:
            _check(path, file.lfs.sha256)


def _is_wanted(name: str, pattern: str) -> bool:
    return fnmatch.fnmatch(name.lower(), pattern.lower()) and not name.endswith(PICKLES)


def _check(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        path.unlink()
        raise ValueError(
            f"{path.name} has checksum {found[:12]}, the hub says {sha256[:12]}; it was removed, try again"
        )


if __name__ == "__main__":
    try:
        fetch(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    except Exception as error:  # noqa: BLE001 - the edge of a child process: the parent prints the reason
        sys.exit(f"{type(error).__name__}: {error}".splitlines()[0])
