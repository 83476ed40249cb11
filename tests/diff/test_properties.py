"""What must hold for any two rulesets."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import given, settings

from iptkit import api
from iptkit.ruleset.binding import Binder

from .rulesets import State, pairs, shape_of, states

if TYPE_CHECKING:
    from iptkit.ruleset.interpret import Outcome
    from iptkit.ruleset.model import Rule, Ruleset


BINDER = Binder()  # shapes are bound once for all examples


def applied(script: str, base: Ruleset) -> Outcome:
    """The state after the script, by the rules of iptables-restore -c --noflush."""
    data = script.encode("latin-1")
    outcome = api.interpret(api.parse(data), base=base, noflush=True, counters=True, binder=BINDER)
    assert not outcome.status, (script, outcome.diagnostics)
    return outcome


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_the_script_makes_the_new_state(pair: tuple[State, State]) -> None:
    old, new = (state.load(BINDER) for state in pair)
    result = applied(api.diff(old, new).script(), old).ruleset
    assert shape_of(result) == shape_of(new)
    assert api.diff(result, new).same
    for name, table in result.tables.items():
        for chain in table.chains.values():
            if chain.builtin:
                before = old.tables.get(name)
                assert chain.counters == (before.chains[chain.name].counters if before else (0, 0))


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_rules_that_can_keep_their_counters_do(pair: tuple[State, State]) -> None:
    """As many rules of a text have counters that were there as the smaller of both chains holds."""
    old, new = (state.load(BINDER) for state in pair)
    result = applied(api.diff(old, new).script(), old).ruleset
    for name, table in result.tables.items():
        for chain in table.chains.values():
            before = old.tables[name].chains.get(chain.name) if name in old.tables else None
            if before is None:
                continue
            had, has = counted(before.rules), counted(chain.rules)
            for text in had.keys() & has.keys():
                common = min(had[text].total(), has[text].total())
                assert (has[text] & had[text]).total() >= common


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_kept_and_moved_rules_carry_their_own_counters(pair: tuple[State, State]) -> None:
    """Rule by rule: those that stayed, in order, and those that the difference says moved."""
    old, new = (state.load(BINDER) for state in pair)
    found = api.diff(old, new)
    result = applied(found.script(), old).ruleset
    changed = {(t.name, c.name): c for t, c in found.chains()}
    for name, table in result.tables.items():
        for chain in table.chains.values():
            difference = changed.get((name, chain.name))
            there = old.tables.get(name)
            before = there.chains.get(chain.name) if there is not None else None
            if difference is not None:
                before = difference.old
            rules = () if difference is None else difference.rules
            gone = {r.old_number for r in rules}
            came = {r.new_number: r for r in rules}
            stayed = [r for n, r in enumerate(before.rules if before else (), 1) if n not in gone]
            expected = []
            for number in range(1, len(chain.rules) + 1):
                change = came.get(number)
                if change is None:
                    expected.append(stayed.pop(0).counters)
                elif change.change == "moved" and change.old is not None:
                    expected.append(change.old.counters)
                else:
                    expected.append((0, 0))
            assert not stayed
            assert [r.counters for r in chain.rules] == expected


@given(pairs())
@settings(max_examples=50, deadline=None)
def test_with_counters_compared_the_script_makes_them_too(pair: tuple[State, State]) -> None:
    old, new = (state.load(BINDER) for state in pair)
    result = applied(api.diff(old, new, counters=True).script(), old).ruleset
    assert api.diff(result, new, counters=True).same
    for name, table in new.tables.items():
        for chain in table.chains.values():
            there = result.tables[name].chains[chain.name] if name in result.tables else None
            if there is None:
                assert not chain.rules
                continue
            assert there.counters == chain.counters
            assert [r.counters for r in there.rules] == [r.counters for r in chain.rules]


@given(pairs())
@settings(max_examples=50, deadline=None)
def test_what_one_binder_read_and_what_two_read_compare_alike(pair: tuple[State, State]) -> None:
    """But for which of several equal rules, written in different ways, is called the new one."""
    old, new = pair
    together = api.diff(old.load(BINDER), new.load(BINDER))
    apart = api.diff(old.load(Binder()), new.load(Binder()))
    assert together.same == apart.same
    for change in ("added", "removed"):
        counts = [found.summary()["rules"] for found in (together, apart)]
        assert counts[0][change] + counts[0]["edited"] == counts[1][change] + counts[1]["edited"]


@given(pairs())
@settings(max_examples=50, deadline=None)
def test_numbers_and_rules_of_a_difference_are_those_of_the_chains(pair: tuple[State, State]) -> None:
    old, new = (state.load(BINDER) for state in pair)
    for _, chain in api.diff(old, new, counters=True).chains():
        for rule in chain.rules:
            assert (rule.old is None) == (rule.old_number is None) == (rule.change == "added")
            assert (rule.new is None) == (rule.new_number is None) == (rule.change == "removed")
            if rule.old_number is not None and chain.old is not None:
                assert chain.old.rules[rule.old_number - 1] is rule.old
            if rule.new_number is not None and chain.new is not None:
                assert chain.new.rules[rule.new_number - 1] is rule.new
        numbers = [r.new_number for r in chain.rules if r.new_number is not None]
        assert numbers == sorted(set(numbers))


@given(pairs())
@settings(max_examples=50, deadline=None)
def test_text_and_json_say_something_just_when_there_is_a_difference(pair: tuple[State, State]) -> None:
    old, new = (state.load(BINDER) for state in pair)
    found = api.diff(old, new)
    assert found.same == (shape_of(old) == shape_of(new))
    assert bool(found.text()) is not found.same
    document = json.loads(json.dumps(found.document()))
    assert document["same"] is found.same
    assert document["schema"] == "iptkit-diff/1"
    plain = found.text(color=True)
    assert plain.count("\x1b[0m") * 2 == plain.count("\x1b[")


@given(states())
@settings(max_examples=50, deadline=None)
def test_a_ruleset_and_itself_are_the_same(state: State) -> None:
    found = api.diff(state.load(BINDER), state.load(BINDER), counters=True)
    assert found.same
    assert found.text() == ""
    assert all(line.startswith("#") for line in found.script().splitlines())


def counted(rules: list[Rule]) -> dict[str, Counter[tuple[int, int]]]:
    found: dict[str, Counter[tuple[int, int]]] = {}
    for rule in rules:
        found.setdefault(rule.text(), Counter())[rule.counters] += 1
    return found
