"""More cache, or a faster link? Print TPOT by both, and what the next step of either would gain.

python examples/studies/cache_and_link.py
python examples/studies/cache_and_link.py trace=gpt-oss.safetensors model=gpt-oss-20b

Words after it are settings of the scenario. Needs pandas.
"""

import sys
from pathlib import Path

import yaml

import simulator


def main(words: list[str]) -> None:
    """Run the sweep beside this file and print its answer."""
    settings = {path: yaml.safe_load(value) for path, _, value in (word.partition("=") for word in words)}
    swept = simulator.sweep(Path(__file__).with_suffix(".yaml"), jobs=None, **settings)
    tpot_ms = swept.to_frame().pivot(index="cache.frac", columns="pcie", values="tpot_p50_s") * 1e3
    print("TPOT in ms, by share of experts resident and link:")
    print(tpot_ms.round(5).to_string())
    print("\ngain of the next link over the gain of the next cache size (above 1: the link gains more):")
    link, cache = tpot_ms.diff(axis=1).shift(-1, axis=1), tpot_ms.diff().shift(-1)
    print((link / cache).iloc[:-1, :-1].round(2).to_string())


if __name__ == "__main__":
    main(sys.argv[1:])
