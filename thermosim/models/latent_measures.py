"""What is measured of models with a latent, `vae` and `gan`: -ln p(x) of rows, where a rule does its integral."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thermosim.models.architectures.measures import no_test
from thermosim.models.latent_rules import has_rule
from thermosim.network import Measure

__all__ = ["SURPRISALS"]


def _surprisal(probe: Any, theta: Mapping[str, Any], test: bool = False) -> Any:
    return probe.over_rows(lambda x, y: -probe.network.log_probability(theta, x).mean(), test)


def _test_surprisal(probe: Any, theta: Mapping[str, Any]) -> Any:
    return _surprisal(probe, theta, test=True)


def _no_rule(model: Any, settings: Any) -> str:
    latent = settings.model.constants["latent"]
    return (
        ""
        if has_rule(settings.model.constants)
        else f"ln p(x) of a latent of {latent} dimensions is known between bounds only"
    )


SURPRISALS = (
    Measure(
        "data_surprisal",
        "nat",
        "mean of -ln p(x) over all data",
        "<-ln p_theta(x)>_B",
        _surprisal,
        absent=_no_rule,
    ),
    Measure(
        "test_surprisal",
        "nat",
        "mean of -ln p(x) over the rows kept from learning",
        "<-ln p_theta(x)>_test",
        _test_surprisal,
        absent=lambda model, settings: no_test(model, settings) or _no_rule(model, settings),
    ),
)
