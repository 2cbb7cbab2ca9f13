"""How many connections there may be: in all, of one user, and from one address.

Lives here: the counts. Not here: who the user is, and what a refusal costs (the door decides). Independent of what is
spoken over a connection. Belongs to one event loop and takes no locks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Final

from .codes import TOO_MANY_CONNECTIONS, TOO_MANY_FROM_ADDRESS, TOO_MANY_OF_USER, CloseCode
from .config import ConnectionConfig

LIMIT_OF: Final[Mapping[CloseCode, str]] = MappingProxyType(
    {
        TOO_MANY_CONNECTIONS: "max_connections",
        TOO_MANY_OF_USER: "max_connections_per_user",
        TOO_MANY_FROM_ADDRESS: "max_connections_per_address",
    }
)
"""The limit that each refusal was for, by its name in the settings."""


class Admission:
    """Hands out slots. A limit of 0 is none.

    Law N1: the slots held never exceed `max_connections`, those of one user `max_connections_per_user`, those from
        one address `max_connections_per_address`.
    Law N2: a slot given back, once or more often, frees exactly what it held; what is refused holds nothing.
    """

    def __init__(self, config: ConnectionConfig) -> None:
        self._config = config
        self.count = 0
        self._held: dict[Hashable, int] = {}

    def enter(self, address: str | None, connected: int = 0) -> Slot | CloseCode:
        """A slot for a handshake, or the code that refuses it.

        Args:
            address: the peer's, as the server gives it; None (a Unix socket) is never limited.
            connected: how many connections there are, counted otherwise; the larger number counts.
        """
        config = self._config
        if max(self.count, connected) >= config.max_connections:
            return TOO_MANY_CONNECTIONS
        key = None
        if address and config.max_connections_per_address:
            key = ("address", address_key(address))
            if self._held.get(key, 0) >= config.max_connections_per_address:
                return TOO_MANY_FROM_ADDRESS
        self.count += 1
        slot = Slot(self)
        if key is not None:
            slot.hold(key)
        return slot

    def claim(self, slot: Slot, user: Hashable) -> CloseCode | None:
        """Counts a slot as this user's; the code that refuses it if they have as many as allowed."""
        limit = self._config.max_connections_per_user
        if not limit:
            return None
        key = ("user", user)
        if self._held.get(key, 0) >= limit:
            return TOO_MANY_OF_USER
        slot.hold(key)
        return None

    def held(self) -> dict[Hashable, int]:
        """What is held now, by `("user", key)` and `("address", key)`; nobody stands there with 0."""
        return dict(self._held)


class Slot:
    """One connection's place, from its handshake to its end."""

    __slots__ = ("_admission", "_keys")

    def __init__(self, admission: Admission) -> None:
        self._admission: Admission | None = admission
        self._keys: list[Hashable] = []

    def hold(self, key: Hashable) -> None:
        """Counts one more for the key, until the slot is given back."""
        if self._admission is not None:
            held = self._admission._held
            held[key] = held.get(key, 0) + 1
            self._keys.append(key)

    def release(self) -> None:
        """Gives the place back. Again is nothing."""
        admission, self._admission = self._admission, None
        if admission is None:
            return
        admission.count -= 1
        for key in self._keys:
            left = admission._held[key] - 1
            if left:
                admission._held[key] = left
            else:
                del admission._held[key]


def address_key(address: str) -> str:
    """What counts as one address: IPv4 as it is, IPv6 its /64, which is what one subscriber is given.

    A text that is no IP address (a proxy's word, a test's) stands for itself.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
        found = found.ipv4_mapped
    return str(found)
