"""The pipelines as plain functions: what the commands call, and `import iptkit` offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.ruleset.binding import Binder
from iptkit.ruleset.interpret import Outcome
from iptkit.ruleset.interpret import interpret as _interpret
from iptkit.syntax.document import ChainLine, CommitLine
from iptkit.syntax.parser import parse as _parse
from iptkit.text.diagnostic import BOTH, Diagnostic, RulesetError, Severity, Span
from iptkit.text.source import Source
from iptkit.text.uncollected import Uncollected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from iptkit.diff.model import Difference
    from iptkit.evaluator.impact import Ends, Impact
    from iptkit.evaluator.scenario import Loaded
    from iptkit.evaluator.session import Session
    from iptkit.evaluator.topology import Topology
    from iptkit.kernel.backend import Backend
    from iptkit.kernel.errors import KernelError
    from iptkit.kernel.plan import Plan
    from iptkit.kernel.transaction import Transaction
    from iptkit.lint.fixes import Fixed
    from iptkit.ruleset.model import Ruleset
    from iptkit.syntax.document import Document
    from iptkit.values.context import Family, Names


def parse(data: bytes | str, name: str = "<string>") -> Document:
    """The lossless tree of a text.  Never raises; `parse(x).text()` is x (as Latin-1)."""
    return _parse(Source.of(data, name))


def parse_source(source: Source) -> Document:
    """`parse` for a Source at hand."""
    return _parse(source)


def has_counters(document: Document) -> bool:
    """Can the document be read with -c?  Not where a policy stands without counters: that is refused."""
    return not any(
        isinstance(line, ChainLine) and line.policy not in (None, "-") and line.counters is None
        for line in document.lines
    )


def canonical(document: Document, outcome: Outcome, *, counters: bool, keep_comments: bool = False) -> str:
    """A document that was interpreted on an empty base, in canonical form (Latin-1).

    Each table is what iptables-save prints; the tables stay in the order of
    the document, so that doing it twice changes nothing more.
    """
    from iptkit.ruleset.canonical import comments_of, save_table

    comments = comments_of(document, outcome) if keep_comments else None
    out: list[str] = []
    for name in outcome.tables:
        out += save_table(outcome.ruleset.tables[name], counters=counters, comments=comments)
    if comments is not None:
        out += comments.rest
    return "".join(line + "\n" for line in out)


def interpret(
    document: Document,
    family: Family = 4,
    *,
    base: Ruleset | None = None,
    noflush: bool = False,
    counters: bool = False,
    table: str | None = None,
    names: Names | None = None,
    plugins: frozenset[str] = frozenset(),
    binder: Binder | None = None,
) -> Outcome:
    """What a document does to a state, and everything iptables-restore would refuse in it.

    `binder` may be given to share what was learnt from other files of the family.
    """
    binder = binder or Binder(family, names, plugins)
    return _interpret(document, binder, base=base, noflush=noflush, counters=counters, table=table)


def lint(
    text: Document | Source,
    binder: Binder | None = None,
    family: Family = 4,
    *,
    noflush: bool = False,
    backends: tuple[str, ...] = BOTH,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
) -> list[Diagnostic]:
    """What is to be said about a ruleset, parsed or not, in the order of its lines.

    A large one is read and looked at in shares: parsed before, it is parsed twice.

    `binder` may be given to share what was learnt from other files of the
    family, which is then the binder's.  `noflush` says the file is meant for
    `--noflush`; `backends` for which of "legacy" and "nft": errors that are
    none there are left out.  `select` and `ignore` name checks by code
    (IPT209), the beginning of one (IPT2) or name (host-bits-set); nothing
    selected selects all.  Comments in the file may silence findings, see
    iptkit.lint.suppress.

    Raises UnknownCheck (an IptkitError) where a selection names no check.
    """
    from iptkit.lint.engine import run
    from iptkit.lint.select import Selection

    return run(
        text,
        binder or Binder(family),
        noflush=noflush,
        backends=backends,
        selection=Selection(select, ignore),
    )


def lint_texts(
    text: Document | Source,
    binder: Binder | None = None,
    family: Family = 4,
    *,
    noflush: bool = False,
    backends: tuple[str, ...] = BOTH,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    color: bool = False,
) -> list[str]:
    """What `lint` finds, each finding as text for a person: lines, each with its line feed.

    `color` puts SGR codes in.  Raises as `lint` does.
    """
    from iptkit.lint.engine import told
    from iptkit.lint.select import Selection

    return told(
        text,
        binder or Binder(family),
        lambda source, found: texts(source, found, color),
        noflush=noflush,
        backends=backends,
        selection=Selection(select, ignore),
    )


def texts(source: Source, found: list[Diagnostic], color: bool = False) -> list[str]:
    """Findings about a source, each as text for a person: lines, each with its line feed."""
    if not found:
        return []  # nothing to import then
    from iptkit.report import text as report

    return report.texts(source, found, color)


def fix(
    document: Document,
    family: Family = 4,
    *,
    unsafe: bool = False,
    noflush: bool = False,
    backends: tuple[str, ...] = BOTH,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
) -> Fixed:
    """The text of a document after its findings were cured as far as they can be, and what is left of them.

    Safe fixes leave what the file does as it is (or make of a file that is
    refused what was plainly meant); `unsafe` takes the others as well.  The
    rest is as for `lint`.  Text is Latin-1, a character a byte.
    """
    from iptkit.lint.cures import with_cures
    from iptkit.lint.fixes import Look
    from iptkit.lint.fixes import fix as cure
    from iptkit.ruleset.canonical import save as lines

    selected, ignored = list(select), list(ignore)

    def look(text: str) -> Look:
        now = parse_source(Source(document.source.name, text))
        found = lint(now, None, family, noflush=noflush, backends=backends, select=selected, ignore=ignored)
        outcome = interpret(now, family, noflush=noflush)
        effect = None if outcome.status else list(lines(outcome.ruleset))
        return Look(with_cures(found, text), effect)

    return cure(document.source.text, look, unsafe=unsafe)


def load(data: bytes | str, family: Family = 4, *, name: str = "<string>", counters: bool = True) -> Ruleset:
    """The ruleset a text stands for, loaded into an empty kernel.

    Raises RulesetError, with all diagnostics, where the real tool would refuse it.
    """
    with Uncollected():  # or all that was parsed would be looked through before it is interpreted
        outcome = interpret(parse(data, name), family, counters=counters)
    if outcome.status:
        raise RulesetError(tuple(outcome.diagnostics))
    return outcome.ruleset


def save(ruleset: Ruleset, *, counters: bool = False, tables: tuple[str, ...] | None = None) -> str:
    """The ruleset as iptables-save prints it, without the comment lines around each table (Latin-1)."""
    from iptkit.ruleset.canonical import save as lines

    return "".join(line + "\n" for line in lines(ruleset, counters=counters, tables=tables))


def diff(
    old: Ruleset, new: Ruleset, *, counters: bool = False, tables: Iterable[str] | None = None
) -> Difference:
    """What differs between two rulesets of one family: rules by what they say, wherever they stand.

    `counters` compares the counters of rules and policies too; `tables` names
    the only tables to look at.  The result's `same` tells whether anything
    differs; `text()`, `document()` and `script()` give it to people, as JSON
    and as input for `iptables-restore --counters --noflush`.  Raises
    IptkitError for rulesets of different families.
    """
    from iptkit.diff.compare import compare

    return compare(old, new, counters=counters, tables=tables)


def live(family: Family = 4, *, backend: str = "auto", state: str | None = None) -> Ruleset:
    """The rules in use.  Raises KernelError where they cannot be read."""
    from iptkit.kernel.choose import open_backend

    opened = open_backend(backend, family, state=state)
    return opened.state(_binder_for(opened, family, None, frozenset()), rules=True)


def _binder_for(backend: Backend, family: Family, names: Names | None, plugins: frozenset[str]) -> Binder:
    """A binder for rules of this machine's kernel knows the names and the plugins of the machine."""
    if backend.name in ("legacy", "nft"):
        from iptkit.kernel.machine import machine_names, plugin_names

        names = names or machine_names()
        plugins = plugins or plugin_names(family)
    return Binder(family, names, plugins)


