"""Keys: kept as hashes, refused once revoked, the first one in a file only its owner reads."""

import stat
from pathlib import Path

import pytest

from config.datadir import DataDirectory
from config.errors import BadRequestError, NotFoundError
from ingest.access.reader import ADMIN, ANYONE, Reader
from server.keys import KeyStore, ensure_local_key, has_shared_key


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    data = DataDirectory(tmp_path)
    data.create()
    return data


@pytest.fixture
def store(data: DataDirectory) -> KeyStore:
    return KeyStore.open(data)


def test_a_key_is_found_by_its_text_alone(store: KeyStore) -> None:
    new = store.create("ann", "reader", ("halden",))
    assert store.find(new.text) == new.key
    assert store.find(new.text[:-1]) is None
    assert store.find(new.key.id) is None
    assert len(new.text) >= 43 + len("hv-")


def test_the_text_is_not_in_the_database(store: KeyStore, data: DataDirectory) -> None:
    new = store.create("ann")
    store.close()
    contents = b"".join(path.read_bytes() for path in data.root.glob("housevoice.db*"))
    assert new.text.encode() not in contents


def test_a_revoked_key_is_refused_at_once(store: KeyStore) -> None:
    new = store.create("ann")
    store.revoke("ann")
    assert store.find(new.text) is None
    assert store.find_by_id(new.key.id) is None
    with pytest.raises(NotFoundError):
        store.revoke("ann")


def test_names_of_live_keys_are_unique_and_free_again_after_revoking(store: KeyStore) -> None:
    store.create("ann")
    with pytest.raises(BadRequestError, match="ann"):
        store.create("ann")
    store.revoke("ann")
    store.create("ann")
    assert len(store.live_keys()) == 1


def test_empty_brands_mean_all(store: KeyStore) -> None:
    assert store.create("all").key.may_use("halden")
    assert not store.create("some", "reader", ("pipkin",)).key.may_use("halden")


def test_groups_come_and_go_with_the_next_look(store: KeyStore) -> None:
    new = store.create("ann", groups=("hr", "board", "hr"))
    assert new.key.groups == ("board", "hr")
    assert store.find(new.text) == new.key
    assert store.revoke_group("ann", "hr").groups == ("board",)
    assert store.grant(new.key.id, ("it",)).groups == ("board", "it")
    found = store.find_by_id(new.key.id)
    assert found is not None
    assert found.reader == Reader(frozenset({"board", "it"}))
    with pytest.raises(NotFoundError, match="'hr'"):
        store.revoke_group("ann", "hr")
    with pytest.raises(BadRequestError, match="'Human Resources'"):
        store.grant("ann", ("Human Resources",))


def test_an_admin_reads_everything_and_a_key_without_groups_what_is_open(store: KeyStore) -> None:
    assert store.create("boss", "admin").key.reader == ADMIN
    assert store.create("ann").key.reader == ANYONE


def test_use_is_noted(store: KeyStore) -> None:
    new = store.create("ann")
    store.mark_used(new.key)
    found = store.find(new.text)
    assert found is not None
    assert found.used_unix_seconds is not None


def test_the_local_key_is_made_once(store: KeyStore, data: DataDirectory) -> None:
    new = ensure_local_key(store, data.local_key)
    assert new is not None
    assert data.local_key.read_text(encoding="utf-8").strip() == new.text
    assert stat.S_IMODE(data.local_key.stat().st_mode) == 0o600
    assert ensure_local_key(store, data.local_key) is None


def test_a_lost_local_key_is_replaced_and_the_old_one_ends(store: KeyStore, data: DataDirectory) -> None:
    old = ensure_local_key(store, data.local_key)
    data.local_key.unlink()
    new = ensure_local_key(store, data.local_key)
    assert old is not None
    assert new is not None
    assert store.find(old.text) is None
    assert store.find(new.text) is not None


def test_only_other_keys_open_the_door_beyond_loopback(store: KeyStore, data: DataDirectory) -> None:
    ensure_local_key(store, data.local_key)
    assert not has_shared_key(store)
    store.create("ann")
    assert has_shared_key(store)
