"""Record the routing of live transformers models. The only part of `traces` that imports torch and transformers."""

from traces.capture.layers import ROUTER_READERS, MoELayer, Routing, find_moe_layers
from traces.capture.metadata import LOOKAHEAD_INPUT
from traces.capture.recorder import Recorder, record

__all__ = ["LOOKAHEAD_INPUT", "ROUTER_READERS", "MoELayer", "Recorder", "Routing", "find_moe_layers", "record"]
