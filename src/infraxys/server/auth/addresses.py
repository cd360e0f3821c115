"""Addresses of callers, as far as limits tell them apart."""

import ipaddress

# One household or host gets a whole /64 and can use a new address for every request.
IPV6_PREFIX = 64


def network_of(address: str) -> str:
    """Give what counts as one caller: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, IPV6_PREFIX), strict=False))
    return str(ip)
