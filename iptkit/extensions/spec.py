"""How an extension is declared.

A match or target is one class: its options are class attributes, in the order
iptables-save prints them, and what cannot be declared is a small method.

    class Mark(Match, name="mark"):
        \"\"\"Match the packet's netfilter mark. ...\"\"\"

        revision = 1
        mark = Option("--mark", type=MarkMask(), invert=True, required=True)
        layout = Layout(U32Pair("mark"), Inverted("B", mark=1), size=12)

Reading, printing, help, manual page and the struct the kernel takes are
derived from that.  An instance is one use of the extension in a rule: it is
immutable and equal to any other that means the same.

Terms follow libxtables (include/xtables.h): `required` is XTOPT_MAND, `multi`
XTOPT_MULTI, `excludes` and `needs` are excl and also.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, overload

from iptkit.extensions.world import Unknown
from iptkit.text.record import NamedTuple
from iptkit.values.faults import BadValue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.layout import Layout
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

TABLES = ("filter", "nat", "mangle", "raw", "security")
HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
INVERTED_PROTOCOL = 0x40  # XT_INV_PROTO, linux/netfilter/x_tables.h


class ValueType(Protocol[T]):
    """The values of one option: text to value and back.

    `parse` raises ValueError with a message that fits after "--option: " (a
    BadValue may carry a code and a hint).  `show` gives the words iptables-save
    prints, quotes included.  Values are hashable.  `words` is how many words
    the option takes; with more than one `parse` gets them as a tuple.  A type
    that takes any text may say `lazy = True`: then a word is read only when
    somebody asks for it.
    A type whose value may be left out says `optional = True`; `parse` gets () then.

    A type of which files have thousands of different values may have a method
    `usual(context)`.  It gives a function that is true for words that are
    surely good, saved as they are written, and nothing a lint check of single
    values speaks about: such words need not be read to know that all is well.
    """

    metavar: str
    words: int
    code: str  # lint code of a refusal

    def parse(self, text: Any, context: Context) -> T: ...
    def show(self, value: T) -> str: ...


class Option(Generic[T]):
    """One option of an extension.

    names     the first is what iptables-save prints, the others are aliases
    type      of its value; None for an option without one (its value is True)
    invert    may stand after `!`
    required  must be given
    multi     may be given more than once; the later value counts, unless the
              extension's `settle` joins them
    excludes  fields of options it cannot stand with
    needs     fields of options it cannot stand without
    doc       one line for help and manual
    """

    __slots__ = ("doc", "excludes", "field", "index", "invert", "multi", "names", "needs", "required", "type")

    def __init__(
        self,
        *names: str,
        type: ValueType[T] | None = None,  # noqa: A002  # reads best at the declaration
        invert: bool = False,
        required: bool = False,
        multi: bool = False,
        excludes: tuple[str, ...] = (),
        needs: tuple[str, ...] = (),
        doc: str = "",
    ) -> None:
        self.names = names
        self.type = type
        self.invert = invert
        self.required = required
        self.multi = multi
        self.excludes = excludes
        self.needs = needs
        self.doc = doc
        self.field = ""
        self.index = -1

    def __set_name__(self, owner: type, name: str) -> None:
        self.field = name

    @property
    def flag(self) -> str:
        return self.names[0]

    @overload
    def __get__(self, use: None, owner: type) -> Self: ...
    @overload
    def __get__(self, use: Extension, owner: type) -> T | None: ...
    def __get__(self, use: Extension | None, owner: type) -> Self | T | None:
        if use is None:
            return self
        found: T | None = use.values[self.index]
        return found


class Flag(Option[bool]):
    """An option without a value: True where it is given."""

    __slots__ = ()


class Given(NamedTuple):
    """One option as it was written: its value, and whether `!` stood before it.

    `place` counts the extension's options in the order written; `earlier` has
    the same option where it was given before (`multi`).
    """

    value: Any
    inverted: bool
    place: int = 0
    earlier: tuple[Given, ...] = ()


class Problem(NamedTuple):
    """Something wrong with an extension's options taken together."""

    message: str
    field: str = ""  # the option to point at; "" for the extension's name
    code: str = "IPT129"
    hint: str = ""
    backends: tuple[str, ...] = ()  # who refuses, when not all do


class RuleFacts(NamedTuple):
    """What an extension may know of the rule it stands in."""

    family: Family
    protocol: int  # 0: any
    protocol_inverted: bool
    # The same as it stood when the extension's last option with a value was read:
    # some extensions look then, so that `-p` must come first.
    protocol_then: int
    protocol_then_inverted: bool
    matches: tuple[Extension, ...]  # the rule's matches, when all are read


class PortsAsked(NamedTuple):
    """Ranges that a port has to be in, both their ends too; `inverted`: has to be in none of."""

    ranges: tuple[tuple[int, int], ...]
    inverted: bool


class Place(NamedTuple):
    """Where the kernel lets an extension stand.

    A wrong table is refused in every chain.  A wrong hook is refused where the
    chain can be reached from it; `nft_user_chains` is False where nf_tables
    does not look at the hooks of rules in user chains, `nft_tables` what it
    takes where that differs.
    """

    tables: tuple[str, ...] = TABLES
    hooks: tuple[str, ...] = HOOKS
    nft_user_chains: bool = True
    nft_tables: tuple[str, ...] = ()


