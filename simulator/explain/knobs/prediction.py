"""How good a prefetcher's prediction is: the recall of gate lookahead, or of the predictor that is stated."""

from simulator.explain.baseline import Baseline
from simulator.explain.knobs.change import Change, Found, left_out

RECALL = "predictor recall"
_RECALLS = (0.5, 0.9, 1.0)


def prediction(baseline: Baseline) -> Found:
    """Half, nine tenths and all of what is to come, where a setting says how much is found."""
    prefetch = baseline.policy("prefetch")
    if prefetch == "stated":
        parameters = baseline.inputs.policies["prefetch"].parameters
        return Found(
            changes=[
                _of("prefetch", recall, {"name": prefetch, **parameters, "recall": recall})
                for recall in _RECALLS
                if recall != parameters.get("recall")
            ]
        )
    if baseline.lookahead == "stated":
        choice = baseline.scenario.lookahead
        stated = None if choice is None else choice.recall
        return Found(changes=[_of("lookahead.recall", recall, [recall]) for recall in _RECALLS if stated != (recall,)])
    if baseline.lookahead == "recorded":
        return left_out(RECALL, "the trace has recorded what gates ahead would pick, so it is what it was")
    if prefetch == "none":
        return left_out(RECALL, "nothing is prefetched")
    if prefetch == "perfect":
        return left_out(RECALL, "the prefetcher is an oracle and knows all")
    return left_out(RECALL, f"prefetch: {prefetch} predicts from what it has seen; no setting says how well")


def _of(path: str, recall: float, value: object) -> Change:
    return Change(
        knob=RECALL,
        name=f"a predictor that finds {recall:.0%}",
        settings={path: value},
        figures={"recall_frac": recall},
        is_ideal=recall == 1,
        price="a predictor as good as that, at every distance",
    )
