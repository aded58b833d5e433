"""The machine's own figures: device, processor, memory and link, each as measured."""

from hardware_profiles.profile import Cpu, Figure, Gpu, Host, Link, Links
from hardware_profiles.quantity import Dimension
from validation.calibrate.evidence import Evidence, Fitted, measured, miss
from validation.calibrate.facts import Facts
from validation.calibrate.fits import Fit, fit_line, fit_roofline
from validation.calibrate.measure.cpu_experts import TOGETHER
from validation.calibrate.measure.machine import dtype_of
from validation.calibrate.measurement import column, medians
from validation.calibrate.subject import Subject
from validation.calibrate.wait_figures import cpu_slowed_by_copies


class MachineFigures:
    """Make the figures of the machine."""

    def __init__(self, evidence: Evidence, facts: Facts, subject: Subject) -> None:
        self._evidence = evidence
        self._facts = facts
        self._subject = subject
        self._is_cpu = subject.device.torch_device.type == "cpu"

    def gpu(self) -> Gpu:
        """Return the device; its efficiencies are those of expert kernels."""
        facts, subject = self._facts, self._subject
        where = "host" if self._is_cpu else "device"
        threads = subject.threads if self._is_cpu else None
        bandwidth = self._memory_bandwidth(f"{where}.memory", threads)
        flops = self._flops(f"{where}.flops", threads)
        launch_s = medians(self._evidence.series("device.launch"), "time")[0]
        series = self._evidence.series("expert.alone")
        params = subject.offloaded.layout.numel
        fit = fit_roofline(
            [float(facts.weights.expert)] * len(series),
            [2.0 * params * tokens for tokens in column(series, "tokens")],
            medians(series, "time"),
            launch_s=launch_s,
        )
        self._evidence.fits.append(
            Fitted(
                measurement="expert.alone", quantity="time", path="gpu (roofline of experts)", series=series, fit=fit
            )
        )
        peak = max(figure.value for name, figure in flops.items() if name == self._dtype_name() or len(flops) == 1)
        source = self._evidence.source(["expert.alone"], f"expert kernels, as a share; {miss(fit)}")
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
                self._evidence.source(["device.launch"], "a kernel of one element among 200 in a row"),
            ),
        )

    def links(self) -> Links:
        """Return both directions of the link."""
        fetched, sent = self._line("link.h2d"), self._line("link.d2h")
        each = "transfers one after the other, time each = a + bytes / bandwidth"
        return Links(
            h2d=Link(
                bandwidth=self._rate(fetched, "link.h2d", each),
                latency=measured(
                    fetched.parameters["latency_s"],
                    Dimension.SECONDS,
                    self._evidence.source(["link.h2d"], f"{each}; {miss(fetched)}"),
                ),
            ),
            d2h=Link(
                bandwidth=self._rate(sent, "link.d2h", each),
                latency=measured(
                    sent.parameters["latency_s"],
                    Dimension.SECONDS,
                    self._evidence.source(["link.d2h"], f"{each}; {miss(sent)}"),
                ),
            ),
            host_memory="pinned",
        )

    def cpu(self) -> Cpu:
        """Return the host's processor."""
        facts = self._facts
        (one_token_s, *_) = medians(self._evidence.series(TOGETHER), "time")
        workers = self._subject.cpu_workers
        return Cpu(
            name=facts.processor,
            cores=measured(
                facts.cores, Dimension.COUNT, f"cores that the process may use, read on {self._evidence.date()}"
            ),
            flops=self._flops("host.flops", None),
            expert_bandwidth=measured(
                workers * facts.weights.expert / one_token_s,
                Dimension.BYTES_PER_S,
                self._evidence.source([TOGETHER], f"{workers} workers, each an expert of one token"),
            ),
            speed_probe=self._speed_probe(),
            slowed_by_copies=cpu_slowed_by_copies(self._evidence),
        )

    def host(self) -> Host:
        """Return the host's memory."""
        return Host(
            memory=self._read(self._facts.host_bytes, "as the operating system counts it"),
            bandwidth=self._memory_bandwidth("host.memory", None),
        )

    def _speed_probe(self) -> Figure | None:
        """Return the speed at which samples counted; None where the machine was not probed."""
        if self._evidence.reference is None:
            return None
        return measured(
            self._evidence.reference.speed_ns / 1e9,
            Dimension.SECONDS,
            f"moesim calibrate, {self._evidence.reference.began[:10]}: a fixed piece of work, "
            f"undisturbed or as it prevailed, among {len(self._evidence.reference.probes_ns)} probes before the "
            "measurements; "
            f"{self._evidence.counted_frac():.0%} of all samples were taken at it and counted; {self._facts.processor}",
        )

    def _line(self, name: str) -> Fit:
        """Fit transfers of an eighth of an expert and more: small ones pay for other things."""
        large = [one for one in self._evidence.series(name) if one.at["bytes"] >= self._facts.weights.expert / 8]
        series = large if len(large) >= 3 else self._evidence.series(name)
        fit = fit_line(column(series, "bytes"), medians(series, "each"))
        self._evidence.fits.append(Fitted(measurement=name, quantity="each", path=name, series=series, fit=fit))
        return fit

    def _rate(self, fit: Fit, name: str, what: str) -> Figure:
        rate = min(fit.parameters["rate"], 1e15)
        return measured(rate, Dimension.BYTES_PER_S, self._evidence.source([name], f"{what}; {miss(fit)}"))

    def _memory_bandwidth(self, name: str, threads: int | None) -> Figure:
        """Return the faster of a copy (bytes read and written) and a read, by `threads`, or by as many as are best."""
        rates = []
        for one in self._evidence.series(name):
            if threads in (None, one.at["threads"]):
                copy_s, read_s = (medians([one], quantity)[0] for quantity in ("copy", "read"))
                rates.append(max(2 * one.at["bytes"] / copy_s, one.at["bytes"] / read_s))
        by = "the best number of" if threads is None else str(threads)
        return measured(
            max(rates),
            Dimension.BYTES_PER_S,
            self._evidence.source([name], f"large copies and reads by {by} threads, the faster"),
        )

    def _flops(self, name: str, threads: int | None) -> dict[str, Figure]:
        """Return FLOP/s by dtype, by `threads`, or by as many as are best."""
        best: dict[str, float] = {}
        for one in self._evidence.series(name):
            if threads in (None, one.at["threads"]):
                rate = 2 * one.at["width"] ** 3 / medians([one], "time")[0]
                dtype = dtype_of(one.at["dtype_bits"])
                best[dtype] = max(best.get(dtype, 0.0), rate)
        width = round(self._evidence.series(name)[0].at["width"])
        source = self._evidence.source([name], f"product of matrices of {width} x {width}")
        return {dtype: measured(rate, Dimension.FLOPS, source) for dtype, rate in best.items()}

    def _dtype_name(self) -> str:
        return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[self._facts.dtype]

    def _read(self, num_bytes: int, how: str) -> Figure:
        return measured(num_bytes, Dimension.BYTES, f"read on {self._evidence.date()}, {how}")


def _share(value: float) -> float:
    return min(1.0, max(1e-3, value))
