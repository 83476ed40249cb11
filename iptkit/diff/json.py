"""A difference as one JSON document.

    {"schema": "iptkit-diff/1", "family": 4, "old": "a.save", "new": "b.save",
     "same": false, "counters": false, "summary": {...}, "tables": [...]}

The schema's number changes when a field changes its meaning or goes; new
fields may come at any time.

table    `name`, `change` (added, removed, changed), `chains`
chain    `name`, `change` (added, removed, renamed, changed), `old_name` (what
         it was called, if renamed), `policy` and `policy_counters` (null, or
         `old` and `new`, where they differ), `rules`
rule     `change` (added, removed, edited, moved, counters), `old` and `new`
         (null, or `number` in the chain, `line` of the file, the `rule` as
         iptables-save prints it), `words` (of an edited rule: runs of words as
         [same | removed | added, text], else null)
counters `packets` and `bytes`; rules have them when `counters` is true, else
         null

Numbers and lines count from 1.  Bytes that are no UTF-8 or cannot be printed
stand escaped, as `\\xNN`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.diff.words import changed_words
from iptkit.text.source import shown

if TYPE_CHECKING:
    from iptkit.diff.model import ChainDifference, Difference, RuleDifference
    from iptkit.ruleset.model import Counters, Rule

SCHEMA = "iptkit-diff/1"


def document(difference: Difference, old: str, new: str) -> dict[str, Any]:
    """The document; `old` and `new` are the names of the two sides.  Ready for `json.dumps`."""
    counters = difference.counters
    return {
        "schema": SCHEMA,
        "family": difference.new.family,
        "old": _name(old),
        "new": _name(new),
        "same": difference.same,
        "counters": counters,
        "summary": difference.summary(),
        "tables": [
            {
                "name": table.name,
                "change": table.change,
                "chains": [_chain(chain, counters) for chain in table.chains],
            }
            for table in difference.tables
        ],
    }


def _name(name: str) -> str:
    return shown(name.encode("utf-8", "surrogateescape").decode("latin-1"))


def _chain(chain: ChainDifference, counters: bool) -> dict[str, Any]:
    policies = chain.policies
    counted = chain.counters if counters else None
    renamed = chain.old.name if chain.change == "renamed" and chain.old is not None else None
    return {
        "name": shown(chain.name),
        "change": chain.change,
        "old_name": None if renamed is None else shown(renamed),
        "policy": None if policies is None else {"old": policies[0], "new": policies[1]},
        "policy_counters": (
            None if counted is None else {"old": _counters(counted[0]), "new": _counters(counted[1])}
        ),
        "rules": [_rule(chain, rule, counters) for rule in chain.rules],
    }


def _rule(chain: ChainDifference, found: RuleDifference, counters: bool) -> dict[str, Any]:
    old, new = found.old, found.new
    changed = None
    if found.change == "edited" and old is not None and new is not None:
        changed = [[what, shown(text)] for what, text in changed_words(old.text(), new.text())]
    name = chain.name if chain.old is None else chain.old.name
    return {
        "change": found.change,
        "old": None if old is None else _side(name, found.old_number, old, counters),
        "new": None if new is None else _side(chain.name, found.new_number, new, counters),
        "words": changed,
    }


def _side(chain: str, number: int | None, rule: Rule, counters: bool) -> dict[str, Any]:
    return {
        "number": number,
        "line": rule.line.number,
        "rule": shown(f"-A {chain}{rule.text()}"),
        "counters": _counters(rule.counters) if counters else None,
    }


def _counters(counters: Counters) -> dict[str, int]:
    return {"packets": counters[0], "bytes": counters[1]}
