"""Points of a sweep that was never run: figures by formula, so that tests know them."""

from itertools import product

from simulator.metrics.counters import ATTRIBUTION

AXES = ("cache.frac", "pcie", "system", "batch")
FRACS = (0.1, 0.25, 0.5, 1.0)
LINKS = ("gen3x16", "gen4x16", "gen5x16")
SYSTEMS = ("on_demand", "mixtral-offloading", "</script><img src=x onerror=alert(1)>")
BATCHES = (1, 8)
REASON = 'no room: <b>12 MiB</b> short & "nothing" to evict'

Row = dict[str, object]


def point(frac: float, link: str, system: str, batch: int, *, seed: int = 0) -> Row:
    """Return a point; those without any cache to speak of and a large batch have failed."""
    place = LINKS.index(link) + 10 * (0 if system not in SYSTEMS else SYSTEMS.index(system)) + seed
    row: Row = {"cache.frac": frac, "pcie": link, "system": system, "batch": batch}
    row["command"] = f"moesim run demo.yaml --cache-frac {frac} --pcie {link} --system '{system}' --batch {batch}"
    row["key"] = f"{frac}-{link}-{system}-{batch}-{seed}"
    if frac < 0.2 and batch == BATCHES[-1] and not seed:
        return row | {"status": "failed", "reason": REASON}
    parts_ns = {cause: 1_000_003 * (index + 1 + place) for index, cause in enumerate(ATTRIBUTION)}
    parts_ns["exposed_demand_fetch"] += int(1e8 * (1 - frac) / (1 + LINKS.index(link)))
    tpot_s = sum(parts_ns.values()) * batch / 1e9 / 64
    return row | {
        "status": "ok",
        "reason": None,
        "tokens": 64,
        "makespan_ns": sum(parts_ns.values()),
        "tpot_s": {"mean": 1.01 * tpot_s, "p50": tpot_s},
        "throughput_tokens_per_s": batch / tpot_s,
        "hit_frac": frac**0.5,
        "cache_bytes": int(frac * (24 << 30)),
        "expert_bytes": 13_238_272,
        "attribution_s": {cause: value / 1e9 for cause, value in parts_ns.items()},
        "attribution_ns": parts_ns,
        "warnings": ["the first steps are slow"] if batch > 1 else [],
    }


def small_sweep() -> list[Row]:
    """Return every combination."""
    return [point(*place) for place in product(FRACS, LINKS, SYSTEMS, BATCHES)]


def large_sweep() -> list[Row]:
    """Return ten thousand points along five axes."""
    fracs = [0.05 * step for step in range(1, 21)]
    systems = [f"system-{number}" for number in range(10)]
    places = product(fracs, LINKS[:2], systems, (1, 2, 4, 8, 16), range(5))
    rows = []
    for number, (frac, link, system, batch, seed) in enumerate(places):
        row = point(frac, link, system, batch, seed=1 + (7 * number) % 97)
        rows.append(row | {"seed": seed})
    return rows
