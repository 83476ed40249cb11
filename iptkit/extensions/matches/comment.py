"""Attach a comment to a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout, String
from iptkit.extensions.spec import Match, Option
from iptkit.values.text import quoted

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

LIMIT = 255  # bytes; struct xt_comment_info holds one more for the NUL


class CommentText:
    """Any text; what is over 255 bytes is cut off without a word."""

    metavar = "text"
    words = 1
    code = "IPT129"
    lazy = True

    def parse(self, text: str, context: Context) -> str:
        return text[:LIMIT]

    def show(self, value: str) -> str:
        return quoted(value)


class Comment(Match, name="comment"):
    """Say what a rule is for, in up to 255 bytes.  Every packet matches."""

    revision = 0
    comment = Option("--comment", type=CommentText(), required=True, doc="the comment, up to 255 bytes")
    layout = Layout(String("comment", 256, always=True))
    facts = ()
    certain = True
    example = '-i lo -m comment --comment "local traffic" -j ACCEPT'

    def says_nothing(self) -> bool:
        return True

    def matches(self, packet: Packet, world: World) -> bool | None:
        return True


EXTENSIONS: tuple[Any, ...] = (Comment,)
