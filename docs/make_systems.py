"""Write docs/systems.md from the systems that ship, and docs/policies.md from the policies.

python docs/make_systems.py
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from simulator.batching import BATCHING
from simulator.eviction import EVICTION
from simulator.miss import MISS
from simulator.order import ORDER
from simulator.placement import PLACEMENT
from simulator.policy import DEFAULTS
from simulator.prefetch import PREFETCH
from simulator.queue import QUEUE
from simulator.request_router import REQUEST_ROUTER
from simulator.scenario import ReplicasChoice
from simulator.slots import SLOTS
from simulator.systems import System, read_system, system_names

DOCS = Path(__file__).resolve().parent
KINDS: Mapping[str, tuple[str, Mapping[str, Callable[..., object]]]] = {
    "placement": ("What is resident before the first step, and whether it may be evicted.", PLACEMENT),
    "slots": ("How the slots of a cache whose scope is `per_layer` are divided among the layers' banks.", SLOTS),
    "eviction": ("Who loses a slot when one is needed.", EVICTION),
    "prefetch": ("What is brought before a gate asks for it.", PREFETCH),
    "miss": ("What becomes of an expert that a gate has picked and the GPU lacks.", MISS),
    "order": ("In which order a layer's experts are fetched and computed.", ORDER),
    "queue": ("Which prefetches that wait are called off at a gate.", QUEUE),
    "batching": ("Which sequences that decode share a step.", BATCHING),
    "router": ("Which machine of a service serves a request: the key `router` of `replicas`.", REQUEST_ROUTER),
}
_WIDTH = 120


def systems_page() -> str:
    """Return docs/systems.md."""
    systems = [read_system(name) for name in system_names()]
    rows = [
        f"| [`{system.name}`](#{system.name}) | {system.description} | {system.quality or '-'} |" for system in systems
    ]
    return "\n".join(
        [
            "# Systems",
            "",
            "Written by `docs/make_systems.py` from `simulator/systems/*.yaml`. A system is a composition of policies",
            "([policies.md](policies.md)) and settings that stands for a published one; `--system NAME`, or `system: NAME`",
            "in a scenario, whose own settings replace the system's one by one. `moesim compare` runs them side by side.",
            "",
            "| system | what it does | what the output loses |",
            "|---|---|---|",
            *rows,
            "",
            *(line for system in systems for line in _details(system)),
        ]
    )


def policies_page() -> str:
    """Return docs/policies.md."""
    lines = [
        "# Policies",
        "",
        "Written by `docs/make_systems.py` from the policies' own docstrings, where sources and limits stand as well.",
        "A scenario names a policy by `KIND: NAME`, or `KIND: {name: NAME, PARAMETER: VALUE}`; `module:Class` is one of",
        "your own ([write_a_policy.md](write_a_policy.md)), and entry points of the group `moesim.KIND` are found by name.",
        "",
    ]
    for kind, (text, known) in KINDS.items():
        default = (ReplicasChoice(count=1).router if kind == "router" else DEFAULTS[kind]).name
        lines += [
            f"## {kind}",
            "",
            f"{text} By default `{default}`.",
            "",
            "| name | what it does | parameters |",
            "|---|---|---|",
        ]
        lines += [f"| `{name}` | {_first_line(policy)} | {_parameters(policy)} |" for name, policy in known.items()]
        lines.append("")
    return "\n".join(lines)


def _details(system: System) -> list[str]:
    settings = yaml.safe_dump(dict(system.settings), sort_keys=False, width=_WIDTH).rstrip()
    texts = [f"Source: {system.source}"]
    texts += [f"The output loses: {system.quality}"] if system.quality else []
    texts += [f"Differs: {system.differs}"] if system.differs else []
    paragraphs = [line for text in (system.description, *texts) for line in (text, "")]
    return [f"## {system.name}", "", *paragraphs, "```yaml", settings, "```", ""]


def _first_line(policy: Callable[..., object]) -> str:
    return " ".join((inspect.getdoc(policy) or "").split("\n\n")[0].split()).replace("|", "\\|")


def _parameters(policy: Callable[..., object]) -> str:
    named = [
        f"`{name}` {_written(parameter.default)}"
        for name, parameter in inspect.signature(policy).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    return ", ".join(named) or "-"


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def main() -> None:
    """Write both pages."""
    (DOCS / "systems.md").write_text(systems_page(), encoding="utf-8")
    (DOCS / "policies.md").write_text(policies_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