class Extension:
    """One use of a match or target: base of all of them."""

    __slots__ = ("_text", "inverted", "values")

    name: ClassVar[str]
    kind: ClassVar[str]
    families: ClassVar[tuple[Family, ...]] = (4, 6)
    aliases: ClassVar[tuple[str, ...]] = ()  # other names that load it: `icmpv6` for `icmp6`
    options: ClassVar[tuple[Option[Any], ...]] = ()
    # At least one, or exactly one, of these fields must be given.
    at_least_one: ClassVar[tuple[str, ...]] = ()
    # Where the kernel lets it stand, and for which -p (numbers; () means any).
    where: ClassVar[Place] = Place()
    protocols: ClassVar[tuple[int, ...]] = ()
    # The kernel's view: struct revision, and the fields of the struct.
    revision: ClassVar[int] = 0
    kernel_name: ClassVar[str] = ""
    layout: ClassVar[Layout | None] = None
    # Nothing about an instance can be wrong that its single values do not show.
    # True unless `settle`, `check` or `within` is there; a class whose `settle`
    # refuses nothing says so itself.
    plain: ClassVar[bool] = True
    # What it answers or does depends on packets before this one: it asks world.memory().
    stateful: ClassVar[bool] = False
    # What checks have to know, and of unknown extensions, too.  Of a match: may it match one packet and
    # not the next like it, since it counts, or looks at a clock or at dice?  Does it do something besides?
    # Does it look at what a target may rewrite while the packet is still in the table?
    changing: ClassVar[bool] = False
    counts: ClassVar[bool] = False
    rewritable: ClassVar[bool] = False
    # And of a target: does no packet come to the next rule?  Does it write a record of the packet and leave
    # it as it is?  Does it go on, and leave the packet, its marks and all sets as they are?
    decides: ClassVar[bool] = False
    logs: ClassVar[bool] = False
    harmless: ClassVar[bool] = False
    # Are uses of one value alike good or bad, whatever the value, so that it is a usual one (see ValueType)?
    usual_alike: ClassVar[bool] = False
    example: ClassVar[str] = ""

    def __init_subclass__(
        cls, *, name: str = "", families: tuple[Family, ...] | None = None, aliases: tuple[str, ...] = ()
    ) -> None:
        if name:
            cls.name = name
            if "kernel_name" not in vars(cls):
                cls.kernel_name = name
        if families is not None:
            cls.families = families
        if aliases:
            cls.aliases = aliases
        bases = reversed(cls.__mro__)
        found = {f: o for base in bases for f, o in vars(base).items() if isinstance(o, Option)}
        cls.options = tuple(found.values())
        for index, option in enumerate(cls.options):
            option.index = index
        if "plain" not in vars(cls):
            cls.plain = not cls.checks() and not cls.settles()

    @classmethod
    def settles(cls) -> bool:
        """Are its options kept otherwise than they are written?"""
        return cls.settle.__func__ is not Extension.settle.__func__  # type: ignore[attr-defined]  # classmethods

    @classmethod
    def checks(cls) -> bool:
        """Does it look at the rule it stands in?"""
        return cls.check is not Extension.check or cls.within is not Extension.within

    def __init__(self, values: tuple[Any, ...], inverted: int = 0) -> None:
        self.values = values
        self.inverted = inverted

    @classmethod
    def of(cls, context: Context | None = None, /, *, inverted: tuple[str, ...] = (), **given: Any) -> Self:
        """Make one from field names and values: `Mark.of(mark=(1, 0xff), inverted=("mark",))`."""
        values = tuple(given.get(o.field) for o in cls.options)
        mask = 0
        for option in cls.options:
            if option.field in inverted:
                mask |= 1 << option.index
        return cls(values, mask)

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        """Turn options as written into options as kept: `--set-mark` into `--set-xmark`, and defaults.

        `given` is in the order written.  Raises BadValue.
        """
        return given

    @classmethod
    def read(cls, given: dict[str, Given], context: Context) -> Self:
        """One use from the options given to it.  Raises BadValue."""
        settled = cls.settle(given, context)
        values = []
        inverted = 0
        for option in cls.options:
            found = settled.get(option.field)
            values.append(None if found is None else found.value)
            if found is not None and found.inverted:
                inverted |= 1 << option.index
        return cls(tuple(values), inverted)

    def within(self, rule: RuleFacts) -> Self:
        """The use as it is in its rule: where a value means what it does only under the rule's -p.

        Raises BadValue.
        """
        return self

    @classmethod
    def missing(cls, present: frozenset[str], protocol: int) -> Iterator[Problem]:
        """Yield what the options present lack or must not have together, beyond what is declared."""
        yield from ()

    def check(self, rule: RuleFacts) -> Iterator[Problem]:
        """Yield what iptables itself refuses about the values taken together, in this rule."""
        yield from ()

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        """Yield what iptables takes and the kernel then refuses, beyond `where` and `protocols`."""
        yield from ()

    def place(self) -> Place:
        """Where this use may stand; `where` unless it depends on the options."""
        return self.where

    def is_inverted(self, field: str) -> bool:
        option: Option[Any] = vars(type(self)).get(field) or getattr(type(self), field)
        return bool(self.inverted >> option.index & 1)

    def unfold(self) -> None:
        """Make each option's value an attribute of its own, which is faster to read.

        For what every packet asks; it takes memory, so that rules which are only read do without.
        """
        if self.options:
            vars(self).update((option.field, self.values[option.index]) for option in self.options)

    def says_nothing(self) -> bool:
        """Does the match let every packet through that its protocol does?  Only a certain yes is one."""
        return False

    def loaded(self, world: World) -> None:
        """What the kernel does when it takes the rule: tables that rules share by name begin here.

        Called for each use in the order of loading, user and built-in chains alike.
        """

    def saved_name(self) -> str:
        """The name iptables-save prints for this use."""
        return self.name

    def save(self) -> Iterator[str]:
        """Yield the words after the name, as iptables-save prints them."""
        bit = 1
        for option, value in zip(self.options, self.values, strict=True):
            if value is not None and value is not False:
                if self.inverted & bit:
                    yield "!"
                yield option.names[0]
                if option.type is not None:
                    yield option.type.show(value)
            bit <<= 1

    def text(self) -> str:
        """`name options`, as iptables-save prints them after -m or -j."""
        try:
            return self._text
        except AttributeError:
            self._text: str = " ".join((self.saved_name(), *self.save()))
            return self._text

    def encode(self, family: Family) -> bytes:
        """The struct the kernel takes, without its header.  Raises BadValue where the values do not fit."""
        if self.layout is None:
            raise BadValue(f"{self.name} has no layout")
        return self.layout.encode(self, family)

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        """What `encode` made, or the kernel holds, back as a use.  Raises BadValue on what it cannot read."""
        if cls.layout is None:
            raise BadValue(f"{cls.name} has no layout")
        return cls.layout.decode(cls, payload, context)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            type(self) is type(other) and self.values == other.values and self.inverted == other.inverted
        )

    def __hash__(self) -> int:
        return hash((type(self), self.values, self.inverted))

    def __repr__(self) -> str:
        return f"<{self.kind} {self.text()}>"


