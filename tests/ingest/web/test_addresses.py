"""Which addresses are of the public internet, however they are spelled."""

from ipaddress import ip_address

import pytest

from config.errors import ConfigError
from ingest.web.addresses import Allowed, is_public


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9"),
        *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "100::1", "2001:db8::1"),
        *("2001::1", "2001:10::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::10.0.0.1"),
        *("64:ff9b::10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1.1.1.1"),
        *("2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:101::1", "2002:a9fe:a9fe::", "3fff::1"),
    ],
)
def test_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "192.0.1.1", "223.255.255.254"),
        *("2606:4700::1111", "2a00:1450::1", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"),
    ],
)
def test_public(address: str) -> None:
    assert is_public(ip_address(address))


def test_what_the_operator_allows() -> None:
    allowed = Allowed.of(["Intranet.example", "10.1.0.0/16", "fd00::/8", "192.168.0.7"])
    assert allowed.allows("intranet.example", ip_address("192.168.9.9"))
    assert allowed.allows("anything.example", ip_address("10.1.2.3"))
    assert allowed.allows("x", ip_address("fd00::1"))
    assert allowed.allows("x", ip_address("192.168.0.7"))
    assert not allowed.allows("sub.intranet.example", ip_address("192.168.9.9"))
    assert not allowed.allows("x", ip_address("10.2.0.1"))
    assert not allowed.allows("x", ip_address("192.168.0.8"))
    assert not allowed.allows("x", ip_address("::ffff:10.2.0.1"))


@pytest.mark.parametrize("entry", ["http://intranet", "10.1.0.0/99", "*", "", "a b"])
def test_an_entry_that_is_none_is_named(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"web\.allow holds"):
        Allowed.of([entry])
