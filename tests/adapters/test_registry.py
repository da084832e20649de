import hashlib
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.identity import Identity
from adapters.kept_rows import kept_rows
from adapters.registry import MIGRATIONS, Registry
from adapters.rollout import Caller, Canary
from config.database import migrate, open_database
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


def test_the_card_names_the_parent_unless_it_knows_better(registry: Registry, tmp_path: Path) -> None:
    assert registry.register("halden", lora(tmp_path, 1), {}).card["parent"] is None
    registry.activate("halden", 1)
    assert registry.register("halden", lora(tmp_path, 2), {}).card["parent"] == "halden@1"
    assert registry.register("halden", lora(tmp_path, 3), {"parent": "reader"}).card["parent"] == "reader"


def test_the_rows_of_a_version_are_kept_under_their_hash(
    registry: Registry, data: DataDirectory, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n", encoding="utf-8")
    sha256 = hashlib.sha256(b"{}\n").hexdigest()
    version = registry.register("halden", lora(tmp_path, 1), {"examples_sha256": sha256}, [rows])
    rows.write_text("edited", encoding="utf-8")
    assert kept_rows(data, sha256).read_text(encoding="utf-8") == "{}\n"
    assert "adapter upgrade --brand halden" in registry.how_to_retrain(version)
    assert [path.name for path in data.examples.iterdir()] == [f"{sha256}.jsonl"]
    kept_rows(data, sha256).write_text("damaged", encoding="utf-8")
    for wrong in (sha256, "../../etc/passwd", None, "0" * 64):
        with pytest.raises(NotFoundError, match="are not kept"):
            kept_rows(data, wrong)


def test_a_version_of_another_base_template_or_prompt_is_not_put_to_use(data: DataDirectory, tmp_path: Path) -> None:
    here = Identity("b" * 64, "t" * 64, "c" * 64)
    registry = Registry.open(data, here)
    others = {
        "base": LoraFile(seed=1, base_sha256="x" * 64),
        "tokenizer": LoraFile(seed=2, base_sha256="b" * 64, tokenizer_sha256="x" * 64),
        "chat template": LoraFile(seed=3, base_sha256="b" * 64, template_sha256="x" * 64),
        "prompt version": LoraFile(seed=4, base_sha256="b" * 64, prompt_version=99),
    }
    for number, (what, given) in enumerate(others.items(), 1):
        registry.register("halden", write_lora(tmp_path / "other.gguf", given), {})
        for act in (registry.activate, lambda brand, version: registry.start_canary(brand, version, 0.5)):
            with pytest.raises(BadRequestError, match=f"{what}.*Train it again: housevoice adapter train halden"):
                act("halden", number)
    silent = registry.register("halden", write_lora(tmp_path / "silent.gguf", LoraFile(seed=9)), {})
    assert registry.activate("halden", silent.version).is_active


def test_a_file_that_says_nothing_of_its_base_belongs_to_the_one_it_was_checked_against(
    data: DataDirectory, tmp_path: Path
) -> None:
    """Regression: it was used with any base of the same shapes."""
    silent = write_lora(tmp_path / "silent.gguf", LoraFile(seed=1))
    made = Registry.open(data, Identity("a" * 64, "t" * 64)).register("halden", silent, {})
    assert (made.base_sha256, made.tokenizer_sha256) == ("a" * 64, "t" * 64)
    with pytest.raises(BadRequestError, match="another base"):
        Registry.open(data, Identity("b" * 64)).activate("halden", 1)
    other = write_lora(tmp_path / "other.gguf", LoraFile(seed=2))
    staged = Registry.open(data, Identity("a" * 64)).register("halden", other, {}, (), Identity("b" * 64))
    assert staged.base_sha256 == "b" * 64


def test_going_back_does_not_reach_another_base(data: DataDirectory, tmp_path: Path) -> None:
    registry = Registry.open(data)
    for seed, base in ((1, "a"), (2, "b")):
        registry.register("halden", write_lora(tmp_path / "v.gguf", LoraFile(seed=seed, base_sha256=base * 64)), {})
        registry.activate("halden", seed)
    with pytest.raises(BadRequestError, match="another base"):
        Registry.open(data, Identity("b" * 64)).roll_back("halden")
    assert registry.get("halden@2").is_active


def test_a_canary_takes_its_share_of_conversations_and_all_of_its_keys() -> None:
    canary = Canary("halden", 2, 0.25, ("tester",), 0)
    callers = [Caller("key", "name", f"user {number}", "") for number in range(4000)]
    taken = [caller for caller in callers if canary.takes(caller)]
    assert 0.21 < len(taken) / len(callers) < 0.29
    wider = replace(canary, share=0.5)
    assert all(wider.takes(caller) for caller in taken)
    other = replace(canary, version=3)
    assert 0.02 < sum(other.takes(caller) for caller in taken) / len(callers) < 0.11, "another canary, other callers"
    assert all(canary.takes(Caller("id", "tester", str(number))) for number in range(50))
    assert not any(replace(canary, share=0.0).takes(caller) for caller in callers)
    assert all(replace(canary, share=1.0).takes(caller) for caller in callers)


def test_retired_versions_are_passed_over_when_going_back(registry: Registry, tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        registry.register("halden", lora(tmp_path, seed), {})
        registry.activate("halden", seed)
    registry.retire("halden", 2, "Wrong tone.")
    back = registry.roll_back("halden")
    assert back is not None
    assert back.name == "halden@1"
    with pytest.raises(BadRequestError, match=r"retired on .*Wrong tone"):
        registry.activate("halden", 2)
    with pytest.raises(BadRequestError, match="retired"):
        registry.register("halden", lora(tmp_path, 2), {})


def test_what_waits_for_a_base_is_activated_by_the_first_start_with_it(data: DataDirectory, tmp_path: Path) -> None:
    old = Registry.open(data, Identity("a" * 64))
    for seed, base in ((1, "a"), (2, "b")):
        old.register("halden", write_lora(tmp_path / "v.gguf", LoraFile(seed=seed, base_sha256=base * 64)), {})
    old.activate("halden", 1)
    old.stage("halden", 2)
    assert old.activate_staged() == []
    assert old.get("halden@1").is_active
    new = Registry.open(data, Identity("b" * 64))
    assert new.activate_staged() == ["halden@2"]
    assert new.get("halden@2").is_active
    assert new.activate_staged() == []


def test_tables_of_the_release_before_are_brought_up_to_date(data: DataDirectory, tmp_path: Path) -> None:
    connection = open_database(data.database)
    migrate(connection, "adapters", MIGRATIONS[:2])
    connection.execute("INSERT INTO adapter_versions VALUES ('halden', 1, 'f', 'b', 1, 0, '{}', 1)")
    connection.close()
    registry = Registry.open(data, Identity("b"))
    assert registry.get("halden@1").is_active
    assert registry.register("halden", lora(tmp_path, 1), {}).name == "halden@2"
