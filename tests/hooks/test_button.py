"""The Test button tells apart what can be wrong with an Airflow connection."""

from __future__ import annotations

import pytest
from airflow.providers.airbyte.hooks.airbyte import AirbyteHook as OfficialHook

from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.simulator import Fault, Simulator
from helpers.airbyte import Connect


def verdict() -> str:
    good, message = AirbyteHook("mine").test_connection()
    assert not good
    return message


PAGE = "<!doctype html><title>Airbyte</title>"


def test_button_says_that_all_is_well(mine: str) -> None:
    assert OfficialHook(mine).test_connection()[0] is True
    good, message = AirbyteHook(mine).test_connection()
    assert good
    assert "successfully" in message


def test_button_tells_address_credentials_and_permission_apart(sim: Simulator, connect: Connect) -> None:
    connect("http://127.0.0.1:1", "id", "secret-of-mine")
    assert verdict().startswith("The address is wrong, or Airbyte is down.")
    connect(f"{sim.host}/elsewhere", sim.client_id, sim.client_secret)
    assert verdict().startswith("The address is wrong, or Airbyte is down.")
    connect(sim.url, sim.client_id, "secret-of-mine")
    assert verdict().startswith("Airbyte is there, but refuses the credentials.")
    connect(sim.url)
    assert verdict().startswith("Airbyte is there, but refuses the credentials.")
    connect(sim.url, sim.client_id, sim.client_secret)
    sim.add_fault(Fault(call="list", kind="status", status=403))
    assert verdict().startswith("The credentials are good, but lack the permission")
    sim.clear_faults()
    sim.add_fault(Fault(call="list", kind="html", status=200))
    assert verdict().startswith("Something answers, but not as Airbyte's public API does")
    connect("", "id", "secret-of-mine")
    assert "has no Server URL (host)" in verdict()


@pytest.mark.parametrize("health", [None, PAGE], ids=["with Airbyte's health", "with the page for health, too"])
def test_button_says_what_to_do_where_there_is_no_authentication(connect: Connect, health: str | None) -> None:
    with Simulator(auth="none") as sim:
        sim.add_fault(Fault(call="token", kind="status", status=200, body=PAGE))
        if health is not None:
            sim.add_fault(Fault(call="health", kind="status", status=200, body=PAGE))
        connect(sim.url, "id", "secret-of-mine")
        told = verdict()
        assert told.startswith("No tokens are given out at this address.")
        assert "leave Client ID and Client Secret empty" in told
        connect(sim.url)
        assert AirbyteHook("mine").test_connection()[0] is True


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", ["<html>", '{"message": "Forbidden"}'])
def test_button_passes_a_gateway_that_refuses_health_in_its_own_words(
    sim: Simulator, mine: str, status: int, body: str
) -> None:
    sim.add_fault(Fault(call="health", kind="status", status=status, body=body))
    assert AirbyteHook(mine).test_connection()[0] is True


def test_button_does_not_take_a_gateways_word_for_airbytes(sim: Simulator, mine: str) -> None:
    body = '{"message": "no Route matched with those values"}'
    sim.add_fault(Fault(call="list", kind="status", status=403, body=body))
    told = verdict()
    assert told.startswith("Something answers, but not as Airbyte's public API does")
    assert "no Route matched" in told
    assert "a gateway or proxy before it" in told


def test_button_passes_a_gateway_that_wants_credentials_even_for_health(connect: Connect) -> None:
    with Simulator(auth="basic", client_id="airbyte", client_secret="password") as sim:
        sim.add_fault(Fault(call="health", kind="status", status=401))
        connect(sim.url, "airbyte", "password", auth="basic")
        assert AirbyteHook("mine").test_connection()[0] is True
