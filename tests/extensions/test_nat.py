"""Ranges of addresses and ports: what is shown is read back, and so is what is encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iptkit.extensions.nat import Ports, Range, RangeValue, parse_ports, show_ports
from iptkit.extensions.registry import find_target
from iptkit.values.context import Context
from iptkit.values.faults import BadValue

if TYPE_CHECKING:
    from iptkit.values.context import Family

port_numbers = st.integers(0, 65535)


@st.composite
def ports(draw: st.DrawFn, bases: st.SearchStrategy[int | None]) -> Ports:
    low, high = sorted((draw(port_numbers), draw(port_numbers)))
    # A single port has no base: it could not be read back.
    return Ports(low, high, draw(bases) if low < high else None)


@st.composite
def ranges(draw: st.DrawFn, family: Family) -> Range:
    address = st.integers(0, (1 << (32 if family == 4 else 128)) - 1)
    found = draw(ports(st.none() | st.integers(1, 65535)) | st.none())
    pair = st.tuples(address, address)
    return Range(draw(pair if found is None else pair | st.none()), found)


@pytest.mark.parametrize("family", [4, 6])
@given(data=st.data())
def test_what_is_shown_is_read_back(family: Family, data: st.DataObject) -> None:
    value = data.draw(ranges(family))
    type_ = RangeValue(family, "kept")
    assert type_.parse(type_.show(value), Context(family)) == value


@given(ports(st.none() | st.integers(1, 65535)))
def test_ports_are_read_back(value: Ports) -> None:
    assert parse_ports(show_ports(value)) == value


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("name", "field", "flags"),
    [
        ("DNAT", "to_destination", ("random", "persistent")),
        ("SNAT", "to_source", ("random", "random_fully", "persistent")),
        ("MASQUERADE", "to_ports", ("random", "random_fully")),
        ("REDIRECT", "to_ports", ("random",)),
    ],
)
@given(data=st.data())
def test_what_is_encoded_is_read_back(
    name: str, field: str, flags: tuple[str, ...], family: Family, data: st.DataObject
) -> None:
    cls: Any = find_target(name, family)
    if name == "DNAT":
        value: Any = data.draw(ranges(family))
    elif name == "SNAT":
        value = data.draw(ranges(family))
        if value.ports is not None and value.ports.base is not None:
            value = value._replace(ports=value.ports._replace(base=0))
    else:
        value = data.draw(ports(st.none() | st.just(0)) | st.none())
    use = cls.of(**{field: value}, **{flag: data.draw(st.none() | st.just(True)) for flag in flags})
    assert cls.decode(use.encode(family), Context(family)) == use


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("www.example.com", "IPT218", "never looked up"),
        ("10.1", "IPT125", "IPv4 address"),
        ("192.0.2.1:90-80", "IPT127", "90 is above 80"),
        ("192.0.2.1:80:90", "IPT125", "IPv4 address"),
        ("192.0.2.1:80,90", "IPT126", "LOW-HIGH"),
        ("192.0.2.1:nosuch", "IPT126", '"nosuch"'),
    ],
)
def test_refusals_say_what_is_wrong(text: str, code: str, told: str) -> None:
    type_ = RangeValue(4, "kept")
    with pytest.raises(BadValue, match=told) as found:
        type_.parse(text, Context(4))
    # Where a fault has no code of its own, it has the type's.
    assert (found.value.code or type_.code) == code
