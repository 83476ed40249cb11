"""iptkit help-extension"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from iptkit.cli.common import color_option, fail, want_color
from iptkit.extensions.manual import manuals, names
from iptkit.extensions.registry import MATCHES, TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.manual import ExtensionManual

SCHEMA = "iptkit-extensions/1"
_HEADS = {"match": "Matches", "target": "Targets"}
_WIDTH = 79
_OPTION_WIDTH = 26  # an option that is longer has a line of its own


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of extensions that begin so."""
    return [name for name in (*MATCHES, *TARGETS) if name.startswith(incomplete)]


@click.command()
@click.option("-4", "--ipv4", "family", flag_value=4, type=int, help="only what IPv4 has")
@click.option("-6", "--ipv6", "family", flag_value=6, type=int, help="only what IPv6 has")
@click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default="text", help="text, or JSON"
)
@color_option
@click.argument("name", required=False, shell_complete=_complete)
def command(family: int | None, format_: str, color: str, name: str | None) -> None:
    """Tell what a match or target does: its options, where it may stand, an example.

    NAME is what stands after -m or -j, such as conntrack or MASQUERADE; without
    it all are listed.  Matches are in lower case and targets in upper case:
    mark and MARK are two things.

    Exit status: 0 done, 2 there is no such match or target.
    """
    found = [
        each
        for word in ([name] if name is not None else names())
        for each in manuals(word)
        if family is None or family in each.families
    ]
    if name is not None and not found:
        fail(_unknown(name))
    painted = want_color(color)
    if format_ == "json":
        import json

        text = (
            json.dumps({"schema": SCHEMA, "extensions": [_object(each) for each in found]}, indent=1) + "\n"
        )
    elif name is not None:
        text = "\n".join("".join(_page(each, painted)) for each in found)
    else:
        text = "".join(_list(found, painted))
    click.echo(text, nl=False, color=painted)


def _unknown(name: str) -> str:
    from iptkit.extensions.core import VERDICTS
    from iptkit.values.wording import did_you_mean

    if name in VERDICTS:
        return f"{name} is a verdict: it has no options, and stands anywhere after -j"
    other = manuals(name)
    if other:
        return f"the {other[0].kind} {name} belongs to IPv{other[0].families[0]}"
    hint = did_you_mean(name, [*MATCHES, *TARGETS])
    return f"there is no match and no target {name!r}{', ' if hint else ''}{hint}"


def _object(each: ExtensionManual) -> dict[str, Any]:
    return {**each._asdict(), "options": [option._asdict() for option in each.options]}


def _list(found: list[ExtensionManual], painted: bool) -> Iterator[str]:
    kind = ""
    for each in found:
        if each.kind != kind:
            yield ("\n" if kind else "") + _bold(_HEADS[each.kind], painted) + "\n"
            kind = each.kind
        family = "   " if len(each.families) > 1 else f"-{each.families[0]} "
        yield f"  {each.name:12} {family} {each.summary}\n"


def _page(each: ExtensionManual, painted: bool) -> Iterator[str]:
    also = f" ({', '.join(each.aliases)})" if each.aliases else ""
    families = " and ".join(f"IPv{family}" for family in each.families)
    yield f"{_bold(f'{each.kind} {each.name}', painted)}{also}, {families}\n\n"
    yield _filled(each.summary)
    yield f"\n{_bold('Synopsis', painted)}\n{_pieces(each)}"
    for at, paragraph in enumerate(each.description):
        head = "" if at else _bold("Description", painted) + "\n"
        yield f"\n{head}{_filled(paragraph, '  ')}"
    if each.options:
        yield f"\n{_bold('Options', painted)}\n"
    for option in each.options:
        written = option.written()
        text = "; ".join([option.doc, *option.notes()])
        pad = " " * (_OPTION_WIDTH + 4)
        if len(written) > _OPTION_WIDTH:
            yield f"  {written}\n{_filled(text, pad)}"
        else:
            yield f"  {written:{_OPTION_WIDTH}}  {_filled(text, pad).lstrip(' ')}"
    if each.one_of and not each.chooses:
        yield "\n" + _filled(f"At least one of {', '.join(each.one_of)} must be given.", "  ")
    yield f"\n{_bold('Where it may stand', painted)}\n"
    places = each.places()
    width = max(len(head) for head, _ in places) + 3
    for head, text in places:
        yield f"  {head + ':':{width}}{text}\n"
    yield f"\n{_bold('Example', painted)}\n  {each.example}\n"


def _pieces(each: ExtensionManual) -> str:
    """The synopsis, broken between its pieces, or within one between what it offers."""
    lines = [""]
    for piece in each.synopsis:
        for at, part in enumerate(piece.split(" | ")):
            text = f"| {part}" if at else part
            if lines[-1] and len(lines[-1]) + len(text) > _WIDTH - 6:
                lines.append("")
            lines[-1] += f" {text}" if lines[-1] else text
    return "".join(f"  {'   ' if at else ''}{line}\n" for at, line in enumerate(lines))


def _filled(text: str, indent: str = "") -> str:
    import textwrap

    return (
        textwrap.fill(
            text,
            _WIDTH,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        + "\n"
    )


def _bold(text: str, painted: bool) -> str:
    return click.style(text, bold=True) if painted else text
