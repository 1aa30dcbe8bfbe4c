"""Ports for the servers that tests start."""

from __future__ import annotations

import socket

import pytest

from harness import loopback


def test_free_port_is_none_that_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    first = loopback.free_port()
    other = next(port for port in iter(loopback.free_port, None) if port != first)
    monkeypatch.setattr(loopback, "PORTS", [first, other])
    with socket.socket() as taken:
        taken.bind((loopback.LOOPBACK, first))
        taken.listen()
        assert {loopback.free_port() for _ in range(20)} == {other}


def test_free_port_is_none_that_the_system_gives_to_others() -> None:
    with socket.socket() as any_other:
        any_other.bind((loopback.LOOPBACK, 0))
        assert any_other.getsockname()[1] not in loopback.PORTS
