import json
import threading
from pathlib import Path

import pytest

from adapters.registry import Registry
from config.datadir import DataDirectory
from config.errors import BadRequestError, HousevoiceError, NotFoundError
from tests.adapters.tiny import LoraFile, write_lora


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    return directory


@pytest.fixture
def registry(data: DataDirectory) -> Registry:
    return Registry.open(data)


def lora(tmp_path: Path, seed: int) -> Path:
    return write_lora(tmp_path / f"{seed}.gguf", LoraFile(seed=seed, base_sha256="b" * 64, prompt_version=1))


def test_versions_count_up_for_each_brand(registry: Registry, tmp_path: Path) -> None:
    names = [registry.register(brand, lora(tmp_path, seed), {}).name for brand, seed in [("a", 1), ("a", 2), ("b", 1)]]
    assert names == ["a@1", "a@2", "b@1"]
    assert [version.name for version in registry.versions()] == names
    assert [version.name for version in registry.versions("b")] == ["b@1"]


def test_a_version_keeps_its_file_card_and_origin(registry: Registry, data: DataDirectory, tmp_path: Path) -> None:
    given = lora(tmp_path, 1)
    made = registry.register("halden", given, {"num_rows": 3, "sha256": "a lie"})
    content = given.read_bytes()
    given.unlink()
    assert made.path == data.adapters / "halden/1/adapter.gguf"
    assert made.path.read_bytes() == content
    assert (made.base_sha256, made.prompt_version) == ("b" * 64, 1)
    card = json.loads((made.path.parent / "card.json").read_text(encoding="utf-8"))
    assert (card["num_rows"], card["sha256"], card["name"]) == (3, made.sha256, "halden@1")
    assert Registry.open(data).get("halden@1") == made


def test_the_same_file_again_is_the_same_version(registry: Registry, tmp_path: Path) -> None:
    first = registry.register("halden", lora(tmp_path, 1), {})
    assert registry.register("halden", lora(tmp_path, 1), {"other": True}) == first


def test_one_version_is_active_and_an_older_one_can_be_again(registry: Registry, tmp_path: Path) -> None:
    for seed in (1, 2):
        registry.register("halden", lora(tmp_path, seed), {})
    assert registry.active("halden") is None
    assert registry.activate("halden", 2).is_active
    assert registry.activate("halden", 1).name == "halden@1"
    active = registry.active("halden")
    assert active is not None
    assert active.name == "halden@1"
    assert [version.is_active for version in registry.versions("halden")] == [True, False]
    registry.deactivate("halden")
    assert registry.active("halden") is None


@pytest.mark.parametrize("name", ["halden@2", "halden", "halden@", "halden@x", "nobody@1", "halden@" + "9" * 40])
def test_an_unknown_version_is_not_found(registry: Registry, tmp_path: Path, name: str) -> None:
    registry.register("halden", lora(tmp_path, 1), {})
    with pytest.raises(NotFoundError, match=r"Known for this brand: (halden@1|none)"):
        registry.get(name)


def test_activating_an_unknown_version_changes_nothing(registry: Registry, tmp_path: Path) -> None:
    registry.register("halden", lora(tmp_path, 1), {})
    registry.activate("halden", 1)
    with pytest.raises(NotFoundError):
        registry.activate("halden", 5)
    assert registry.get("halden@1").is_active


def test_names_and_files_that_cannot_be_are_refused(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match=r"'\.\./x' is no brand name"):
        registry.register("../x", lora(tmp_path, 1), {})
    with pytest.raises(BadRequestError, match="cannot be read"):
        registry.register("halden", tmp_path / "absent.gguf", {})
    (tmp_path / "text.gguf").write_text("hello", encoding="utf-8")
    with pytest.raises(HousevoiceError, match="not a GGUF file"):
        registry.register("halden", tmp_path / "text.gguf", {})
    assert registry.versions() == []


def test_a_folder_left_by_a_killed_registration_is_replaced(
    registry: Registry, data: DataDirectory, tmp_path: Path
) -> None:
    for leftover in ("halden/1", "halden/1.partial"):
        (data.adapters / leftover).mkdir(parents=True)
        (data.adapters / leftover / "adapter.gguf").write_bytes(b"half")
    made = registry.register("halden", lora(tmp_path, 1), {})
    assert made.path.read_bytes() == lora(tmp_path, 1).read_bytes()
    assert sorted(path.name for path in made.path.parent.parent.iterdir()) == ["1"]


def test_threads_register_and_activate_side_by_side(registry: Registry, tmp_path: Path) -> None:
    files = [lora(tmp_path, seed) for seed in range(8)]

    def work(path: Path) -> None:
        version = registry.register("halden", path, {})
        registry.activate("halden", version.version)

    threads = [threading.Thread(target=work, args=(path,)) for path in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = registry.versions("halden")
    assert [version.version for version in versions] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert sum(version.is_active for version in versions) == 1
    assert len({version.path.read_bytes() for version in versions}) == 8


def test_going_back_step_by_step_ends_at_the_base(registry: Registry, tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        registry.register("halden", lora(tmp_path, seed), {})
    for version in (1, 2, 2, 3):
        registry.activate("halden", version)
    steps = [registry.roll_back("halden") for _ in range(3)]
    assert [version.version if version else 0 for version in steps] == [2, 1, 0]
    assert registry.active("halden") is None
    with pytest.raises(NotFoundError, match="Nothing but the present version"):
        registry.roll_back("halden")


def test_going_back_from_the_base_and_over_a_restart(registry: Registry, data: DataDirectory, tmp_path: Path) -> None:
    registry.register("halden", lora(tmp_path, 1), {})
    registry.activate("halden", 1)
    registry.deactivate("halden")
    registry.deactivate("halden")
    registry.close()
    back = Registry.open(data).roll_back("halden")
    assert back is not None
    assert back.name == "halden@1"
    with pytest.raises(NotFoundError):
        Registry.open(data).roll_back("nobody")