def save_live(
    family: Family = 4,
    *,
    backend: str = "auto",
    state: str | None = None,
    counters: bool = False,
    table: str | None = None,
    reproducible: bool = False,
    now: str | None = None,
    generator: str = "",
) -> str:
    """The rules in use as iptables-save prints them (Latin-1).

    Where `now` gives a date, its comment lines stand around each table, naming
    `generator`.  A `table` that is not in use is printed as it would be made.
    Raises KernelError; NoSuchTable where there cannot be such a table.
    """
    from iptkit.extensions.core import BUILTIN_CHAINS
    from iptkit.kernel.errors import NoSuchTable
    from iptkit.ruleset.canonical import save_table
    from iptkit.ruleset.model import Table

    if table is not None and table not in BUILTIN_CHAINS:
        raise NoSuchTable(f"there is no table {table!r}: {', '.join(BUILTIN_CHAINS)}")
    ruleset = live(family, backend=backend, state=state)
    if table is not None:
        ruleset.tables = {table: ruleset.tables.get(table) or Table.fresh(table)}
    generator = generator or f"{'ip6tables' if family == 6 else 'iptables'}-save v1.8.9 (iptkit)"
    names = list(reversed(ruleset.tables))
    if reproducible:
        names.sort(key=list(BUILTIN_CHAINS).index)
    out: list[str] = []
    for name in names:
        if now is not None:
            out.append(f"# Generated by {generator} on {now}")
        out += save_table(ruleset.tables[name], counters=counters)
        if now is not None:
            out.append(f"# Completed on {now}")
    return "".join(line + "\n" for line in out)