BYTES = ("string", "u32", "bpf")
"""The matches that look at bytes anywhere in a packet."""


class Match(Extension):
    __slots__ = ()
    kind = "match"
    # What its answer hangs on: names of iptkit.evaluator.courses.FACTS, or "header" for addresses,
    # protocol, ports and interfaces.  None: on more than these.
    facts: ClassVar[tuple[str, ...] | None] = None
    # Do a packet's bytes, the table of connections and the clock always suffice for an answer?
    certain: ClassVar[bool] = False

    def asked_ports(self) -> dict[str, PortsAsked] | None:
        """What its options ask of the packet's ports, one by one: under "sport" and "dport".

        None where it is no matter of ports, or not of each by itself.
        """
        return None

    def matches(self, packet: Packet, world: World) -> bool | None:
        """Does the packet meet the match?  None is UNKNOWN: neither packet nor world tells.

        Raises HotDrop for a packet so malformed that the kernel drops it here.
        """
        return None


class Target(Extension):
    __slots__ = ()
    kind = "target"
    # "steady": it goes on to the next rule, and of what rules ask
    # changes at most marks, TOS and TTL; "drops": the same, but it may drop the packet and change what
    # `changes` says; "traces": from here on each rule is told; else "any".
    effect: ClassVar[str] = "any"
    # Which facts that matches declare (Match.facts) it may change; None: any of them.
    changes: ClassVar[tuple[str, ...] | None] = None
    # Does it look at the rule and the hook it stands in: world.line, world.place, what it logs?
    aware: ClassVar[bool] = True
    # What rules ask that may then be answered otherwise: matches by name; "state", "ct" (else of the
    # connection), "length", "hops" (TTL, hop limit), "src" and "dst", whoever asks.  None: anything.
    rewrites: ClassVar[tuple[str, ...] | None] = None
    # Does it give a packet other addresses or ports, and let it go on in the same table?
    readdresses: ClassVar[bool] = False

    def act(self, packet: Packet, world: World) -> str | None:
        """Do to the packet what the target does, and give its verdict; None goes on to the next rule.

        Raises Unknown where what becomes of the packet is not known.
        """
        raise Unknown(f"what {self.name} does")


class Opaque(Extension):
    """A match or target iptkit does not know, its words kept as written."""

    __slots__ = ("kind_", "name_", "words")
    kind = "opaque"
    name = ""

    def __init__(self, kind: str, name: str, words: tuple[str, ...]) -> None:
        super().__init__((kind, name, *words))
        self.kind_ = kind
        self.name_ = name
        self.words = words

    def saved_name(self) -> str:
        return self.name_

    def save(self) -> Iterator[str]:
        from iptkit.values.text import quoted

        return (quoted(word) for word in self.words)
