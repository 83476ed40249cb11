"""getopt_long() as the iptables programs use it: options anywhere, abbreviated, bundled, values optional.

Click parses otherwise: it knows no abbreviations and no options whose value
may be left out.  The commands that stand in for iptables-restore and
iptables-save must take exactly what these take.
"""

from __future__ import annotations

import click

from iptkit.text.record import NamedTuple

NONE, REQUIRED, OPTIONAL, NEXT = range(4)


class OptionSpec(NamedTuple):
    """One option.  `value` tells which values it takes:

    NONE      none
    REQUIRED  one, glued on or in the next word
    OPTIONAL  one or none: glued on, or in the next word where that is a number
    NEXT      one or none: the next word if that begins no option, or glued on
              after a long name, as iptables-restore reads -w
    """

    key: str
    letters: str
    names: tuple[str, ...]
    value: int


class GetoptError(Exception):
    """As getopt words it: `invalid option -- 'z'`."""


def getopt(arguments: list[str], specs: list[OptionSpec]) -> tuple[list[tuple[str, str | None]], list[str]]:
    """The options given, in order, as (key, value), and the words that are none.  Raises GetoptError."""
    by_letter = {letter: spec for spec in specs for letter in spec.letters}
    found: list[tuple[str, str | None]] = []
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--":
            rest += words
            break
        if word.startswith("--"):
            found.append(_long(word, words, specs))
        elif word.startswith("-") and len(word) > 1:
            _short(word[1:], words, by_letter, found)
        else:
            rest.append(word)
    return found, rest


def _long(word: str, words: list[str], specs: list[OptionSpec]) -> tuple[str, str | None]:
    name, equals, value = word[2:].partition("=")
    exact = [spec for spec in specs if name in spec.names]
    near = exact or [spec for spec in specs if any(n.startswith(name) for n in spec.names)]
    if not near:
        raise GetoptError(f"unrecognized option '{word if equals else '--' + name}'")
    if len({spec.key for spec in near}) > 1:
        # What iptables has it has a letter for: its abbreviations stay what they are.
        near = [spec for spec in near if spec.letters] or near
    if len({spec.key for spec in near}) > 1:
        possible = " ".join(f"'--{n}'" for spec in near for n in spec.names if n.startswith(name))
        raise GetoptError(f"option '--{name}' is ambiguous; possibilities: {possible}")
    spec = near[0]
    full = next(n for n in spec.names if n.startswith(name))
    if spec.value == NONE and equals:
        raise GetoptError(f"option '--{full}' doesn't allow an argument")
    if equals:
        return spec.key, value
    if spec.value == REQUIRED and not words:
        raise GetoptError(f"option '--{full}' requires an argument")
    return spec.key, _next_value(spec, words)


def _next_value(spec: OptionSpec, words: list[str]) -> str | None:
    """The value of an option with none glued on; it is taken from `words`."""
    follows = spec.value == REQUIRED or (
        words
        and (
            (spec.value == OPTIONAL and words[0].isdecimal())
            or (spec.value == NEXT and words[0][:1] not in ("-", "!"))
        )
    )
    return words.pop(0) if follows else None


def _short(
    bundle: str, words: list[str], by_letter: dict[str, OptionSpec], found: list[tuple[str, str | None]]
) -> None:
    while bundle:
        letter, bundle = bundle[0], bundle[1:]
        spec = by_letter.get(letter)
        if spec is None:
            raise GetoptError(f"invalid option -- '{letter}'")
        if bundle and spec.value in (REQUIRED, OPTIONAL):
            found.append((spec.key, bundle))
            return
        if spec.value == REQUIRED and not words:
            raise GetoptError(f"option requires an argument -- '{letter}'")
        found.append((spec.key, None if bundle else _next_value(spec, words)))


class GetoptCommand(click.Command):
    """A click command whose words are read by `getopt`; help and manual page come from its click options.

    An option made with `is_flag=False, flag_value=...` is one whose value may
    be left out.  A fault ends the command with status 1, as in the real tools.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:
            # A shell wants to know how an unfinished line may go on: no reason to end.
            return super().parse_args(ctx, args)
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        try:
            found, rest = getopt(args, [_spec(option) for option in options])
        except GetoptError as error:
            click.echo(f"{ctx.command_path}: {error}", err=True)
            click.echo(f"Try '{ctx.command_path} -h' for more information.", err=True)
            ctx.exit(1)
        # Several options may set one parameter (-4 and -6 the family), so the name is no key.
        by_key = {option.opts[0]: option for option in options}
        for option in options:
            if option.expose_value and option.name and ctx.params.get(option.name) is None:
                ctx.params[option.name] = _default(option)
        for key, value in found:
            self._take(ctx, by_key[key], value)
        if len(rest) > 1:
            click.echo("Unknown arguments found on commandline", err=True)
            ctx.exit(1)
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Argument) and parameter.name:
                ctx.params[parameter.name] = rest[0] if rest else None
        return []

    def _take(self, ctx: click.Context, option: click.Option, value: str | None) -> None:
        if option.name == "help" or option.callback is not None:
            option.process_value(ctx, True)
            return
        name = option.name or ""
        if option.is_flag or value is None:
            # Click notes no value with a flag that is just on or off.
            ctx.params[name] = True if option.is_bool_flag else option.flag_value
            return
        try:
            ctx.params[name] = option.type.convert(value, option, ctx)
        except click.BadParameter as error:
            click.echo(f"{ctx.command_path}: {error.format_message()}", err=True)
            ctx.exit(2)


def _default(option: click.Option) -> object:
    """What an option that is not given is: click marks the absence of a default by an object of its own."""
    if isinstance(option.default, str | int | float):
        return option.default
    return False if option.is_bool_flag else None


def _spec(option: click.Option) -> OptionSpec:
    letters = "".join(o[1:] for o in option.opts if not o.startswith("--"))
    names = tuple(o[2:] for o in option.opts if o.startswith("--"))
    value = NONE if option.is_flag else OPTIONAL if option._flag_needs_value else REQUIRED
    return OptionSpec(option.opts[0], letters, names, value)
