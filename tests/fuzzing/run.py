"""A run of the fuzzer: so many rules from a seed, and what was found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from .dice import Dice
from .differential import Comparison, Count, Difference, make_sets, shrunk
from .rules import make, matches, targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iptkit.values.context import Family

# Where iptkit does otherwise on purpose: kind of difference, a pattern its report fits, and the reason.
_OBJECT = "an object the machine lacks: a set, a BPF program, a control group, SELinux"
_UNREAD = "bytes that neither iptables-save nor the kernel looks at"
_FOUR = "a timeout's name, of which the kernel gives back four bytes"
KNOWN: tuple[tuple[str, str, str], ...] = (
    ("verdict", r"real: refused: .*(failed to get bpf object|Set .* doesn't exist)", _OBJECT),
    ("kernel", r"(SECMARK|cgroup .*--p).*\n.*real: the kernel refuses it", _OBJECT),
    # The interval without --hashlimit-rate-match.
    (
        "bytes",
        r"--hashlimit-rate-i(?s:(?!rate-match).)*\n.*: word \d+: the kernel holds \w+, we make 0{8}$",
        _UNREAD,
    ),
    # What --pol none says beside.
    ("bytes", r"real: .*-m policy --dir \w+ --pol none.*\n.*we make 0{8}", _UNREAD),
    # The flag that says --fragid or --rt-segsleft was there, when it asks for any.
    ("bytes", r"-m frag(?! --fragid).*\n.*the kernel holds 01000000, we make 0{8}$", _UNREAD),
    ("bytes", r"-m rt(?!.* --rt-segsleft).*\n.*the kernel holds 0.000000, we make 0.000000$", _UNREAD),
    ("status", r"mktime", "a date before 1970, for which iptables exits with 1; we with 2, as for any value"),
    (
        "verdict",
        r"! --ctst.* --ctp.*0\n.*would never match protocol",
        "a slip of iptables: after ! --ctstatus it takes --ctproto 0 for one that is inverted",
    ),
    ("saved", r"--timeout", _FOUR),
    ("bytes", r"--timeout", _FOUR),
    # The last three words of an IPv4 mask: zeros where the length is written, ones where it is left out.
    ("bytes", r"IPv4 .*--ct\w+ \S*/32.*\n.*\n.*the kernel holds 0{8}, we make f{8}; word", _UNREAD),
)


class Result(NamedTuple):
    counted: Count
    differences: list[Difference]
    unshown: int
    explained: dict[str, int]  # reason -> how many

    def report(self) -> str:
        lines = [each.report() for each in self.differences]
        if self.unshown:
            lines.append(f"... and {self.unshown} more")
        lines += [f"{number} known: {reason}" for reason, number in self.explained.items()]
        loaded, refused, kernel, passed_over = self.counted
        lines.append(
            f"{sum(self.counted)} rules: {loaded} loaded, {refused} refused by iptables,"
            f" {kernel} by the kernel, {passed_over} passed over;"
            f" {len(self.differences) + self.unshown} differences"
        )
        return "\n".join(lines)


def run(
    seed: int,
    count: int,
    families: Sequence[Family] = (4, 6),
    *,
    only: str = "",
    each: bool = False,
    small: bool = True,
    show: int = 20,
) -> Result:
    """Compare `count` rules, or with `each` as many of every extension, in the caller's network namespace."""
    make_sets()
    total = Count()
    found: list[Difference] = []
    unshown = 0
    explained: dict[str, int] = {}
    for family in families:
        dice = Dice.of_seed(seed * 10 + family)
        comparison = Comparison(family)
        names = [cls.name for cls in (*matches(family), *targets(family))] if each else [only]
        rules = [make(dice, family, name) for name in names for _ in range(count // len(families))]
        seen: set[str] = set()
        for difference in comparison.differences(rules):
            reason = known(difference)
            if reason:
                explained[reason] = explained.get(reason, 0) + 1
                continue
            if len(found) >= show:
                unshown += 1
                continue
            least = shrunk(difference, comparison) if small else difference
            reason = known(least)
            if reason:
                explained[reason] = explained.get(reason, 0) + 1
            elif least.report() not in seen:
                seen.add(least.report())
                found.append(least)
        total = total.plus(comparison.count)
    return Result(total, found, unshown, explained)


def known(difference: Difference) -> str:
    """Why iptkit does otherwise on purpose; empty where nothing says so."""
    for kind, pattern, reason in KNOWN:
        if kind == difference.kind and re.search(pattern, difference.report()):
            return reason
    return ""
