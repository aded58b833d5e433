"""The durations of a profile: each a table of the model's own, and one of each sibling for weights of other bytes.

    expert              medians on the device, alone
    low_expert          the same of low-precision copies
    cpu_expert          medians on a CPU worker, all workers busy, the device waiting
    layer, context      decode steps and prefills, as a time by tokens and a time by attended tokens; a sibling attends to as
                        much as the model, so its layers are its passes' without the model's context
    dense_layer         the same of layers without experts
    step                what a pass spends in no layer
    runtime.per_layer   what a visit spends beside its experts, for one token; what more tokens add to that is in `layer`

Limits: tables do not descend, so a kernel that is slower on 3 tokens than on 4 is evened out; `Fitted` says by how much.
"""

from collections.abc import Callable, Sequence

import numpy as np

from hardware_profiles.profile import Durations, DurationTable, Figure
from hardware_profiles.quantity import Dimension
from validation.calibrate.evidence import Evidence, Fitted, measured, measured_table, miss
from validation.calibrate.facts import Facts
from validation.calibrate.fits import Fit, TableFit, fit_additive, fit_table
from validation.calibrate.measure.cpu_experts import TOGETHER
from validation.calibrate.measure.passes import attended_tokens
from validation.calibrate.measurement import column, medians
from validation.calibrate.robust import Series
from validation.calibrate.weights import WeightBytes

_LEAST_S = 1e-9
_Table = tuple[TableFit, str]
"""A table and where it is from."""


