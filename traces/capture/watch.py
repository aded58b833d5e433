"""Watch a model with hooks: what its layers route in a forward pass, and what later routers would."""

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from traces.capture.gate import describe_gate
from traces.capture.layers import MoELayer, Routing, router_logits
from traces.capture.passes import PassInputs, PassRouting, read_inputs
from traces.errors import TraceError


class ModelWatch:
    """Tell of each forward pass what it was given and what it routed.

    Hooks only keep references to the ids and weights that the experts are given; `on_pass` is called at the end of a
    pass. `rounds`, the indices of the layers in the order in which they run, and `gate` are known after the first one.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[MoELayer],
        on_pass: Callable[[PassInputs, PassRouting], None],
        *,
        model_name: str,
        lookahead: int,
        needs_token_ids: bool,
    ) -> None:
        self.model = model
        self.layers = layers
        self.model_name = model_name
        self.lookahead = lookahead
        self.needs_token_ids = needs_token_ids
        self.rounds: tuple[int, ...] = ()
        self.gate: dict[str, str] = {}
        self._on_pass = on_pass
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._parameter_names = tuple(name for name in inspect.signature(type(model).forward).parameters)[1:]
        self._inputs: PassInputs | None = None
        self._routed: list[tuple[int, Tensor, Tensor]] = []
        self._foreseen: dict[int, list[Routing]] = {}
        self._states: dict[int, Tensor] = {}
        self._first_logits: Tensor | None = None
        self._foreseeing = False

    def attach(self) -> None:
        """Put the hooks on the model."""
        for index, layer in enumerate(self.layers):
            if layer.read is None:
                hook = layer.experts.register_forward_pre_hook(self._experts_hook(index), with_kwargs=True)
                self._hooks.append(hook)
            else:
                assert layer.router is not None
                self._hooks.append(layer.router.register_forward_hook(self._reader_hook(index)))
            if self.lookahead and layer.router is not None:
                hook = layer.router.register_forward_pre_hook(self._lookahead_hook(index), with_kwargs=True)
                self._hooks.append(hook)
        first = self.layers[0].router
        if first is not None and not self.rounds:
            self._gate_hook = first.register_forward_hook(self._see_first_logits)
            self._hooks.append(self._gate_hook)
        self._hooks.append(self.model.register_forward_pre_hook(self._begin_pass, with_kwargs=True))
        self._hooks.append(self.model.register_forward_hook(self._end_pass))

    def detach(self) -> None:
        """Take the hooks off the model."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _experts_hook(self, index: int) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor]], None]:
        def see_routing(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            if self._inputs is None:
                raise self._outside(index)
            _, ids, weights = args if len(args) == 3 else (*args, *kwargs.values())
            self._routed.append((index, ids, weights))

        return see_routing

    def _reader_hook(self, index: int) -> Callable[[nn.Module, tuple[Tensor, ...], tuple[Tensor, ...]], None]:
        read = self.layers[index].read
        assert read is not None

        def see_router(module: nn.Module, _args: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
            if self._foreseeing:
                return
            if self._inputs is None:
                raise self._outside(index)
            self._routed.append((index, *read(module, output)))

        return see_router

    def _outside(self, index: int) -> TraceError:
        return TraceError(
            self.model_name,
            f"{self.layers[index].name} ran outside a forward pass of {type(self.model).__name__}, which is recorded; "
            "give record the module that is called",
        )

    def _lookahead_hook(self, index: int) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor]], None]:
        """Return a hook that gives this layer's router the inputs of the D routers before it, all in one call."""
        layer = self.layers[index]
        sources = range(max(0, index - self.lookahead), index)

        def foresee(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            if self._foreseeing or self._inputs is None:
                return
            hidden_states = args[0] if args else kwargs["hidden_states"]
            self._foreseeing = True
            try:
                with torch.no_grad():
                    if sources:
                        states = [self._states[source].to(hidden_states.device) for source in sources]
                        ids, weights = layer.route(torch.cat(states))
                        parts = zip(sources, ids.chunk(len(states)), weights.chunk(len(states)), strict=True)
                        for source, *routing in parts:
                            self._foreseen.setdefault(source, []).append((routing[0], routing[1]))
                    self._states[index] = hidden_states.clone()
                    self._states.pop(index - self.lookahead, None)
            finally:
                self._foreseeing = False

        return foresee

    def _see_first_logits(self, _module: nn.Module, _args: object, output: "Tensor | tuple[Tensor, ...]") -> None:
        if not self._foreseeing and self._inputs is not None:
            logits = router_logits(self.layers[0], output)
            self._first_logits = None if logits is None else logits.detach()

    def _begin_pass(self, _module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        self._routed, self._foreseen, self._states = [], {}, {}
        given = dict(zip(self._parameter_names, args, strict=False)) | kwargs
        self._inputs = read_inputs(self.model, given, model_name=self.model_name, needs_token_ids=self.needs_token_ids)

    def _end_pass(self, _module: nn.Module, _args: object, _output: object) -> None:
        inputs, self._inputs = self._inputs, None
        if inputs is None:
            raise TraceError(self.model_name, "is called from within its own forward pass; record the outermost module")
        with torch.no_grad():
            self._check_rounds(inputs)
            self._on_pass(inputs, PassRouting(routed=self._routed, foreseen=self._foreseen))
        self._routed, self._foreseen, self._states = [], {}, {}

    def _check_rounds(self, inputs: PassInputs) -> None:
        """Learn the order of the rounds and the gate from the first pass, hold later ones to it."""
        rounds = tuple(index for index, _, _ in self._routed)
        if not self.rounds:
            silent = sorted(set(range(len(self.layers))) - set(rounds))
            if silent:
                raise TraceError(
                    self.model_name,
                    f"ran without {self.layers[silent[0]].name}; capture needs all MoE layers in every pass",
                )
            if self.lookahead and rounds != tuple(range(len(self.layers))):
                raise TraceError(
                    self.model_name, "does not run its MoE layers once each in order; record without lookahead"
                )
            self.rounds = rounds
            first = self.layers[rounds[0]]
            _, ids, weights = self._routed[0]
            self.gate = describe_gate(
                first, self._first_logits, ids.reshape(-1, ids.shape[-1]), weights.reshape(-1, ids.shape[-1])
            )
            self._first_logits = None
            if first.router is not None:
                self._gate_hook.remove()
        elif rounds != self.rounds:
            raise TraceError(self.model_name, f"ran {len(rounds)} routing rounds in a pass, {len(self.rounds)} before")
        for index, ids, _ in self._routed:
            if ids.numel() != inputs.num_rows * inputs.width * ids.shape[-1]:
                raise TraceError(
                    self.model_name,
                    f"{self.layers[index].name} routed {ids.numel() // ids.shape[-1]} tokens in a pass of "
                    f"{inputs.num_rows} x {inputs.width}; capture needs text in which every token is routed",
                )
        top_k = self._routed[0][1].shape[-1]
        for index, ids, _ in self._routed:
            if ids.shape[-1] != top_k:
                raise TraceError(
                    self.model_name, f"{self.layers[index].name} picks {ids.shape[-1]} experts, others {top_k}"
                )
