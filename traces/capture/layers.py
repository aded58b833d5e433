"""Find the mixture-of-experts layers of a transformers model, and read what they route.

Legend: N tokens of one forward pass (batch times width), E experts, K top-k, H hidden width.

Most architectures call an experts module with `(hidden_states, top_k_index, top_k_weights)`; a pre-hook there sees the
ids and the weights as they are applied, whatever router made them. A family whose experts module is called otherwise
is read from the output of its router, by a function of `ROUTER_READERS`; adding a family is adding an entry.
"""

import inspect
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from traces.errors import TraceError

Routing = tuple[Tensor, Tensor]
"""Ids [N, K], of any integer dtype, and weights [N, K]; in any order of K."""


class RouterReader(Protocol):
    """Turn what a router returned into a routing."""

    def __call__(self, router: nn.Module, output: tuple[Tensor, ...], /) -> Routing:
        """Return ids [N, K], distinct within a row, and weights [N, K]; a pick that is not computed weighs 0."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MoELayer:
    """One experts module, the router that feeds it and the block that holds both.

    `read` is set where the router's output is read. `router_extras` are the parameters, with their defaults, that the
    router's forward has after the hidden states.
    """

    name: str
    experts: nn.Module
    router: nn.Module | None
    num_experts: int
    read: RouterReader | None
    block: nn.Module
    router_extras: tuple[tuple[str, object], ...] = ()

    def route(self, hidden_states: Tensor) -> Routing:
        """Apply this layer's router, with this layer's own selection biases, to a state that is on its device.

        Raises TraceError if the router needs more than that.
        """
        assert self.router is not None
        output = self.router(hidden_states, *self._block_arguments())
        if self.read is not None:
            return self.read(self.router, output)
        return _standard_routing(self, output)

    def check_route(self) -> None:
        """Raise TraceError unless `route` can be called."""
        if self.router is None:
            raise TraceError(self.name, "has no router beside it, so lookahead cannot be recorded")
        self._block_arguments()

    def _block_arguments(self) -> list[object]:
        """Return what the block gives its router besides the hidden states: selection biases that the block holds."""
        arguments: list[object] = []
        for name, default in self.router_extras:
            value = getattr(self.block, name, None)
            if isinstance(value, Tensor) and getattr(self.block, f"use_{name}", True):
                arguments.append(value)
            elif default is not inspect.Parameter.empty:
                arguments.append(default)
            else:
                raise TraceError(
                    self.name,
                    f"has a router that needs {name} beside the hidden states, so it cannot be applied to another "
                    "layer's; record without lookahead",
                )
        return arguments


def find_moe_layers(model: nn.Module) -> list[MoELayer]:
    """Return the MoE layers of a decoder in order. Raises TraceError for a model with none, or with unknown ones."""
    skipped = _modules_outside_the_decoder(model)
    layers: list[MoELayer] = []
    unknown: list[str] = []
    for name, module in model.named_modules():
        kind = type(module).__name__
        if module in skipped or not kind.endswith("Experts") or "Shared" in kind:
            continue
        read = ROUTER_READERS.get(kind)
        if read is None and not _takes_routing(module):
            unknown.append(f"{kind} ({name})")
            continue
        block = model.get_submodule(name.rpartition(".")[0])
        router = _router(block)
        if read is not None and router is None:
            unknown.append(f"{kind} ({name}), without a router beside it")
            continue
        if getattr(module, "_is_expert_parallel", False):
            raise TraceError(
                _name(model),
                f"{name} runs expert-parallel, each process with its own experts; capture on one process",
            )
        layers.append(
            MoELayer(
                name=name,
                experts=module,
                router=router,
                num_experts=_num_experts(module, name, model),
                read=read,
                block=block,
                router_extras=() if router is None else _router_extras(router),
            )
        )
    if unknown:
        raise TraceError(
            _name(model),
            f"has experts that capture cannot read: {unknown[0]}"
            f"{f' and {len(unknown) - 1} more' if unknown[1:] else ''}; "
            "its forward does not take (hidden_states, top_k_index, top_k_weights): add a reader for it to "
            "traces.capture.ROUTER_READERS, see docs/capture.md",
        )
    if layers and _is_encoder(model):
        raise TraceError(_name(model), "is encoder-only: it makes no tokens one by one; capture needs a decoder")
    if not layers:
        raise TraceError(
            _name(model),
            "has no mixture-of-experts layers: no module of it is named *Experts; capture needs a model that routes",
        )
    return layers


def _is_encoder(model: nn.Module) -> bool:
    """Tell whether all attention of a model looks both ways, and the model does not claim to generate."""
    flags = [flag for module in model.modules() if isinstance(flag := getattr(module, "is_causal", None), bool)]
    generates = getattr(model, "can_generate", None)
    return bool(flags) and not any(flags) and not (generates is not None and generates())


def _takes_routing(experts: nn.Module) -> bool:
    """Tell whether forward takes (hidden_states, ids, weights), whatever it calls the latter two."""
    parameters = [name for name in inspect.signature(type(experts).forward).parameters if name != "self"]
    return (
        len(parameters) >= 3
        and parameters[0] == "hidden_states"
        and ("index" in parameters[1] or "indices" in parameters[1])
        and "weights" in parameters[2]
    )


def _router(block: nn.Module) -> nn.Module | None:
    for name in ("gate", "router"):
        router = getattr(block, name, None)
        if isinstance(router, nn.Module):
            return router
    return None


def _num_experts(experts: nn.Module, name: str, model: nn.Module) -> int:
    """Count the ids that a router may give: LongCat's experts that compute nothing are among them."""
    for attribute in ("total_experts", "num_experts"):
        count = getattr(experts, attribute, None)
        if isinstance(count, int):
            return count
    raise TraceError(_name(model), f"{name} ({type(experts).__name__}) does not say num_experts; see docs/capture.md")


