"""Which of the two kernel backends is in use in this network namespace.

Only looks: no table is created, no kernel module asked for by name, and the one
program started is `iptables --version`, if nothing else decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.kernel.errors import KernelError
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from iptkit.values.context import Family

# Tables of iptables and the hooks their built-in chains hang on (the man page's TABLES, enum nf_inet_hooks).
_CHAINS: dict[str, dict[str, int]] = {
    "filter": {"INPUT": 1, "FORWARD": 2, "OUTPUT": 3},
    "nat": {"PREROUTING": 0, "INPUT": 1, "OUTPUT": 3, "POSTROUTING": 4},
    "mangle": {"PREROUTING": 0, "INPUT": 1, "FORWARD": 2, "OUTPUT": 3, "POSTROUTING": 4},
    "raw": {"PREROUTING": 0, "OUTPUT": 3},
    "security": {"INPUT": 1, "FORWARD": 2, "OUTPUT": 3},
}


class Detection(NamedTuple):
    """The backend to talk to, and why.

    `both_live` is worth a warning: packets then pass two rulesets, of which
    each save program shows one.
    """

    backend: Literal["legacy", "nft"]
    both_live: bool
    reason: str


def detect(family: Family) -> Detection:
    """Choose by what is live, else by what `iptables` is, else nft.

    Legacy is live when a loaded table holds a rule, a user chain or a policy
    other than ACCEPT; nft is live when one of iptables' tables has one of its
    built-in chains.  What may not be looked at (no CAP_NET_ADMIN) counts as not
    live, and the reason says so.
    """
    notes: list[str] = []
    legacy = _ask(_legacy_tables, family, notes)
    nft = _ask(_nft_tables, family, notes)
    if legacy and not nft:
        return Detection("legacy", False, f"legacy tables in use: {', '.join(legacy)}")
    if nft and not legacy:
        return Detection("nft", False, f"nf_tables tables of iptables in use: {', '.join(nft)}")
    backend, how = _installed(family)
    if legacy:
        reason = (
            f"legacy ({', '.join(legacy)}) and nf_tables ({', '.join(nft)}) tables are both in use; {how}"
        )
        return Detection(backend, True, reason)
    return Detection(backend, False, "; ".join(["no tables in use", *notes, how]))


def _ask(look: Callable[[Family], list[str]], family: Family, notes: list[str]) -> list[str]:
    try:
        return look(family)
    except KernelError as error:
        notes.append(str(error))
        return []


def _legacy_tables(family: Family) -> list[str]:
    from iptkit.kernel import sockopt

    return [name for name in sockopt.table_names(family) if not sockopt.is_blank(family, name)]


def _nft_tables(family: Family) -> list[str]:
    from iptkit.kernel import nfnetlink

    found = [
        chain.table
        for chain in nfnetlink.base_chains(family)
        if _CHAINS.get(chain.table, {}).get(chain.name) == chain.hook
    ]
    return list(dict.fromkeys(found))


def _installed(family: Family) -> tuple[Literal["legacy", "nft"], str]:
    from iptkit.kernel.nftchild import ToolError, run_tool

    name = "iptables" if family == 4 else "ip6tables"
    try:
        version = run_tool(name, ["--version"], timeout=10).stdout.decode("latin-1").strip()
    except ToolError:
        return "nft", f"{name} is not installed"
    # "iptables v1.8.9 (nf_tables)"; before 1.8 there was only legacy and no word for it.
    return ("nft" if "(nf_tables)" in version else "legacy"), f"the installed program is {version}"
