"""Which addresses may be fetched from. Pure: an address is judged by itself, whatever name led to it.

What a document owner lists is public; what lies behind this server's firewall is not, and a hostile page can name it in
a redirect, a sitemap or a DNS answer. So only addresses of the public internet are allowed, in whichever way they are
spelled, and those that the operator listed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from config.errors import ConfigError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PUBLIC_IPV6 = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")
SIXTOFOUR = IPv6Network("2002::/16")
NEVER = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("2001::/23", "2001:db8::/32", "3fff::/20"),
    )
)
"""IANA's special-purpose registries; of IPv6 those inside 2000::/3, as all else there is refused already. Listed here,
since `is_global` of the standard library differs between Python releases.
"""


def is_public(address: Address) -> bool:
    """Of the public internet, and so is the IPv4 address that it may carry (mapped, NAT64, 6to4)."""
    if isinstance(address, IPv6Address):
        inner = _carried(address)
        if inner is not None:
            return is_public(inner)
        if address not in PUBLIC_IPV6:
            return False
    return not any(address in network for network in NEVER if network.version == address.version)


def _carried(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour if address in SIXTOFOUR else None


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the operator allows beyond the public internet: host names, and networks. From `web.allow`."""

    hosts: frozenset[str]
    networks: tuple[Network, ...]

    @staticmethod
    def of(entries: Sequence[str]) -> "Allowed":
        """Raises ConfigError for an entry that is neither."""
        hosts: set[str] = set()
        networks: list[Network] = []
        for entry in entries:
            network = _network(entry)
            if network is not None:
                networks.append(network)
            elif entry and not any(character in entry for character in "/:*@ "):
                hosts.add(entry.lower().rstrip("."))
            else:
                raise ConfigError(
                    f"web.allow holds {entry!r}, which is no host name, address or network.",
                    "Write it like intranet.example, 10.1.2.3 or 10.1.0.0/16.",
                )
        return Allowed(frozenset(hosts), tuple(networks))

    def allows(self, host: str, address: Address) -> bool:
        """May this address be connected to, under this host name?"""
        if is_public(address) or host.lower().rstrip(".") in self.hosts:
            return True
        return any(address in network for network in self.networks if network.version == address.version)


def parse_address(text: str) -> Address:
    """As a resolver gives it; a zone ("%eth0") is kept, and makes no address public."""
    return ip_address(text)


def _network(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