def _modules_outside_the_decoder(model: nn.Module) -> set[nn.Module]:
    """Return the modules of encoders and of towers for other media; their tokens are not the decoder's."""
    outside: set[nn.Module] = set()
    for name, module in model.named_modules():
        last = name.rpartition(".")[2]
        if last in ("encoder", "visual", "audio_tower") or last.startswith("vision"):
            outside.update(module.modules())
    return outside


def _router_extras(router: nn.Module) -> tuple[tuple[str, object], ...]:
    """Return name and default of the parameters that a router's forward has after the hidden states."""
    parameters = list(inspect.signature(type(router).forward).parameters.values())[2:]
    return tuple((one.name, one.default) for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD)


def _standard_routing(layer: MoELayer, output: "Tensor | tuple[Tensor, ...]") -> Routing:
    """Unpack (logits, weights, ids, ...), or logits that the block's own method turns into ids and weights."""
    if isinstance(output, Tensor):
        route = getattr(layer.block, "route_tokens_to_experts", None)
        if route is None:
            raise TraceError(layer.name, f"{type(layer.router).__name__} returns logits alone; see docs/capture.md")
        first, second = route(output)
    else:
        first, second = output[1], output[2]
    ids, weights = (second, first) if first.is_floating_point() else (first, second)
    return ids, weights


def router_logits(layer: MoELayer, output: "Tensor | tuple[Tensor, ...]") -> Tensor | None:
    """Return the logits [N, E] in what a router returned, if they are there."""
    parts: tuple[object, ...] = output if isinstance(output, tuple) else (output,)
    for part in reversed(parts) if layer.read is not None else parts:
        if isinstance(part, Tensor) and part.is_floating_point() and part.shape[-1] == layer.num_experts:
            return part.reshape(-1, layer.num_experts)
    return None


def _name(model: nn.Module) -> str:
    name = getattr(getattr(model, "config", None), "_name_or_path", "")
    return str(name) or type(model).__name__


def _read_llama4(router: nn.Module, output: tuple[Tensor, ...]) -> Routing:
    """Llama 4 weighs the inputs of all experts at once: sigmoid scores, zero for those not picked."""
    scores, logits = output[0], output[1]
    ids = logits.topk(int(getattr(router, "top_k")), dim=-1).indices  # noqa: B009
    return ids, scores.gather(-1, ids)


def _read_nllb(_router: nn.Module, output: tuple[Tensor, ...]) -> Routing:
    """NLLB gives a weight per expert: two are above zero, fewer where an expert's capacity was reached."""
    weights, ids = output[1].topk(2, dim=-1)
    return ids, weights


def _read_switch(_router: nn.Module, output: tuple[Tensor, ...]) -> Routing:
    """Switch picks one expert, and drops the token (weight 0) where that expert's capacity is reached."""
    kept, weights, logits = output[0], output[1], output[2]
    ids = logits.argmax(dim=-1, keepdim=True)
    return ids.reshape(-1, 1), (weights * kept.sum(dim=-1, keepdim=True)).reshape(-1, 1)


ROUTER_READERS: dict[str, RouterReader] = {
    "Llama4TextExperts": _read_llama4,
    "NllbMoeExperts": _read_nllb,
    "SwitchTransformersExperts": _read_switch,
}
