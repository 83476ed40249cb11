"""How a refused value is named in a message. Messages are made to stand after ``--option: ``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def quote(text: str, limit: int = 60) -> str:
    """Return `text` in double quotes, cut to `limit` bytes, ASCII control characters as ``\\xNN``.

    Bytes from 0x80 up stay as they are: the text is Latin-1-decoded, and whoever shows the message
    decodes it as UTF-8. For the same reason a cut never falls inside a UTF-8 sequence.
    """
    if len(text) > limit:
        end = limit
        while end > limit - 4 and "\x80" <= text[end] <= "\xbf":
            end -= 1
        text = text[:end] + "..."
    if not text.isprintable():
        text = "".join(f"\\x{ord(char):02x}" if char < " " or char == "\x7f" else char for char in text)
    return f'"{text}"'


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """Return ``did you mean "name"?`` for the name nearest to `text`, or ``""``; case does not count."""
    import difflib  # 5 ms, and only a refused value needs it

    by_lower = {name.lower(): name for name in sorted(names)}
    near = difflib.get_close_matches(text.lower(), by_lower, n=5, cutoff=0.6)
    if not near:
        return ""
    # Letters swapped are the likeliest slip: "tpc" is tcp before it is xtp.
    letters = sorted(text.lower())
    best = next((name for name in near if sorted(name) == letters), near[0])
    return f'did you mean "{by_lower[best]}"?'


def choices(text: str, names: Iterable[str]) -> str:
    """Return a hint for a word that is none of `names`: the nearest, if one is near, and all of them."""
    known = tuple(names)
    near = did_you_mean(text, known)
    listed = ", ".join(known)
    return f"{near} there are {listed}" if near else listed
