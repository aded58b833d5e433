"""Which system for which machine? Print TPOT by both, and the fastest on each; the oracle bounds what any could reach.

python examples/studies/system_for_machine.py
python examples/studies/system_for_machine.py trace=gpt-oss.safetensors model=gpt-oss-20b

Words after it are settings of the scenario. Needs pandas.
"""

import sys
from pathlib import Path

import yaml

import simulator

ORACLE = "oracle_prefetch"


def main(words: list[str]) -> None:
    """Run the sweep beside this file and print its answer."""
    settings = {path: yaml.safe_load(value) for path, _, value in (word.partition("=") for word in words)}
    swept = simulator.sweep(Path(__file__).with_suffix(".yaml"), jobs=None, **settings)
    for row in swept.failed:
        print(f"{row['system']} on {row['hardware']}: {row['reason']}")
    tpot_ms = swept.to_frame().pivot(index="system", columns="hardware", values="tpot_p50_s") * 1e3
    print("TPOT in ms, by system and machine:")
    print(tpot_ms.round(5).to_string())
    systems = tpot_ms.drop(ORACLE)
    print("\nthe fastest of each machine, and how far above the oracle it is:")
    for machine in systems:
        best = systems[machine].idxmin()
        print(f"{machine}: {best}, {systems[machine][best] / tpot_ms[machine][ORACLE] - 1:.0%}")


if __name__ == "__main__":
    main(sys.argv[1:])
