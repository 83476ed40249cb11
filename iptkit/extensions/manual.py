"""The manual of an extension, out of its declaration: for `iptkit help-extension` and the manual page."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from iptkit.extensions.registry import MATCHES, TARGETS, find_match, find_target
from iptkit.extensions.spec import HOOKS, TABLES, Extension, Place
from iptkit.text.record import NamedTuple
from iptkit.values.names import protocol_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.spec import Option
    from iptkit.values.context import Family

FAMILIES: tuple[Family, ...] = (4, 6)
ANY_PROTOCOL = ("any",)


class OptionManual(NamedTuple):
    """One option: how it is written, and with what it goes."""

    names: tuple[str, ...]  # the first is what iptables-save prints
    value: str  # what its value looks like, "" for an option without one
    value_optional: bool
    inverted: bool  # may stand after !
    required: bool
    repeated: bool  # may be given more than once
    needs: tuple[str, ...]  # options it cannot stand without
    excludes: tuple[str, ...]  # options it cannot stand with
    doc: str

    def written(self) -> str:
        """The option with its value, `!` before it where it may stand: `[!] --sport port[:port]`."""
        value = self.value
        if self.value_optional and not value.startswith("["):
            value = f"[{value}]"
        return " ".join(filter(None, ("[!]" * self.inverted, self.names[0], value)))

    def notes(self) -> list[str]:
        """What else is to be said of it, a phrase each."""
        out = []
        if len(self.names) > 1:
            out.append(f"also {', '.join(self.names[1:])}")
        if self.required:
            out.append("required")
        if self.repeated:
            out.append("may be given several times")
        if self.needs:
            out.append(f"only with {listed(self.needs)}")
        if self.excludes:
            out.append(f"not with {listed(self.excludes, 'or')}")
        return out


class ExtensionManual(NamedTuple):
    """One extension, for the families that share what is said here."""

    kind: str  # match or target
    name: str
    aliases: tuple[str, ...]
    families: tuple[Family, ...]
    summary: str
    description: tuple[str, ...]  # paragraphs
    synopsis: tuple[str, ...]  # pieces of one line
    options: tuple[OptionManual, ...]
    one_of: tuple[str, ...]  # at least one of these must be given
    protocols: tuple[str, ...]  # for which -p, "any" for all
    tables: tuple[str, ...]
    hooks: tuple[str, ...]
    nft_tables: tuple[str, ...]  # where nf_tables takes it, when that differs
    depends: bool  # where it may stand depends on its options
    example: str

    @property
    def flag(self) -> str:
        return "-m" if self.kind == "match" else "-j"

    @property
    def chooses(self) -> bool:
        """Does the synopsis show that one of `one_of` must be given?"""
        return any(piece.startswith("{") for piece in self.synopsis)

    def places(self) -> list[tuple[str, str]]:
        """Where it may stand, as heads and texts."""
        out = [
            ("families", listed(tuple(f"IPv{family}" for family in self.families))),
            ("tables", "any" if self.tables == TABLES else listed(self.tables)),
            ("hooks", "any" if self.hooks == HOOKS else listed(self.hooks)),
            ("protocols", listed(self.protocols, "or")),
        ]
        if self.nft_tables:
            tables = "any" if self.nft_tables == TABLES else listed(self.nft_tables)
            out.insert(2, ("tables with nf_tables", tables))
        if self.depends:
            out.append(("besides", "some options narrow where it may stand"))
        return out


def manuals(name: str) -> list[ExtensionManual]:
    """The manuals under a name: of IPv4 and IPv6 apart where they differ; [] where there is none."""
    found = []
    for find in (find_match, find_target):
        classes = list(dict.fromkeys(cls for family in FAMILIES if (cls := find(name, family)) is not None))
        if len(classes) > 1 and alike(*classes):
            found.append(manual(classes[0])._replace(families=FAMILIES))
        else:
            found += [manual(cls) for cls in classes]
    return found


def names() -> dict[str, str]:
    """Every name there is, aliases aside: to `match` or `target`."""
    own = {}
    for kind, table, find in (("match", MATCHES, find_match), ("target", TARGETS, find_target)):
        for name in table:
            classes = [cls for family in FAMILIES if (cls := find(name, family)) is not None]
            if any(cls.name == name for cls in classes):
                own[name] = kind
    return own


def alike(one: type[Extension], other: type[Extension]) -> bool:
    """Do two classes, of one name and different families, say the same to their reader?"""
    return manual(one)._replace(families=()) == manual(other)._replace(families=())


def manual(cls: type[Extension]) -> ExtensionManual:
    """Take a declaration apart."""
    summary, *paragraphs = paragraphs_of(cls)
    options = tuple(_option(cls, option) for option in cls.options)
    one_of = tuple(getattr(cls, field).flag for field in cls.at_least_one)
    place: Place = cls.where
    return ExtensionManual(
        cls.kind,
        cls.name,
        cls.aliases,
        cls.families,
        summary,
        tuple(paragraphs),
        tuple(_synopsis(cls, options)),
        options,
        one_of,
        tuple(protocol_name(number) for number in cls.protocols) or ANY_PROTOCOL,
        place.tables,
        place.hooks,
        place.nft_tables,
        cls.place is not Extension.place,
        cls.example,
    )


def paragraphs_of(cls: type[Extension]) -> list[str]:
    """The paragraphs of the docstring, a line each; the first is what it does, in a sentence."""
    text = inspect.cleandoc(cls.__doc__ or "")
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _option(cls: type[Extension], option: Option[Any]) -> OptionManual:
    def flags(fields: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(getattr(cls, field).flag for field in fields)

    return OptionManual(
        option.names,
        "" if option.type is None else option.type.metavar,
        getattr(option.type, "optional", False),
        option.invert,
        option.required,
        option.multi,
        flags(option.needs),
        flags(option.excludes),
        option.doc,
    )


def _synopsis(cls: type[Extension], options: tuple[OptionManual, ...]) -> Iterator[str]:
    """`-m name`, then each option; options that all exclude each other are one piece, parted by |."""
    yield f"{'-m' if cls.kind == 'match' else '-j'} {cls.name}"
    needed = {getattr(cls, field).flag for field in cls.at_least_one}
    left = list(options)
    while left:
        group = _choice(left)
        left = [option for option in left if option not in group]
        text = " | ".join(option.written() for option in group)
        # One of them must be given when all that the class wants one of are here.
        must = group[0].required or (needed and needed <= {option.names[0] for option in group})
        if not must:
            yield f"[{text}]"
        else:
            yield f"{{{text}}}" if len(group) > 1 else text


def _choice(options: list[OptionManual]) -> list[OptionManual]:
    """The first option, and those that it and each other exclude."""
    group: list[OptionManual] = []
    for other in options:
        if all(other.names[0] in each.excludes or each.names[0] in other.excludes for each in group):
            group.append(other)
    return group


def listed(words: tuple[str, ...], last: str = "and") -> str:
    """`a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
