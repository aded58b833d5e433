"""How good must a predictor be? Print TPOT without prefetch, and how far each predictor is from that.

python examples/studies/predictor.py
python examples/studies/predictor.py trace=gpt-oss.safetensors model=gpt-oss-20b

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
    frame = swept.to_frame()
    frame["predictor"] = frame["prefetch"] + " " + frame["lookahead"].fillna("")
    tpot_ms = (
        frame.pivot(index="predictor", columns="cache.frac", values="tpot_p50_s").loc[frame["predictor"].unique()] * 1e3
    )
    print("TPOT in ms, by predictor and share of experts resident:")
    print(tpot_ms.round(5).to_string())
    without = tpot_ms.iloc[0]
    for share in tpot_ms:
        gains = [name for name in tpot_ms.index[1:] if tpot_ms[share][name] < without[share]]
        print(f"\n{share:.0%} resident: {len(gains)} of {len(tpot_ms) - 1} are faster than no prefetch")
        print("\n".join(f"  {name.strip()}" for name in gains))


if __name__ == "__main__":
    main(sys.argv[1:])
