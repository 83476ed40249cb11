"""Every extension reads, prints, encodes and places its rules as its file in fixtures/extensions says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from iptkit import api
from iptkit.extensions.ipset import SetUse
from iptkit.extensions.layout import xt_align
from iptkit.extensions.registry import MATCHES, TARGETS, find_match, find_target
from iptkit.extensions.spec import Extension, Opaque, RuleFacts
from iptkit.ruleset.binding import Binder
from iptkit.values.context import Context

from .cases import Case, files, read

if TYPE_CHECKING:
    from iptkit.ruleset.interpret import Outcome
    from iptkit.ruleset.model import Rule
    from iptkit.values.context import Family

FAMILIES: tuple[Family, ...] = (4, 6)
BINDERS = {4: Binder(4), 6: Binder(6)}


@pytest.mark.parametrize("name", files())
def test_cases_of(name: str) -> None:
    cases = read(name)
    assert cases, f"{name}.txt holds no case"
    wrong = [f"{case.where}: {problem}\n    {case.rule}" for case in cases for problem in check(case)]
    assert not wrong, f"{len(wrong)} of {len(cases)} cases differ:\n" + "\n".join(wrong)


def test_every_option_has_a_case() -> None:
    """Each extension is read, and each of its options given, somewhere among the cases."""
    given: dict[type[Extension], set[str]] = {}
    for case in (case for name in files() for case in read(name) if case.verdict != "refused"):
        words = set(case.rule.replace("=", " ").split())
        for rule in run(case, case.rule).ruleset.tables[case.table].chains[case.chain].rules:
            for use in (*rule.matches, rule.target):
                if isinstance(use, Extension):
                    given.setdefault(type(use), set()).update(words)
    untold = []
    for cls in classes():
        if cls not in given:
            untold.append(f"{cls.name}, IPv{cls.families[0]}")
        else:
            untold += [f"{cls.name} {o.flag}" for o in cls.options if given[cls].isdisjoint(o.names)]
    assert not untold, "no case in fixtures/extensions shows these:\n" + "\n".join(sorted(untold))


def classes() -> set[type[Extension]]:
    return {
        found
        for find, names in ((find_match, MATCHES), (find_target, TARGETS))
        for name in names
        for family in FAMILIES
        if (found := find(name, family)) is not None
    }


def run(case: Case, rule: str) -> Outcome:
    return api.interpret(
        api.parse(case.text(rule).encode("latin-1")), case.family, binder=BINDERS[case.family]
    )


def saved(outcome: Outcome, case: Case) -> str:
    lines = [line for line in api.save(outcome.ruleset).splitlines() if line.startswith("-A ")]
    return "\n".join(line.removeprefix(f"-A {case.chain}").removeprefix(" ") for line in lines)


def check(case: Case) -> list[str]:
    """What differs from the case, in words."""
    outcome = run(case, case.rule)
    if case.verdict == "refused":
        return [] if outcome.status else [f"taken as {saved(outcome, case)!r}, should be refused"]
    if outcome.status:
        return [f"refused: {outcome.diagnostics[0].message}"]
    problems = []
    printed = saved(outcome, case)
    if printed != case.saved:
        problems.append(f"printed {printed!r}, should be {case.saved!r}")
    elif case.verdict != "lossy":
        again = run(case, printed)
        if again.status:
            problems.append(f"its own print is refused: {again.diagnostics[0].message}")
        elif saved(again, case) != printed:
            problems.append(f"its own print comes back as {saved(again, case)!r}")
    for rule in outcome.ruleset.tables[case.table].chains[case.chain].rules:
        uses = [use for use in (*rule.matches, rule.target) if isinstance(use, Extension)]
        for use in uses:
            problems += check_codec(use, case)
        refusals = [reason for use in uses for reason in kernel_refusals(use, rule, case)]
        if case.verdict == "kernel" and not refusals:
            problems.append("nothing says that the kernel refuses it")
        elif case.verdict in ("ok", "lossy") and refusals:
            problems.append(f"it loads, though: {refusals[0]}")
    return problems


def check_codec(use: Extension, case: Case) -> list[str]:
    """Does a use come back from the struct it is encoded to?"""
    cls = type(use)
    if isinstance(use, Opaque):
        return [f"-m or -j {use.saved_name()} is not known"]
    try:
        if isinstance(use, SetUse):
            # Sets go by numbers, which are the machine's: any will do here.
            numbers = {name: number for number, name in enumerate(sorted(use.set_names()))}
            names = {number: name for name, number in numbers.items()}
            payload = use.encode_with(case.family, numbers)
            found: Extension = type(use).decode_with(rounded(payload), Context(case.family), names)
        else:
            found = cls.decode(rounded(use.encode(case.family)), Context(case.family))
    except ValueError as error:
        return [f"{use!r} is not encoded and decoded: {error}"]
    if found != use:
        return [f"{use!r} comes back from its struct as {found!r}: {found.values} for {use.values}"]
    return []


def rounded(payload: bytes) -> bytes:
    """A struct as the kernel keeps it."""
    return payload.ljust(xt_align(len(payload)), b"\0")


def kernel_refusals(use: Extension, rule: Rule, case: Case) -> list[str]:
    """Why the legacy kernel refuses this use in the built-in chain of the case."""
    conditions = rule.conditions
    protocol, inverted = conditions.protocol, conditions.protocol_inverted
    matches = tuple(match for match in rule.matches if isinstance(match, Extension))
    facts = RuleFacts(case.family, protocol, inverted, protocol, inverted, matches)
    reasons = [
        problem.message
        for problem in use.kernel_check(facts)
        if not problem.backends or "legacy" in problem.backends
    ]
    place = use.place()
    if case.table not in place.tables:
        reasons.append(f"{use.name} stands in {', '.join(place.tables)} only")
    if case.chain not in place.hooks:
        reasons.append(f"{use.name} stands in {', '.join(place.hooks)} only")
    if use.protocols and (inverted or protocol not in use.protocols):
        reasons.append(f"{use.name} needs -p {' or '.join(map(str, use.protocols))}")
    return reasons
