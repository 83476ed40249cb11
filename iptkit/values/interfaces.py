"""Interface names of `-i`, `-o` and `-m physdev`.

A name is any bytes, 15 at most (IFNAMSIZ is 16 with the closing zero); a ``+`` at its end stands for any
rest, and ``+`` alone for any interface.
"""

from __future__ import annotations

from iptkit.values.wording import quote

IFNAMSIZ = 16
LOOPBACK = "lo"


def parse_interface(text: str, allow_empty: bool = False) -> str:
    """Return `text` when it can be an interface name.

    The core options refuse the empty name (it would match any interface); `-m physdev` takes it, with
    `allow_empty`. Raises ValueError for it and for more than 15 bytes.
    """
    if len(text) >= IFNAMSIZ:
        raise ValueError(f"interface name {quote(text)} has {len(text)} bytes, 15 is the most")
    if not text and not allow_empty:
        raise ValueError('interface name is empty (write "+" for any)')
    return text


def interface_mask(name: str) -> tuple[bytes, bytes]:
    """Return the 16-byte name and the 16-byte mask that stand for `name` in the kernel's rule.

    The fields `iniface`, `iniface_mask`... of `struct ipt_ip` and `struct ip6t_ip6`: an interface matches
    when it equals the name in the bytes set in the mask. The ``+`` of a wildcard stays in the name and is
    out of the mask; for a full name the closing zero is compared too. `name` as `parse_interface` took it.
    """
    raw = name.encode("latin-1")
    if not raw:
        compared = 0
    elif raw[-1:] == b"+":
        compared = len(raw) - 1
    else:
        compared = len(raw) + 1
    return raw.ljust(IFNAMSIZ, b"\0"), (b"\xff" * compared).ljust(IFNAMSIZ, b"\0")
