"""Small rulesets, and edited copies of them, for the tests of diff."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st

from iptkit import api
from iptkit.ruleset.binding import Binder

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

    from iptkit.ruleset.model import Rule, Ruleset

BUILTIN = {"filter": ("INPUT", "FORWARD", "OUTPUT"), "raw": ("PREROUTING", "OUTPUT")}
USER = ("a", "b", "c", "web", "deny")
# No interfaces: iptables refuses -o in INPUT and the like.
CONDITIONS = (
    "",
    " -s 10.0.0.0/8",
    " --source 10.9.9.9/255.0.0.0",
    " -s 10.1.2.3/32",
    " ! -d 192.168.0.0/16",
    " -p tcp",
    " -p tcp -m tcp --dport 22",
    " -p tcp --dport 22",
    " -s 0/0 -p 6 --destination-port ssh",
    " -p tcp -m tcp --dport 80",
    " -p udp",
    ' -m comment --comment "two words"',
    " -s 10.0.0.0/8 -p tcp -m tcp --dport 443 -m comment --comment web",
)
VERDICTS = (" -j ACCEPT", " -j DROP", " -j RETURN", "")


class Written(NamedTuple):
    """A rule as text, after `-A CHAIN`, and its counters."""

    text: str
    counters: tuple[int, int] = (0, 0)


class State(NamedTuple):
    """A ruleset to be written down: table -> policies and chains."""

    policies: dict[str, dict[str, tuple[str, tuple[int, int]]]]
    chains: dict[str, dict[str, list[Written]]]

    def text(self) -> str:
        lines = []
        for table, chains in self.chains.items():
            lines.append(f"*{table}")
            for name in chains:
                policy = self.policies[table].get(name)
                if policy is None:
                    lines.append(f":{name} - [0:0]")
                else:
                    lines.append(f":{name} {policy[0]} [{policy[1][0]}:{policy[1][1]}]")
            for name, rules in chains.items():
                lines += [f"[{r.counters[0]}:{r.counters[1]}] -A {name}{r.text}" for r in rules]
            lines.append("COMMIT")
        return "".join(line + "\n" for line in lines)

    def load(self, binder: Binder | None = None, *, counters: bool = True) -> Ruleset:
        outcome = api.interpret(api.parse(self.text()), counters=counters, binder=binder)
        assert not outcome.status, outcome.diagnostics
        return outcome.ruleset


def settled(state: State) -> State:
    """Without jumps to chains that are not there, or that would make a loop."""
    chains = {}
    for table, by_name in state.chains.items():
        chains[table] = {
            name: [
                r
                for r in rules
                if (goal := jump_of(r.text)) is None
                or (goal in by_name and (name not in USER or USER.index(goal) > USER.index(name)))
            ]
            for name, rules in by_name.items()
        }
    return State(state.policies, chains)


def jump_of(text: str) -> str | None:
    """The user chain that a rule of ours jumps to."""
    words = text.split()
    return words[-1] if len(words) > 1 and words[-2] in ("-j", "-g") and words[-1] in USER else None


counts = st.tuples(st.integers(0, 9), st.integers(0, 2**64 - 1))
written = st.builds(
    Written,
    st.builds(
        str.__add__,
        st.sampled_from(CONDITIONS),
        st.sampled_from((*VERDICTS, *(f" -j {name}" for name in USER), " -g deny")),
    ),
    counts,
)
policies = st.tuples(st.sampled_from(("ACCEPT", "DROP")), counts)


@st.composite
def states(draw: DrawFn) -> State:
    tables = draw(st.lists(st.sampled_from(tuple(BUILTIN)), min_size=1, unique=True))
    chains = {}
    named = {}
    for table in tables:
        users = draw(st.lists(st.sampled_from(USER), max_size=4, unique=True))
        rules = st.lists(written, max_size=8)
        chains[table] = {name: draw(rules) for name in (*BUILTIN[table], *users)}
        named[table] = {name: draw(policies) for name in BUILTIN[table]}
    return settled(State(named, chains))


@st.composite
def edited(draw: DrawFn, state: State) -> State:
    """The state after a few changes of every kind."""
    chains = {t: {n: list(rules) for n, rules in by.items()} for t, by in state.chains.items()}
    named = {t: dict(by) for t, by in state.policies.items()}
    for _ in range(draw(st.integers(0, 6))):
        table = draw(st.sampled_from(tuple(BUILTIN)))
        if table not in chains:
            chains[table] = {name: [] for name in BUILTIN[table]}
            named[table] = dict.fromkeys(BUILTIN[table], ("ACCEPT", (0, 0)))
        name = draw(st.sampled_from(tuple(chains[table])))
        rules = chains[table][name]
        match draw(st.sampled_from(("add", "remove", "move", "edit", "policy", "chain", "drop", "table"))):
            case "add":
                rules.insert(draw(st.integers(0, len(rules))), draw(written))
            case "remove" if rules:
                del rules[draw(st.integers(0, len(rules) - 1))]
            case "move" if rules:
                rule = rules.pop(draw(st.integers(0, len(rules) - 1)))
                rules.insert(draw(st.integers(0, len(rules))), rule)
            case "edit" if rules:
                rules[draw(st.integers(0, len(rules) - 1))] = draw(written)
            case "policy" if name not in USER:
                named[table][name] = draw(policies)
            case "chain":
                new = draw(st.sampled_from(USER))
                if name in USER and new not in chains[table]:
                    chains[table][new] = chains[table].pop(name)  # a new name for it
                else:
                    chains[table].setdefault(new, draw(st.lists(written, max_size=4)))
            case "drop" if name in USER:
                del chains[table][name]
            case "table":
                del chains[table], named[table]
            case _:
                pass
    return settled(State(named, chains))


@st.composite
def pairs(draw: DrawFn) -> tuple[State, State]:
    """An old and a new state: mostly an edited copy, at times quite another."""
    old = draw(states())
    return old, draw(states() if draw(st.integers(0, 9)) == 0 else edited(old))


Chains = dict[str, tuple[str | None, list[str]]]


def shape_of(ruleset: Ruleset) -> dict[str, Chains]:
    """Tables, chains, policies and rules as text; a table as the kernel makes it is none."""
    found: dict[str, Chains] = {}
    for name, table in ruleset.tables.items():
        chains: Chains = {c.name: (c.policy, texts(c.rules)) for c in table.chains.values()}
        if chains != {c: ("ACCEPT", []) for c in BUILTIN[name]}:
            found[name] = chains
    return found


def texts(rules: list[Rule]) -> list[str]:
    return [rule.text() for rule in rules]
