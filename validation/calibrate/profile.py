"""Make a hardware profile of the samples of a calibration: every figure measured, its source dated.

    link.h2d            latency and bandwidth from transfers one after the other, of an eighth of an expert and more
    runtime.per_stall   what a miss costs beyond its transfer: passes of misses against passes of hits
    durations.expert    medians on the device, alone
    durations.cpu_expert  medians on a CPU worker under the load of a run
    durations.layer, context   decode steps and prefills, as a time by tokens and a time by attended tokens
    durations.step      what a pass spends in no layer
    runtime.per_layer   what a visit spends beside its experts, for one token; what more tokens add to that is in `layer`
    gpu, cpu, host      plain copies, reads and products of matrices; the efficiencies are those of expert kernels, fitted
                        with the roofline, which nothing uses as long as the durations stand in the profile
    cpu.speed_probe     the speed of the machine at which samples counted, where it was probed

Limits: tables do not descend, so a kernel that is slower on 3 tokens than on 4 is evened out; `Fitted` says by how much.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hardware_profiles import figures
from hardware_profiles.profile import (
    Cpu,
    Durations,
    DurationTable,
    Figure,
    Gpu,
    HardwareProfile,
    Host,
    Link,
    Links,
    Runtime,
)
from hardware_profiles.quantity import Dimension
from validation.calibrate.facts import Facts
from validation.calibrate.fits import Fit, TableFit, fit_additive, fit_line, fit_roofline, fit_table
from validation.calibrate.measure import stalls
from validation.calibrate.measure.machine import dtype_of
from validation.calibrate.measure.passes import attended_tokens
from validation.calibrate.measurement import column, counted_frac, medians, num_without, spreads
from validation.calibrate.reference import speed_in_words
from validation.calibrate.robust import Series
from validation.calibrate.samples import Samples
from validation.calibrate.subject import Subject

_LEAST_S = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A fit and the points of a measurement it was made of; `path` is where in the profile it went."""

    measurement: str
    quantity: str
    path: str
    series: Sequence[Series]
    fit: Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A profile and the fits that it rests on.

    `expert_in_pass_frac` is what an expert of one token took within whole passes, as a share of what the profile says: a
    check, to which nothing is fitted. `counted_frac` is the share of all samples that were taken at the reference speed;
    None where the machine was not probed.
    """

    profile: HardwareProfile
    fits: Sequence[Fitted]
    expert_in_pass_frac: float
    counted_frac: float | None


def assemble(samples: Samples, facts: Facts, subject: Subject, *, name: str) -> Calibrated:
    """Make the profile of all that was measured."""
    return _Assembly(samples, facts, subject).calibrated(name)


class _Assembly:
    def __init__(self, samples: Samples, facts: Facts, subject: Subject) -> None:
        self._taken = samples.taken
        self._reference = samples.reference
        self._facts = facts
        self._subject = subject
        self._fits: list[Fitted] = []
        self._is_cpu = subject.device.torch_device.type == "cpu"

    def calibrated(self, name: str) -> Calibrated:
        facts = self._facts
        per_layer, durations = self._durations()
        links = self._links()
        profile = HardwareProfile(
            name=name,
            description=(
                f"{facts.device_name}, measured by moesim calibrate on {self._date()} for {facts.model} in {facts.dtype}."
            ),
            gpu=self._gpu(),
            link=links,
            cpu=self._cpu(),
            host=Host(
                memory=self._read(facts.host_bytes, "as the operating system counts it"),
                bandwidth=self._memory_bandwidth("host.memory", None),
            ),
            runtime=Runtime(
                per_layer=per_layer,
                per_stall=self._per_stall(links),
                per_step=measured(0.0, Dimension.SECONDS, self._source(["pass.decode"], "contained in durations.step")),
                expert_kernels="per_expert",
                cpu_workers=measured(
                    self._subject.cpu_workers, Dimension.COUNT, f"as calibrated, {self._date()}: --cpu-workers"
                ),
            ),
            durations=durations,
        )
        singles = [one for one in self._series("pass.decode") if one.at["tokens"] == 1]
        in_pass_s = min(medians(singles, "expert"))
        assert isinstance(durations.expert, DurationTable)
        return Calibrated(
            profile=profile,
            fits=tuple(self._fits),
            expert_in_pass_frac=in_pass_s / durations.expert.seconds[0],
            counted_frac=self._counted_frac() if self._reference is not None else None,
        )

    def _gpu(self) -> Gpu:
        facts, subject = self._facts, self._subject
        where = "host" if self._is_cpu else "device"
        threads = subject.threads if self._is_cpu else None
        bandwidth = self._memory_bandwidth(f"{where}.memory", threads)
        flops = self._flops(f"{where}.flops", threads)
        launch_s = medians(self._series("device.launch"), "time")[0]
        series = self._series("expert.alone")
        params = subject.offloaded.layout.numel
        fit = fit_roofline(
            [float(facts.expert_bytes)] * len(series),
            [2.0 * params * tokens for tokens in column(series, "tokens")],
            medians(series, "time"),
            launch_s=launch_s,
        )
        self._fits.append(
            Fitted(
                measurement="expert.alone", quantity="time", path="gpu (roofline of experts)", series=series, fit=fit
            )
        )
        peak = max(figure.value for name, figure in flops.items() if name == self._dtype_name() or len(flops) == 1)
        source = self._source(["expert.alone"], f"expert kernels, as a share; {_miss(fit)}")
        return Gpu(
            name=facts.device_name,
            memory=self._read(facts.device_bytes, "as the driver or the operating system counts it"),
            memory_reserve=self._read(facts.reserve_bytes, "held by the process before the model came"),
            bandwidth=bandwidth,
            flops=flops,
            bandwidth_efficiency=measured(
                _share(fit.parameters["bandwidth_bytes_per_s"] / bandwidth.value), Dimension.FRACTION, source
            ),
            flops_efficiency=measured(_share(fit.parameters["flops_per_s"] / peak), Dimension.FRACTION, source),
            launch=measured(
                launch_s,
                Dimension.SECONDS,
                self._source(["device.launch"], "a kernel of one element among 200 in a row"),
            ),
        )

    def _links(self) -> Links:
        fetched, sent = self._line("link.h2d"), self._line("link.d2h")
        each = "transfers one after the other, time each = a + bytes / bandwidth"
        return Links(
            h2d=Link(
                bandwidth=self._rate(fetched, "link.h2d", each),
                latency=measured(
                    fetched.parameters["latency_s"],
                    Dimension.SECONDS,
                    self._source(["link.h2d"], f"{each}; {_miss(fetched)}"),
                ),
            ),
            d2h=Link(
                bandwidth=self._rate(sent, "link.d2h", each),
                latency=measured(
                    sent.parameters["latency_s"],
                    Dimension.SECONDS,
                    self._source(["link.d2h"], f"{each}; {_miss(sent)}"),
                ),
            ),
            host_memory="pinned",
        )

    def _cpu(self) -> Cpu:
        facts = self._facts
        (one_token_s, *_) = medians(self._series("cpu_expert.together"), "time")
        workers = self._subject.cpu_workers
        return Cpu(
            name=facts.processor,
            cores=measured(facts.cores, Dimension.COUNT, f"cores that the process may use, read on {self._date()}"),
            flops=self._flops("host.flops", None),
            expert_bandwidth=measured(
                workers * facts.expert_bytes / one_token_s,
                Dimension.BYTES_PER_S,
                self._source(["cpu_expert.together"], f"{workers} workers, each an expert of one token"),
            ),
            speed_probe=self._speed_probe(),
        )

    def _per_stall(self, links: Links) -> Figure:
        """Return what a stall costs beyond the transfer; see `validation.calibrate.measure.stalls`."""
        hits, missing = self._series(stalls.NAME)
        (hit_s, miss_s), (expert_s,) = medians([hits, missing], "pass"), medians([hits], "expert")
        (misses,), (transfer_s,) = medians([missing], "misses"), medians([missing], "transfer")
        if transfer_s == 0:
            assert links.h2d.bandwidth is not None
            assert links.h2d.latency is not None
            transfer_s = links.h2d.latency.value + self._facts.expert_bytes / links.h2d.bandwidth.value
        experts_per_layer = self._subject.offloaded.top_k
        per_layer_s = (miss_s - hit_s) / self._subject.offloaded.num_layers
        return measured(
            max(0.0, per_layer_s - misses * transfer_s + (experts_per_layer - 1) * expert_s),
            Dimension.SECONDS,
            self._source([stalls.NAME], "passes of misses, less passes of hits, less the transfers"),
        )

    def _speed_probe(self) -> Figure | None:
        """Return the speed at which samples counted; None where the machine was not probed."""
        if self._reference is None:
            return None
        return measured(
            self._reference.speed_ns / 1e9,
            Dimension.SECONDS,
            f"moesim calibrate, {self._reference.began[:10]}: a fixed piece of scalar work, undisturbed or as it "
            f"prevailed, among {len(self._reference.probes_ns)} probes before the measurements; "
            f"{self._counted_frac():.0%} of all samples were taken at it and counted; {self._facts.processor}",
        )

    def _counted_frac(self) -> float:
        return counted_frac([one for taken in self._taken.values() for one in taken.series])

    def _durations(self) -> tuple[Figure, Durations]:
        """Return `runtime.per_layer` and the tables."""
        facts = self._facts
        decode, prefill = self._series("pass.decode"), self._taken.get("pass.prefill")
        prefills = prefill.series if prefill is not None else ()
        tokens = column([*decode, *prefills], "tokens")
        attended = [attended_tokens(one.at, is_prefill=False) for one in decode]
        attended += [attended_tokens(one.at, is_prefill=True) for one in prefills]

        def of(quantity: str) -> list[float]:
            return [*medians(decode, quantity), *medians(prefills, quantity)]

        overhead_s = of("visit_overhead")
        least_s = min(seconds for seconds, count in zip(overhead_s, tokens, strict=True) if count == min(tokens))
        own_s = [layer + more - least_s for layer, more in zip(of("layer"), overhead_s, strict=True)]
        additive = fit_additive(tokens, attended, [max(_LEAST_S, seconds) for seconds in own_s])
        passes = ["pass.decode", *(["pass.prefill"] if prefills else [])]
        num_decode = len(decode)
        self._fits.append(
            Fitted(
                measurement="pass.decode",
                quantity="layer",
                path="durations.layer + durations.context",
                series=decode,
                fit=_first(additive.fit, num_decode),
            )
        )
        by_pass = self._source(
            passes, f"mean over MoE layers, attention, gate, shared experts and norms; {_miss(additive.fit)}"
        )
        return (
            measured(
                max(0.0, least_s),
                Dimension.SECONDS,
                self._source(["pass.decode"], "a visit less its experts: tokens sorted by expert, outputs summed"),
            ),
            Durations(
                expert=self._expert_table(
                    "expert.alone", "durations.expert", "on the device, several in a row, none cached"
                ),
                cpu_expert=self._expert_table(
                    "cpu_expert.loaded",
                    "durations.cpu_expert",
                    "on a CPU worker, all workers busy, while the link transfers and the device computes",
                ),
                layer=_table(additive.first, by_pass, facts.layer_bytes),
                context=_table(additive.second, by_pass, None),
                dense_layer=self._dense_table(decode, prefills, additive.second, by_pass),
                step=self._step_table(decode, prefills),
            ),
        )

    def _expert_table(self, name: str, path: str, what: str) -> DurationTable:
        series = self._series(name)
        table = fit_table(column(series, "tokens"), medians(series, "time"))
        self._fits.append(Fitted(measurement=name, quantity="time", path=path, series=series, fit=table.fit))
        return _table(table, self._source([name], f"{what}; {_miss(table.fit)}"), self._facts.expert_bytes)

    def _dense_table(
        self, decode: Sequence[Series], prefills: Sequence[Series], context: TableFit, source: str
    ) -> DurationTable | None:
        """Return the time of layers without experts, less that of the context."""
        if not self._facts.dense_layer_bytes:
            return None
        import numpy as np

        points = [(one, False) for one in decode] + [(one, True) for one in prefills]
        seconds = [
            medians([one], "dense_layer")[0]
            - float(np.interp(attended_tokens(one.at, is_prefill=is_prefill), context.amounts, context.seconds))
            for one, is_prefill in points
        ]
        tokens = [one.at["tokens"] for one, _ in points]
        table = fit_table(tokens, [max(_LEAST_S, value) for value in seconds])
        return _table(table, source.replace("MoE layers", "dense layers"), self._facts.dense_layer_bytes)

    def _step_table(self, decode: Sequence[Series], prefills: Sequence[Series]) -> DurationTable:
        """Return what a pass spends in no layer; a prefill has one row of logits, whatever its tokens."""
        table = fit_table(column(decode, "tokens"), [max(_LEAST_S, value) for value in medians(decode, "step")])
        self._fits.append(
            Fitted(measurement="pass.decode", quantity="step", path="durations.step", series=decode, fit=table.fit)
        )
        amounts, seconds = list(table.amounts), list(table.seconds)
        if prefills:
            amounts.append(prefills[-1].at["tokens"])
            seconds.append(max(seconds[-1], medians(prefills[-1:], "step")[0]))
        whole = TableFit(amounts=tuple(amounts), seconds=tuple(seconds), fit=table.fit)
        source = self._source(["pass.decode"], f"embedding, masks, head, sampling, read back; {_miss(table.fit)}")
        return _table(whole, source, self._facts.head_bytes)

    def _line(self, name: str) -> Fit:
        """Fit transfers of an eighth of an expert and more: small ones pay for other things."""
        large = [one for one in self._series(name) if one.at["bytes"] >= self._facts.expert_bytes / 8]
        series = large if len(large) >= 3 else self._series(name)
        fit = fit_line(column(series, "bytes"), medians(series, "each"))
        self._fits.append(Fitted(measurement=name, quantity="each", path=name, series=series, fit=fit))
        return fit

    def _rate(self, fit: Fit, name: str, what: str) -> Figure:
        rate = min(fit.parameters["rate"], 1e15)
        return measured(rate, Dimension.BYTES_PER_S, self._source([name], f"{what}; {_miss(fit)}"))

    def _memory_bandwidth(self, name: str, threads: int | None) -> Figure:
        """Return the faster of a copy (bytes read and written) and a read, by `threads`, or by as many as are best."""
        rates = []
        for one in self._series(name):
            if threads in (None, one.at["threads"]):
                copy_s, read_s = (medians([one], quantity)[0] for quantity in ("copy", "read"))
                rates.append(max(2 * one.at["bytes"] / copy_s, one.at["bytes"] / read_s))
        by = "the best number of" if threads is None else str(threads)
        return measured(
            max(rates),
            Dimension.BYTES_PER_S,
            self._source([name], f"large copies and reads by {by} threads, the faster"),
        )

    def _flops(self, name: str, threads: int | None) -> dict[str, Figure]:
        """Return FLOP/s by dtype, by `threads`, or by as many as are best."""
        best: dict[str, float] = {}
        for one in self._series(name):
            if threads in (None, one.at["threads"]):
                rate = 2 * one.at["width"] ** 3 / medians([one], "time")[0]
                dtype = dtype_of(one.at["dtype_bits"])
                best[dtype] = max(best.get(dtype, 0.0), rate)
        width = round(self._series(name)[0].at["width"])
        source = self._source([name], f"product of matrices of {width} x {width}")
        return {dtype: measured(rate, Dimension.FLOPS, source) for dtype, rate in best.items()}

    def _dtype_name(self) -> str:
        return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[self._facts.dtype]

    def _series(self, name: str) -> Sequence[Series]:
        return self._taken[name].series

    def _read(self, num_bytes: int, how: str) -> Figure:
        return measured(num_bytes, Dimension.BYTES, f"read on {self._date()}, {how}")

    def _date(self) -> str:
        return max(taken.began for taken in self._taken.values())[:10]

    def _source(self, names: Sequence[str], what: str) -> str:
        """Say what was measured, how often, with what spread, where and with what."""
        facts = self._facts
        series = [one for name in names for one in self._series(name)]
        all_spreads = [spread for one in series for spread in spreads([one], _main(one))]
        counts = sorted(spread.count for spread in all_spreads)
        wide = max((s.upper_quartile_s - s.lower_quartile_s) / s.median_s for s in all_spreads if s.median_s > 0)
        repeats = f"{counts[0]} to {counts[-1]}" if counts[0] != counts[-1] else str(counts[0])
        began = max(self._taken[name].began for name in names)[:10]
        return (
            f"moesim calibrate, {began}: {what}. Medians of {repeats} samples at {len(counts)} points, quartiles within "
            f"{wide:.0%} of the median{self._at_speed(series)}; {facts.model} in {facts.dtype} on {facts.device_name}, "
            f"torch {facts.versions['torch']}"
        )

    def _at_speed(self, series: Sequence[Series]) -> str:
        """Say at which speed of the machine samples counted, and what was done where there were none."""
        if self._reference is None:
            return ""
        said = f", at a {speed_in_words(self._reference.speed_ns, counted_frac(series))}"
        without = num_without(series)
        return f"{said}; none at {without} of {len(series)} points, where all are used instead" if without else said


def measured(value: float, dimension: Dimension, source: str) -> Figure:
    """Make a measured figure of four digits; bytes and counts are kept as they are."""
    is_exact = dimension in (Dimension.BYTES, Dimension.COUNT)
    return figures.measured(value if is_exact else _rounded(value), dimension, source)


def _rounded(value: float) -> float:
    """Round to the four digits that a measurement may claim."""
    return float(f"{value:.4g}")


def _table(table: TableFit, source: str, weights_bytes: int | None) -> DurationTable:
    return DurationTable(
        amounts=table.amounts,
        seconds=tuple(map(_rounded, table.seconds)),
        kind="measured",
        source=source,
        weights_bytes=float(weights_bytes) if weights_bytes else None,
    )


def _first(fit: Fit, count: int) -> Fit:
    """Return a fit's first points."""
    kept = fit.relative_residuals[:count]
    return Fit(
        parameters=fit.parameters,
        predicted_s=fit.predicted_s[:count],
        relative_residuals=kept,
        largest_relative_residual=max(map(abs, kept)),
    )


def _main(one: Series) -> str:
    return next(iter(one.samples))


def _miss(fit: Fit) -> str:
    return f"misses no point by more than {fit.largest_relative_residual:.1%}"


def _share(value: float) -> float:
    return min(1.0, max(1e-3, value))
