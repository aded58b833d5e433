"""A sentence in the making: each number that it tells is kept with its name and unit."""

from hardware_profiles.quantity import format_bytes
from simulator.durations import format_duration
from simulator.explain.metrics import Metric


class Told:
    """Writes numbers for people, and remembers them as `figures`."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}

    def share(self, name: str, value: float) -> str:
        """Write a share as per cent, without its sign."""
        self.figures[f"{name}_frac"] = value
        return f"{abs(value):.1%}"

    def metric(self, metric: Metric, name: str, value: float) -> str:
        """Write a metric, a latency or a rate."""
        self.figures[f"{name}_{metric.name}"] = value
        if not metric.is_rate:
            return format_duration(value)
        return f"{value:.4g} {'tokens' if 'tokens' in metric.name else 'requests'}/s"

    def num_bytes(self, name: str, value: float) -> str:
        """Write bytes."""
        self.figures[f"{name}_bytes"] = value
        return format_bytes(value)

    def bandwidth(self, name: str, value: float) -> str:
        """Write bytes per second, in powers of ten."""
        self.figures[f"{name}_bandwidth_bytes_per_s"] = value
        return f"{value / 1e9:.4g} GB/s"

    def count(self, name: str, value: float) -> str:
        """Write a whole number."""
        self.figures[name] = value
        return f"{value:,.0f}"

    def number(self, name: str, value: float, pattern: str) -> str:
        """Write any number."""
        self.figures[name] = value
        return pattern.format(value)
