"""Which rules say what an earlier rule of their chain has said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import Jump
from iptkit.lint.conditions import HARMLESS, is_return, is_verdict

if TYPE_CHECKING:
    from iptkit.lint.facts import SectionFacts
    from iptkit.lint.normal import Normal
    from iptkit.ruleset.binding import Bound
    from iptkit.ruleset.model import Chain, Rule


def find_duplicates(section: SectionFacts) -> dict[int, Rule]:
    """`id` of each rule that repeats an earlier one -> the earlier one.

    A verdict, a RETURN or a jump may be repeated anywhere later; for other
    targets the repetition must follow at once.  Rules with conditions that
    change, and such on what a rule between may have rewritten, repeat nothing.
    """
    forms = section.facts.forms
    normals: dict[Bound, Normal] = {bound: forms.of(bound) for bound in section.shapes}
    numbers = {bound: normal.form.number for bound, normal in normals.items()}
    skipped = {normal.form.number for normal in normals.values() if normal.form.changing}
    refused = section.refused
    out: dict[int, Rule] = {}
    for chain in section.chains.values():
        rules = chain.rules
        if len(rules) < 2:
            continue
        kinds = [numbers[rule.bound] for rule in rules]
        if len(set(kinds)) == len(kinds):
            continue
        once: dict[int, int] = {}
        for kind in kinds:
            once[kind] = once.get(kind, 0) + 1
        seen: dict[Any, int] = {}
        changes: list[int] | None = None
        for at, rule in enumerate(rules):
            kind = kinds[at]
            if once[kind] == 1 or kind in skipped:
                continue
            key = (kind, normals[rule.bound].values(rule))
            before = seen.setdefault(key, at)
            if before == at or rule.line.number in refused:
                continue
            first = rules[before]
            target = section.target_of(rule)
            repeats = before + 1 == at or is_verdict(target) or is_return(target) or isinstance(target, Jump)
            if repeats and normals[rule.bound].form.rewritable:
                changes = _changes(section, chain) if changes is None else changes
                repeats = changes[at] < before
            if repeats and first.line.number not in refused:
                out[id(rule)] = first
            else:
                seen[key] = at
    return out


def _changes(section: SectionFacts, chain: Chain) -> list[int]:
    """For each rule of a chain, the last one before it that may change packets or sets; -1 for none."""
    out = []
    last = -1
    for at, rule in enumerate(chain.rules):
        out.append(last)
        target = section.target_of(rule)
        if isinstance(target, Jump):
            if target.chain in section.changing_chains:
                last = at
        elif target is not None and target.name not in HARMLESS:
            last = at
    return out


def changing_chains(section: SectionFacts) -> set[str]:
    """The chains in which packets, marks or sets may be changed, directly or in chains called from there."""
    out = {
        chain.name
        for shape in section.shapes.values()
        for rule, chain in zip(shape.rules, shape.chains, strict=True)
        if (target := section.target_of(rule)) is not None
        and not isinstance(target, Jump)
        and target.name not in HARMLESS
    }
    pending = list(out)
    while pending:
        for call in section.calls.by_callee.get(pending.pop(), ()):
            if call.caller not in out:
                out.add(call.caller)
                pending.append(call.caller)
    return out
