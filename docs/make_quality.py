"""Write docs/quality.md from validation/results/quality.json: python docs/make_quality.py"""

import json
from collections.abc import Mapping, Sequence
from math import exp
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "validation" / "results" / "quality.json"
PAGE = ROOT / "docs" / "quality.md"
_MASSES = {
    "dropped": "dropped",
    "substituted": "substituted",
    "low_precision": "low precision",
    "deferred": "a layer late",
}

_WHAT = """\
# What lossy policies cost

<!-- written by docs/make_quality.py from validation/results/quality.json -->

Some ways to handle a miss change the model's output: an expert is dropped, or replaced by another, or used in low
precision, or added a layer late. A simulation counts this as shares of the gate's mass (`loss` in its summary). What
such a share costs is a matter for measurement: `moesim quality` runs a model on texts with the very policies, and
compares its perplexity with that of the model as it is. The curves fitted to what it measures ship, and a run's summary has

```json
"quality": {"perplexity_ratio": {"low": ..., "mid": ..., "high": ...}, "measured_on": "...", "is_extrapolated": false}
```

`null` where nothing is lost. `low` to `high` holds nine of ten configurations of the kind, where only one kind of loss
is there; bounds of several kinds are added, which holds more. `is_extrapolated` says that a share is beyond what was
measured, that the format of the copies was not (the next lower one's curve is then taken), or that a policy loses more
than its masses say (`daop`).
"""

_HOW = """\
## How it is measured

- The model is offloaded, and its own gates pick. Every token of a text is fed as a decode step of its own, at batch 1, and
  predicts the next (teacher forcing). There is no prefill.
- Each segment of text is a run of its own: its cache holds at first what the placement puts there (nothing, or the
  experts that are popular in other texts), and the policy, the eviction order and the dispatch are the simulator's
  objects, carried out by the torch runtime of `validation`. Copies take no time, which changes nothing in what is computed.
- Policies that learn (buddies, popularity, thresholds) do so from the routing of other texts.
- The loss is ln(perplexity / perplexity of the unoffloaded model), over the same tokens. Its error is that of the mean over
  segments.
- The mass is the simulator's, on the recorded routing of the unoffloaded model. A lossy run routes some tokens otherwise
  in later layers (*routed otherwise*: the share of its tokens and layers), so that the masses counted in the run differ
  a little; both are given.
- A configuration with several kinds of loss is not fitted. What the curves of its kinds add up to is compared with what was
  measured: that losses add is an assumption, and this is its test.
"""

_LIMITS = """\
## Limits

- One model, and a tiny one. Its experts are small and hardly trained, its gates choose two of 32, and it is measured on
  text of the kind that it was trained on. Larger models are said to bear losses better, and a pick of eight carries less
  than a pick of two; how much less, this does not tell. Take the ratio of another model as an order of magnitude, and
  the order of two policies that lose in the same way as more reliable than that.
- Perplexity of the next token is not the quality of an answer: errors of generated text add up, and a benchmark may
  notice more or less.
- The weights of dropped experts are not shared out among the others, since no policy here does so.
- Low precision is one simple scheme, plain rounding in groups; a format with calibration loses less.
- The band holds for policies such as these. One that chooses by another rule which mass to lose may lie outside.

## Measure a model of your own

```sh
moesim quality ./my-model --texts held-out.jsonl --learn-from other.jsonl --results mine.json
python -m validation.quality.curves mine.json --out my-curves.json
```

The texts should be of the kind that the model will serve, and the model not trained on them. Then, in Python:

```py
from pathlib import Path
from simulator.quality import quality_of, read_curves

quality = quality_of(summary["loss"], low_format="int8", curves=read_curves(Path("my-curves.json")))
```

What ships was made by

```sh
python -m traces.nano.corpus --out corpus
python -m validation.quality.nano --data corpus --out texts
moesim quality traces/nano/model --texts texts/evaluated.jsonl --learn-from texts/learned.jsonl \\
  --segments 20 --segment-tokens 256 --learn-segments 60 --side-by-side 20 --results validation/results/quality.json
python -m validation.quality.curves validation/results/quality.json
python docs/make_quality.py
```
"""


def quality_page(result: Mapping[str, object]) -> str:
    """Return the page's text."""
    return "\n".join([_WHAT, *_facts(result), *_findings(result), *_curves(result), *_table(result), _HOW, _LIMITS])


def read_result() -> dict[str, object]:
    """Return the committed result."""
    values = json.loads(RESULT.read_text(encoding="utf-8"))
    assert isinstance(values, dict)
    return values


def _facts(result: Mapping[str, object]) -> list[str]:
    model, texts, machine, versions = (_mapping(result[key]) for key in ("model", "texts", "machine", "versions"))
    commit = _mapping(result["commit"])
    sources = ", ".join(f"{name} {count}" for name, count in _mapping(texts["sources"]).items())
    return [
        "## What was measured",
        "",
        f"{model['name']}: {model['parameters']:,} parameters, {model['moe_layers']} MoE layers of "
        f"{model['experts']} experts, top-{model['top_k']}, in {model['dtype']}; its perplexity is {result['reference_perplexity']:.2f}.",
        f"{texts['segments']} segments of {texts['segment_tokens']} tokens, {texts['tokens']:,} in all, of texts that it was "
        f"not trained on ({sources}); policies learned from {texts['learned_tokens']:,} tokens of others.",
        f"{machine['processor']}, {machine['cores']} cores; "
        + ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
        + f"; commit {str(commit['id'])[:12]}{' with changes' if commit['is_dirty'] else ''}; {result['date']}.",
        "",
    ]