def restore_source(
    source: Source,
    family: Family = 4,
    *,
    backend: str = "auto",
    state: str | None = None,
    noflush: bool = False,
    counters: bool = False,
    table: str | None = None,
    test: bool = False,
    look: bool = False,
    per_table: bool = False,
    wait: float | None = 0,
    interval: int | None = None,
    names: Names | None = None,
    plugins: frozenset[str] = frozenset(),
    keep: bool = True,
    confirm: float | None = None,
) -> Transaction:
    """`restore` for a Source at hand; `look` and `keep` as in iptkit.kernel.transaction.restore.

    `confirm` is a number of seconds after which the rules of before come back,
    unless iptkit.kernel.confirm.confirm is called; it excludes `per_table`.
    """
    from iptkit.kernel import transaction
    from iptkit.kernel.backend import CommitError
    from iptkit.kernel.choose import open_backend
    from iptkit.kernel.memory import MemoryBackend

    opened = open_backend(backend, family, state=state, wait=wait, interval=interval)
    if isinstance(opened, MemoryBackend):
        opened.judge = _judge
    try:
        return transaction.restore(
            source,
            _binder_for(opened, family, names, plugins),
            opened,
            noflush=noflush,
            counters=counters,
            table=table,
            test=test,
            look=look,
            per_table=per_table,
            keep=keep,
            confirm=confirm,
        )
    except CommitError as error:
        if not error.line and error.table:
            error.findings = tuple(_reasons(source, family, opened.name, noflush, error.table))
            error.line = error.findings[0].span.line if error.findings else 0
        raise


def _judge(plan: Plan) -> list[Diagnostic]:
    """What a kernel would refuse of a plan."""
    from iptkit.kernel.plan import table_at

    script = plan.script
    names = [table.name for table in plan.tables]
    found = _refusals(_parse(script.source), plan.family, "legacy", script.noflush)
    return [
        each
        for each in found
        if each.span.line <= script.end and table_at(script.source, each.span.line) in names
    ]


# What iptables itself decides is none of the kernel's reasons, and with --noflush the file does not tell it.
_DECIDED = ("IPT101", "IPT103", "IPT104", "IPT106", "IPT107")


def _refusals(document: Document, family: Family, backend: str, noflush: bool) -> list[Diagnostic]:
    """What lint says a kernel refuses of a document that iptables takes."""
    found = lint(
        document, None, family, noflush=noflush, backends=(backend,), select=("IPT1",), ignore=_DECIDED
    )
    return [each for each in found if each.severity is Severity.ERROR]


def _reasons(source: Source, family: Family, backend: str, noflush: bool, table: str) -> list[Diagnostic]:
    """Why a kernel refused a table: what lint says of it, what this kernel lacks, or the objects it names."""
    from iptkit.kernel.plan import table_at

    document = _parse(source)
    outcome = interpret(document, family, noflush=noflush)

    def inside(found: list[Diagnostic]) -> list[Diagnostic]:
        return [each for each in found if table_at(source, each.span.line) == table]

    found = inside(_refusals(document, family, backend, noflush))
    if not found and backend == "legacy" and table in outcome.ruleset.tables:
        from iptkit.kernel.legacy import unknown_extensions

        found = [
            Diagnostic(
                "IPT141",
                "needs-object",
                Severity.ERROR,
                lacks,
                Span(rule.line.number, 0, len(rule.line.raw)),
                backends=(backend,),
            )
            for rule, lacks in unknown_extensions(outcome.ruleset.tables[table], family)
        ]
    return found or inside(lint(document, None, family, noflush=noflush, select=("IPT141",)))


def restore(data: bytes | str, family: Family = 4, *, name: str = "<string>", **options: Any) -> Transaction:
    """Load a text into a backend: all of it or nothing.

    `options` are those of `restore_source`: backend, state, noflush, counters,
    table, test, per_table, wait, interval, names, plugins, confirm.  Raises
    RulesetError where the text is refused, KernelError where the backend fails.
    """
    done = restore_source(Source.of(data, name), family, **options)
    if done.outcome.status:
        raise RulesetError(tuple(done.outcome.diagnostics))
    return done


def plan(data: bytes | str, family: Family = 4, *, name: str = "<string>", **options: Any) -> Plan:
    """What `restore` would do, and do not do it.  Raises as `restore` does."""
    done = restore(data, family, name=name, **{**options, "look": True})
    assert done.plan is not None  # a text that is not refused has one
    return done.plan


