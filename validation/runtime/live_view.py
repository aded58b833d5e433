"""The view of a run whose tokens nobody knows beforehand: a model that is used as it is."""

from collections.abc import Callable
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from hardware_profiles.errors import InputError
from simulator.run_view import RunFacts, RunView
from validation.runtime.offload import OffloadedModel


def live_view(
    offloaded: OffloadedModel, *, popularity: Callable[[], NDArray[np.int64]] | None = None, seed: int = 0
) -> RunView:
    """Return a view for policies of a live model: its gates can be asked ahead, and the past and the future cannot.

    `popularity`, where there is one, counts tokens by key.
    """
    num_experts = offloaded.num_experts
    return RunView(
        RunFacts(
            first_keys=[bank * num_experts for bank in offloaded.bank_of_layer],
            num_experts=num_experts,
            num_keys=offloaded.host.num_banks * num_experts,
            top_k=offloaded.top_k,
            has_gate_weights=True,
            recorded_lookahead=offloaded.num_layers - 1,
            stated_lookahead=None,
            stated_lookahead_by=(),
            make_future=lambda: _refuse("needs to know the routing to come"),
            make_training=None if popularity is not None else lambda: _refuse("learns from recorded routing"),
            own_popularity=popularity or (lambda: _refuse("goes by how popular experts are")),
            estimates=lambda _view: _refuse("goes by what work costs on a calibrated machine"),
            seed=seed,
        )
    )


def _refuse(wants: str) -> NoReturn:
    raise InputError("policy", f"{wants}; a live model cannot tell, a replayed trace can")
