"""The cases of fixtures/extensions, one file a module:

    FAMILY TABLE CHAIN;rule as written;rule as iptables-save prints it, or =;verdict

Verdicts are what iptables 1.8.9 (legacy) and Linux 6.18 do:

ok       loads
kernel   iptables takes it, the kernel refuses it, whatever the machine
machine  what the machine has decides whether the kernel, or iptables itself, takes it
lossy    loads, but what is saved cannot be read back, or means another thing
refused  iptables refuses it; nothing is saved
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from iptkit.values.context import Family

FOLDER = Path(__file__).parents[2] / "fixtures" / "extensions"
VERDICTS = frozenset(("ok", "kernel", "machine", "lossy", "refused"))


class Case(NamedTuple):
    where: str  # file:line
    family: Family
    table: str
    chain: str
    rule: str
    saved: str
    verdict: str

    def text(self, rule: str) -> str:
        """A file with nothing but the rule in it."""
        return f"*{self.table}\n{self.line(rule)}\nCOMMIT\n"

    def line(self, rule: str) -> str:
        return f"-A {self.chain} {rule}" if rule else f"-A {self.chain}"


def files() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def read(name: str) -> list[Case]:
    """The cases of one file.  Latin-1, as all text of rules: a character is a byte."""
    found = []
    path = FOLDER / f"{name}.txt"
    for number, line in enumerate(path.read_text(encoding="latin-1").split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        where = f"{path.name}:{number}"
        pieces = line.split(";")
        assert len(pieces) == 4, f"{where}: {len(pieces)} pieces, not 4, between semicolons: {line}"
        place, rule, saved, verdict = pieces
        family, table, chain = place.split()
        assert family in ("4", "6"), f"{where}: no family {family}"
        assert verdict in VERDICTS, f"{where}: no verdict {verdict}"
        assert verdict != "refused" or not saved, f"{where}: refused, and yet saved"
        found.append(
            Case(
                where, 4 if family == "4" else 6, table, chain, rule, rule if saved == "=" else saved, verdict
            )
        )
    return found