def exit_status(error: KernelError) -> int:
    """The exit status iptables-restore has for such a failure: 4 for the lock and resources, mostly 1."""
    from iptkit.kernel.lock import LockError

    return 4 if isinstance(error, LockError) else getattr(error, "status", 1)


def load_for_packets(
    text: str, family: Family = 4, base: Ruleset | None = None, counters: bool = False
) -> Loaded:
    """A ruleset to send packets through: what iptables-legacy-restore and a kernel make of a text.

    `base` is the state before.  Where either refuses it, the result has no
    ruleset, but the exit status and the words of the real tool.
    """
    from iptkit.evaluator.scenario import Loaded

    document = _parse(Source.of(text, "rules"))
    outcome = interpret(document, family, base=base, counters=counters)
    program = "iptables-restore" if family == 4 else "ip6tables-restore"
    tables = tuple(outcome.tables)
    if outcome.status == 1:
        return Loaded(None, tables, 1, f"{program}: line {outcome.line} failed")
    if outcome.status:
        first = next(each for each in outcome.diagnostics if each.severity is Severity.ERROR)
        message = (
            f"{program} v1.8.9 (legacy): {first.message}\n\nError occurred at line: {outcome.line}\n"
            f"Try `{program} -h' or '{program} --help' for more information."
        )
        return Loaded(None, tables, outcome.status, message)
    refused = _refusals(document, family, "legacy", noflush=False)
    if refused:
        line = refused[0].span.line
        commits = [each.number for each in document.lines if isinstance(each, CommitLine)]
        line = next((number for number in commits if number >= line), line)
        return Loaded(None, tables, 1, f"{program}: line {line} failed")
    return Loaded(outcome.ruleset, tables)


def save_for_packets(ruleset: Ruleset, tables: tuple[str, ...]) -> str:
    """These tables as iptables-save prints them, in this order, with counters of zero and no comments."""
    import re

    text = "".join(save(ruleset, tables=(name,)) for name in tables if name in ruleset.tables)
    return re.sub(r" \[[0-9]+:[0-9]+\]$", " [0:0]", text, flags=re.MULTILINE)


def run_scenario(record: object) -> dict[str, Any]:
    """Run a scenario, an object as iptkit-eval(1) describes it, and give the record of what happens.

    Raises BadField (an IptkitError) for a scenario that makes no sense.
    """
    from iptkit.evaluator.scenario import Scenario

    return Scenario(record, load_for_packets, save_for_packets).run()


def packet_session(
    ruleset: Ruleset,
    *,
    topology: Topology | None = None,
    sysctls: Mapping[str, int] | None = None,
    sets: str = "",
    connections: Iterable[str] = (),
    now: float = 0.0,
    why_not: bool = False,
) -> Session:
    """A machine with these rules, to send packets through, see iptkit.evaluator.session.

    `topology` is its surroundings (None: a firewall between two networks),
    `sysctls` what differs from the defaults, `sets` what `ipset save` printed,
    `connections` the lines of /proc/net/nf_conntrack or `conntrack -L`, `now`
    its clock in seconds since the epoch.  Raises BadField (an IptkitError)
    where one of them makes no sense.
    """
    from iptkit.conntrack import dump
    from iptkit.conntrack.settings import Settings
    from iptkit.evaluator.machine import Machine
    from iptkit.evaluator.session import Session
    from iptkit.evaluator.wire import BadField

    settings = Settings({"nf_conntrack_acct": 1})
    if sets:
        from iptkit.extensions.sets import read_sets

        loaded = read_sets(sets, now)
    machine = Machine(ruleset, topology, settings=settings)
    machine.now = now
    machine.tracing = True
    machine.why_not = [] if why_not else None
    if sets:
        machine.sets = loaded
    for name, value in (sysctls or {}).items():
        try:
            machine.set_sysctl(name, value)
        except KeyError:
            raise BadField("sysctl", f"{name} is none that decides about packets") from None
    try:
        for entry in dump.read(connections, now):
            if machine.tracker.insert(entry):
                machine.translator.adopt(entry)
    except dump.BadLine as bad:
        raise BadField("conntrack", str(bad)) from None
    return Session(machine)


def impact(
    before: Ruleset,
    after: Ruleset,
    connections: Iterable[str],
    *,
    topology: Topology | None = None,
    now: float = 0.0,
    own: Ends | None = None,
) -> Impact:
    """Which connections of a dump would fare otherwise under new rules, see iptkit.evaluator.impact.

    `connections` and `topology` are as for `packet_session`; `own` are the ends
    of the caller's own session, which comes first.  Raises BadField.
    """
    from iptkit.evaluator.impact import Impact, changes

    lines = list(connections)
    old, new = (
        packet_session(ruleset, topology=topology, connections=lines, now=now).worlds[0].machine
        for ruleset in (before, after)
    )
    return Impact(new, changes(old, new, own))
