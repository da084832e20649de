"""Adapters in use stay loaded; of the others the least recently used goes first."""

from server.engine.shelf import AdapterShelf


def test_the_least_recently_used_idle_adapter_goes() -> None:
    shelf = AdapterShelf(limit=2)
    assert shelf.acquire("a", "a@1") == shelf.acquire("b", "b@1") == []
    shelf.release("a")
    shelf.release("b")
    shelf.acquire("a", "a@1")
    assert shelf.acquire("c", "c@1") == ["b"]
    assert shelf.names == ("a@1", "c@1")
    assert not shelf.is_loaded("b")


def test_adapters_in_use_stay_whatever_the_limit() -> None:
    shelf = AdapterShelf(limit=1)
    shelf.acquire("a", "a@1")
    assert shelf.acquire("b", "b@1") == []
    shelf.release("a")
    assert shelf.acquire("b", "b@1") == ["a"]