class DurationTables:
    """Make `durations` and `runtime.per_layer`."""

    def __init__(self, evidence: Evidence, facts: Facts) -> None:
        self._evidence = evidence
        self._facts = facts
        passes = self._passes(1.0)
        tokens, overhead_s = column(passes, "tokens"), medians(passes, "visit_overhead")
        self._visit_s = min(s for s, count in zip(overhead_s, tokens, strict=True) if count == min(tokens))
        self._additive = fit_additive(tokens, _attended(passes), self._outside_experts_s(passes))
        self._note("pass.decode", "layer", "durations.layer + durations.context", 1.0, self._additive.fit)

    def per_layer(self) -> Figure:
        """Return what a visit spends beside its experts, for one token."""
        what = "a visit less its experts: tokens sorted by expert, outputs summed"
        return measured(max(0.0, self._visit_s), Dimension.SECONDS, self._evidence.source(["pass.decode"], what))

    def durations(self) -> Durations:
        """Return all tables."""
        on_device = "on the device, several in a row, none cached"
        on_worker = "on a CPU worker, all workers busy, while the device waits"
        return Durations(
            expert=self._sized(lambda scale: self._expert("expert.alone", on_device, scale), lambda one: one.expert),
            low_expert=self._sized(
                lambda scale: self._expert("low_expert.alone", on_device, scale), lambda one: one.low_expert
            ),
            cpu_expert=self._sized(lambda scale: self._expert(TOGETHER, on_worker, scale), lambda one: one.expert),
            layer=self._sized(self._layer, lambda one: one.layer),
            context=measured_table(self._additive.second, self._of_layers("MoE", self._additive.fit, 1.0), None),
            dense_layer=self._sized(self._dense_layer, lambda one: one.dense_layer)
            if self._facts.weights.dense_layer
            else None,
            step=self._sized(self._step, lambda one: one.head),
        )

    def _sized(self, table_of: Callable[[float], _Table], bytes_of: Callable[[WeightBytes], int]) -> DurationTable:
        """Return the model's own table with those of its siblings."""
        others = [
            measured_table(*table_of(scale), bytes_of(weights))
            for scale, weights in self._facts.sibling_weights.items()
        ]
        return measured_table(*table_of(1.0), bytes_of(self._facts.weights), others)

    def _expert(self, name: str, what: str, scale: float) -> _Table:
        series = self._evidence.series(name, scale)
        table = fit_table(column(series, "tokens"), medians(series, "time"))
        self._note(name, "time", f"durations.{name.partition('.')[0]}", scale, table.fit)
        return table, self._evidence.source([name], f"{what}; {miss(table.fit)}", scale)

    def _layer(self, scale: float) -> _Table:
        if scale == 1:
            return self._additive.first, self._of_layers("MoE", self._additive.fit, scale)
        passes = self._passes(scale)
        table = self._without_context(passes, self._outside_experts_s(passes))
        self._note("pass.decode", "layer", "durations.layer", scale, table.fit)
        return table, self._of_layers("MoE", table.fit, scale)

    def _dense_layer(self, scale: float) -> _Table:
        passes = self._passes(scale)
        table = self._without_context(passes, medians(passes, "dense_layer"))
        return table, self._of_layers("dense", table.fit, scale)

    def _without_context(self, passes: Sequence[Series], seconds: Sequence[float]) -> TableFit:
        """Return times of layers by tokens, less those by attended tokens."""
        context = self._additive.second
        context_s = np.interp(_attended(passes), context.amounts, context.seconds).tolist()
        left_s = [max(_LEAST_S, whole - part) for whole, part in zip(seconds, context_s, strict=True)]
        return fit_table(column(passes, "tokens"), left_s)

    def _step(self, scale: float) -> _Table:
        """Return what a pass spends in no layer; a prefill has one row of logits, whatever its tokens."""
        decode, prefills = self._evidence.series("pass.decode", scale), self._evidence.series("pass.prefill", scale)
        table = fit_table(column(decode, "tokens"), [max(_LEAST_S, value) for value in medians(decode, "step")])
        self._note("pass.decode", "step", "durations.step", scale, table.fit)
        amounts, seconds = list(table.amounts), list(table.seconds)
        if prefills:
            amounts.append(prefills[-1].at["tokens"])
            seconds.append(max(seconds[-1], medians(prefills[-1:], "step")[0]))
        whole = TableFit(amounts=tuple(amounts), seconds=tuple(seconds), fit=table.fit)
        what = f"embedding, masks, head, sampling, read back; {miss(table.fit)}"
        return whole, self._evidence.source(["pass.decode"], what, scale)

    def _passes(self, scale: float) -> Sequence[Series]:
        """Return the points of decode steps, then those of prefills."""
        return [*self._evidence.series("pass.decode", scale), *self._evidence.series("pass.prefill", scale)]

    def _outside_experts_s(self, passes: Sequence[Series]) -> list[float]:
        """Return what a layer takes beside its experts, without `runtime.per_layer`."""
        parts = zip(medians(passes, "layer"), medians(passes, "visit_overhead"), strict=True)
        return [max(_LEAST_S, layer_s + visit_s - self._visit_s) for layer_s, visit_s in parts]

    def _of_layers(self, kind: str, fit: Fit, scale: float) -> str:
        names = [name for name in ("pass.decode", "pass.prefill") if self._evidence.series(name, scale)]
        what = f"mean over {kind} layers, attention, gate, shared experts and norms; {miss(fit)}"
        return self._evidence.source(names, what, scale)

    def _note(self, name: str, quantity: str, path: str, scale: float, fit: Fit) -> None:
        """Keep a fit, as far as it is to the points of one measurement: they come first in it."""
        series = self._evidence.series(name, scale)
        residuals = fit.relative_residuals[: len(series)]
        self._evidence.fits.append(
            Fitted(
                measurement=name,
                quantity=quantity,
                path=path if scale == 1 else f"{path}, {scale:g} times as wide",
                series=series,
                fit=Fit(
                    parameters=fit.parameters,
                    predicted_s=fit.predicted_s[: len(series)],
                    relative_residuals=residuals,
                    largest_relative_residual=max(map(abs, residuals)),
                ),
            )
        )


def _attended(passes: Sequence[Series]) -> list[float]:
    """Return what the tokens of each point attend to, summed; a point without a context is a prefill."""
    return [attended_tokens(one.at, is_prefill="context" not in one.at) for one in passes]
