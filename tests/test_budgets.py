"""A budget has a ceiling that holds once others have gone, and what is to be had now, which plans are made with."""

from __future__ import annotations

from vwt_agents.app.budgets import measured_budgets, misplaced, place_hint
from vwt_agents.config import parse_settings
from vwt_agents.devices import Device

CARD = Device("gpu0", "gpu", 16303, 5200, 11103, "NVIDIA GeForce RTX 5080")
HOST = Device("cpu", "cpu", 32000, 8000, 24000, "host memory")


def settings(device: str, budget: str = ""):
    return parse_settings(
        f'[budget]\n{budget}\n[endpoints.here]\nkind = "ollama"\ndevice = "{device}"\n'
        '[tiers.small]\nendpoint = "here"\nmodels = ["a:7b"]\n'
    )


def test_what_others_take_at_the_start_is_no_smaller_ceiling():
    found = measured_budgets(settings("gpu0"), (CARD, HOST))
    assert (found["gpu0"].ceiling, found["gpu0"].occupied, found["gpu0"].mib) == (14767, 5200, 9567)
    assert (found["cpu"].ceiling, found["cpu"].occupied, found["cpu"].mib) == (28800, 8000, 20800)


def test_a_device_that_is_not_there_has_what_was_set_for_it_and_nothing_else():
    found = measured_budgets(settings("gpu1", 'gpu0 = "14 GiB"\ngpu1 = "auto"'), (HOST,))
    assert (found["gpu0"].mib, found["gpu0"].ceiling) == (14336, 14336)
    assert (found["gpu1"].mib, found["gpu1"].ceiling) == (0, 0)


def test_an_endpoint_is_misplaced_on_a_device_that_is_not_there_or_has_a_problem():
    here, there = settings("gpu0"), settings("gpu0:1", '"gpu0:1" = "auto"')
    lost = Device("gpu0", "gpu", 16303, 16303, 0, "card", problem="it is not there any more")
    assert misplaced(here.endpoints["here"], here, (CARD, HOST)) == ""
    assert misplaced(here.endpoints["here"], here, (lost, HOST)).endswith("cannot be used: it is not there any more")
    said = misplaced(there.endpoints["here"], there, (CARD, HOST))
    assert said.endswith("not on this machine, which has gpu0 (NVIDIA GeForce RTX 5080), cpu (host memory)")
    assert '[budget] "gpu0:1" = "14 GiB"' in place_hint(there.endpoints["here"], there)
