"""llama-server, llama-bench and llama-cpp-python's example server, from the sources of the installed llama-cpp-python.

The example server runs on the sources' own bindings and these libraries: the package that housevoice installs is built
without the parts for pictures that it imports.
Found where they were built before, else fetched and built: fifteen minutes on two cores, once.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

PACKAGE = "llama-cpp-python"
TARGETS = ("llama-server", "llama-bench", "llama-batched-bench")
OPTIONS = (
    "CMAKE_BUILD_TYPE=Release",
    "LLAMA_CURL=OFF",
    "LLAMA_OPENSSL=OFF",
    "LLAMA_BUILD_TESTS=OFF",
    "LLAMA_BUILD_UI=OFF",
)
CACHE_NAME = "BENCH_CACHE"


def cache_folder() -> Path:
    """Sources, builds and random models; not a part of the repository. BENCH_CACHE moves it."""
    given = os.environ.get(CACHE_NAME)
    return Path(given).absolute() if given else Path(__file__).parents[2] / ".cache" / "bench"


@dataclass(frozen=True, slots=True)
class Peers:
    """Of one version of the sources."""

    source: Path
    build: Path

    @property
    def llama_server(self) -> Path:
        return self.build / "bin" / "llama-server"

    @property
    def llama_bench(self) -> Path:
        return self.build / "bin" / "llama-bench"

    @property
    def example_server(self) -> Path:
        return self.source / "examples" / "server" / "server.py"

    @property
    def vocabulary(self) -> Path:
        """Qwen2's, for models of its shape."""
        return self.source / "vendor" / "llama.cpp" / "models" / "ggml-vocab-qwen2.gguf"

    @property
    def are_built(self) -> bool:
        return all((self.build / "bin" / target).exists() for target in TARGETS)


def find_or_build(cache: Path) -> Peers:
    """Raises SystemExit with what is missing, or what the build complained of."""
    wanted = version(PACKAGE)
    peers = Peers(cache / f"llama_cpp_python-{wanted}", cache / f"build-{wanted}")
    if not peers.example_server.exists():
        _fetch(wanted, cache)
    if not peers.are_built:
        _build(peers)
    library = peers.source / "llama_cpp" / "lib"
    if not library.is_symlink():
        library.symlink_to(peers.build / "bin")
    return peers


def _fetch(wanted: str, cache: Path) -> None:
    print(f"Fetching the sources of {PACKAGE} {wanted}", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-binary", ":all:", "--no-deps", "--dest", str(cache)]
    _run([*command, f"{PACKAGE}=={wanted}"])
    archive = next(cache.glob(f"llama_cpp_python-{wanted}*.tar.gz"))
    with tarfile.open(archive) as file:
        file.extractall(cache, filter="data")
    archive.unlink()


def _build(peers: Peers) -> None:
    for tool in ("cmake", "ninja"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is needed to build the peers: pip install {tool}")
    print("Building llama-server and llama-bench, which takes a quarter of an hour the first time", flush=True)
    source = peers.source / "vendor" / "llama.cpp"
    defines = [f"-D{option}" for option in OPTIONS]
    _run(["cmake", "-G", "Ninja", "-S", str(source), "-B", str(peers.build), *defines])
    _run(["ninja", "-C", str(peers.build), *TARGETS])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed:\n{(done.stderr + done.stdout)[-3000:]}")