def _findings(result: Mapping[str, object]) -> list[str]:
    rows = _rows(result["configurations"])
    fitted = [row for row in rows if row["kind"] not in ("none", "mixed", "uncounted")]
    mixed = [row for row in rows if row["kind"] == "mixed"]
    lossless = next(row for row in rows if row["kind"] == "none")
    apart = max(
        abs(_number(_mapping(row["counted"])[kind]) - _number(_mapping(row["simulated"])[kind]))
        for row in rows
        for kind in _MASSES
    )
    lines = [
        f"- Without loss: ratio {_number(lossless['perplexity_ratio']):.6f}.",
        f"- In the band: {sum(bool(row['in_band']) for row in fitted)} of the {len(fitted)} fitted configurations, and "
        f"{sum(bool(row['in_band']) for row in mixed)} of {len(mixed)} mixed ones, which were not fitted.",
        f"- Masses counted in the run and simulated differ by {apart:.3f} at most.",
    ]
    for kind, entry in _mapping(result["fits"]).items():
        errors = [
            abs(exp(_number(one["foretold"]) - _number(one["ln_ratio"])) - 1)
            for one in _rows(_mapping(entry)["left_out"])
        ]
        lines.append(
            f"- {kind}: each configuration foretold by the others, the ratio is off by "
            f"{sorted(errors)[len(errors) // 2]:.1%} in the median and {max(errors):.1%} at most."
        )
    return [*lines, ""]


def _curves(result: Mapping[str, object]) -> list[str]:
    curves = _mapping(result["curves"])
    lines = [
        "## The curves",
        "",
        "ln(ratio) = a m + b m^2, with m the share of the gate's mass. The last columns are the ratio for a tenth of the "
        "mass, and the largest share that was measured.",
        "",
        "| mass | a, b | low: a, b | high: a, b | ratio at m = 0.1 | measured to |",
        "|---|---|---|---|---|---|",
    ]
    named = {
        **{name.replace("_", ", "): one for name, one in _mapping(curves["of_mass"]).items()},
        **{f"low precision, {name}": one for name, one in _mapping(curves["of_format"]).items()},
    }
    for name, one in named.items():
        curve = _mapping(one)
        pairs = {key: _numbers(curve[key]) for key in ("mid", "low", "high")}
        texts = [", ".join(f"{value:.3g}" for value in pair) for pair in pairs.values()]
        mid, low, high = (exp(pair[0] * 0.1 + pair[1] * 0.01) for pair in pairs.values())
        lines.append(
            f"| {name} | {' | '.join(texts)} | {mid:.3f} ({low:.3f} to {high:.3f}) | {_number(curve['measured_to']):.2f} |"
        )
    lines += [
        "",
        "What was fitted, and how well other forms and masses foretell a configuration that is left out (in units of",
        "",
    ]
    lines[-2] += " its expected error; smaller is better):"
    lines += ["| kind | masses | form | scores of the masses | scores of the forms |", "|---|---|---|---|---|"]
    for kind, entry in _mapping(result["fits"]).items():
        fit = _mapping(entry)
        masses, forms = (
            ", ".join(f"{name} {_number(score):.2f}" for name, score in _mapping(fit[key]).items())
            for key in ("scores_by_masses", "scores")
        )
        chosen = [" + ".join(_texts(fit[key])) for key in ("masses", "form")]
        lines.append(f"| {kind} | {' | '.join(chosen)} | {masses} | {forms} |")
    return [*lines, ""]


def _table(result: Mapping[str, object]) -> list[str]:
    lines = [
        "## All configurations",
        "",
        "Ratio of perplexities, with its standard error; the mass simulated, and in brackets the mass counted in the run; "
        "what the curves say. Plotted with the mass on one axis and ln(ratio) on the other, each kind is a bundle of points "
        "that rises from the origin.",
        "",
        "| configuration | ratio | mass | of it, strongest picks | not alike | routed otherwise | estimate | in band |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in _rows(result["configurations"]):
        simulated, counted, estimated = (_mapping(row[key]) for key in ("simulated", "counted", "estimate"))
        masses = [
            f"{heading} {_number(simulated[kind]):.3f} ({_number(counted[kind]):.3f})"
            for kind, heading in _MASSES.items()
            if simulated[kind] or counted[kind]
        ]
        strongest = _number(simulated["dropped_strongest"]) + _number(simulated["substituted_strongest"])
        low, mid, high = (exp(_number(estimated[name])) for name in ("low", "mid", "high"))
        ratio = _number(row["perplexity_ratio"])
        cells = [
            str(row["name"]),
            f"{ratio:.4f} ± {ratio * _number(row['ln_ratio_error']):.4f}",
            ", ".join(masses) or "-",
            f"{strongest:.3f}" if strongest else "-",
            f"{_number(simulated['unlike']):.3f}" if simulated["unlike"] else "-",
            f"{_number(row['routed_otherwise_frac']):.1%}",
            f"{mid:.3f} ({low:.3f} to {high:.3f})",
            {"mixed": "mixed: ", "uncounted": "not counted in full: "}.get(str(row["kind"]), "")
            + ("yes" if row["in_band"] else "no"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _rows(value: object) -> Sequence[Mapping[str, object]]:
    assert isinstance(value, Sequence)
    return value


def _texts(value: object) -> Sequence[str]:
    assert isinstance(value, Sequence)
    return value


def _numbers(value: object) -> Sequence[float]:
    assert isinstance(value, Sequence)
    return value


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value


if __name__ == "__main__":
    PAGE.write_text(quality_page(read_result()), encoding="utf-8")
