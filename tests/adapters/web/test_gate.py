"""Only who names this machine by loopback is answered, and no other site's page looks on."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled_adapters.web.gate import host_problem, is_loopback, origin_problem

OWN = (
    "127.0.0.1", "127.0.0.1:8780", "127.9.9.9", "localhost", "LocalHost:1", "[::1]", "[::1]:8780",
)  # fmt: skip
FOREIGN = (
    "", "evil.example", "evil.example:8780", "localhost.evil.example", "127.0.0.1.nip.io",
    "127.0.0.1.", "localhost:x", "localhost:123456", "10.0.0.1", "[::]", "[::ffff:10.0.0.1]",
    "127.0.0.1@evil.example", "evil.example/127.0.0.1", "127.0.0.1 evil.example", "::1",
    "2130706433", "127.1", "[127.0.0.1", "127.0.0.1]", "localhost\n",
)  # fmt: skip


@pytest.mark.parametrize("host", OWN)
def test_names_of_loopback_are_answered(host: str):
    """With any port: a tunnel may bring one along."""
    assert host_problem([host]) is None


@pytest.mark.parametrize("host", FOREIGN)
def test_other_names_are_refused(host: str):
    """A name that its owner points to 127.0.0.1 gives itself away (DNS rebinding)."""
    assert host_problem([host])


def test_a_request_has_one_host():
    """None, or two of them, are refused."""
    assert host_problem([])
    assert host_problem(["127.0.0.1", "127.0.0.1"])


@given(st.ip_addresses())
def test_an_address_is_loopbacks_or_it_is_not(address):
    """Whatever the address, the answer is that of the address."""
    text = f"[{address}]" if address.version == 6 else str(address)
    assert (host_problem([text]) is None) == ipaddress.ip_address(str(address)).is_loopback
    assert is_loopback(str(address)) == address.is_loopback


@given(st.text(max_size=40))
def test_no_text_raises_anything(text: str):
    """Whatever a client sends, it is answered or refused."""
    host_problem([text])
    origin_problem([text], "127.0.0.1:8780")


def test_a_websocket_is_for_pages_of_the_same_host_and_for_programs():
    """Who sends an Origin sends ours; a browser always sends one."""
    host = "localhost:8780"
    assert origin_problem([], host) is None
    for own in ("http://localhost:8780", "https://LOCALHOST:8780"):
        assert origin_problem([own], host) is None
    for other in ("null", "", "http://localhost", "http://evil.example", "http://127.0.0.1:8780",
                  "http://localhost:8780.evil.example", "ws://localhost:8780"):  # fmt: skip
        assert origin_problem([other], host), other
    assert origin_problem(["http://localhost:8780"] * 2, host)
