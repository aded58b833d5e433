"""The replicas of a service, as a table for the terminal."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from simulator.durations import format_duration

_MOST_ROWS = 32


def replicas_table(replicas: Mapping[str, object]) -> Table:
    """Lay out the key `replicas` of a summary; what does not fit is in the JSON."""
    router, rows, unlike = replicas["router"], replicas["each"], replicas["largest_over_mean"]
    assert isinstance(router, Mapping)
    assert isinstance(rows, Sequence)
    assert isinstance(unlike, Mapping)
    parameters = ", ".join(f"{key} {value}" for key, value in router.items() if key != "name")
    title = f"Replicas: {router['name']}{f' ({parameters})' if parameters else ''}"
    title += "; sessions stick" if replicas["sessions"] == "sticky" else ""
    if unlike["gpu_busy_frac"] is not None:
        title += f"; the busiest GPU works {unlike['gpu_busy_frac']:.2f} times the mean"
    table = Table(title=title, title_justify="left")
    for heading in ("", "requests", "tokens", "GPU", "H2D", "hits", "in system", "TTFT p99"):
        table.add_column(heading, justify="right")
    for row in rows[:_MOST_ROWS]:
        table.add_row(
            f"{row['replica']}",
            f"{row['requests']}",
            f"{row['tokens']}",
            *(_share(row[name]) for name in ("gpu_busy_frac", "h2d_busy_frac", "hit_frac")),
            f"{row['mean_in_system']:.3g}",
            format_duration(row["ttft_s"]["p99"]),
        )
    if len(rows) > _MOST_ROWS:
        table.caption = f"and {len(rows) - _MOST_ROWS} more, in the JSON summary"
    return table


def _share(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, float) else "-"
