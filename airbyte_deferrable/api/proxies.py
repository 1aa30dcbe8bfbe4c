"""Which hosts are reached without a proxy, as ``NO_PROXY`` says it."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


def bypasses(no_proxy: str, url: str) -> bool:
    """Tell whether an address is to be reached without a proxy.

    There is no standard. Understood is what requests, httpx or curl understand: names, which stand for what is below
    them, too; with a leading dot or ``*.``, with a port; addresses, with brackets or not; networks
    (``10.0.0.0/8``); ``*`` for all. Between them commas, blanks or both.

    :param no_proxy: The list.
    :param url: The address.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    try:
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        # Where a redirect leads; the request itself will say what is wrong with it.
        port = None
    return any(_covers(entry.lower(), host, port) for entry in re.split(r"[,\s]+", no_proxy) if entry)


def _covers(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    # httpx takes what begins with a scheme, as its own mounts do.
    entry = entry.rpartition("://")[2]
    if "/" in entry:
        return _in_network(host, entry)
    if (with_port := re.fullmatch(r"(\[.*\]|[^:]*):(\d+)", entry)) is not None:
        if int(with_port[2]) != port:
            return False
        entry = with_port[1]
    if _same_address(host, entry.strip("[]")):
        return True
    name = entry.removeprefix("*").lstrip(".").rstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _in_network(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return False


def _same_address(host: str, entry: str) -> bool:
    try:
        return ip_address(host) == ip_address(entry)
    except ValueError:
        return False
