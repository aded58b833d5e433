"""Systems that have the CPU compute: who computes what, and when it is waited for. Times as in `play`."""

from collections.abc import Mapping, Sequence

import pytest

from tests.systems.play import Token, play

PAGEABLE = {"link.h2d.bandwidth": "12.288 MB/s", "link.d2h.bandwidth": "12.8 MB/s"}
"""One expert in 1000, at the speed of copies that is the machine's and not the system's."""


@pytest.mark.parametrize(("num_tokens", "is_fetched"), [(1, False), (34, False), (35, True), (36, True)])
def test_fiddler(num_tokens: int, is_fetched: bool) -> None:
    """n tokens take 400 + 20 n on the CPU and 1000 + 100 over the link: the CPU is faster up to 34.

    The step is then 200 + the faster of the two + 50: it loses to always fetching by nothing, and wins what it should.
    """
    prompt: Sequence[Token] = [[[0]]] * num_tokens
    played = play("fiddler", prompt, prompts=[num_tokens], cache={"experts": 1})
    assert played.log[0] == ("fetch 0.0 200-1200" if is_fetched else "cpu 0.0 200-600")
    assert played.summary["makespan_ns"] == 1000 * (250 + min(400 + 20 * num_tokens, 1100))


@pytest.mark.parametrize("cpu_us", [300, 1500])
def test_fiddler_against_fetching(cpu_us: int) -> None:
    """The closed form of one layer with one token, on both sides of the crossing at 1080: the CPU where it is faster."""
    machine = {"durations.cpu_expert": {"constant": f"{cpu_us} us", "kind": "assumed", "source": "stated"}}
    fetched, on_cpu, chosen = (
        play(name, [[[0]]], cache={"experts": 1}, hardware_set=machine, miss=miss)
        for name, miss in (("on_demand", None), ("on_demand", "cpu"), ("fiddler", None))
    )
    assert fetched.summary["makespan_ns"] == 1000 * (200 + 1000 + 100 + 50)
    assert on_cpu.summary["makespan_ns"] == 1000 * (200 + cpu_us + 20 + 50)
    best = min(fetched, on_cpu, key=lambda played: int(str(played.summary["makespan_ns"])))
    assert chosen.log == best.log


def test_fiddler_code() -> None:
    """Nine tokens go to the CPU, ten are fetched, though the CPU would be faster."""
    prompt: Sequence[Token] = [[[0]]] * 9 + [[[1]]] * 10
    played = play("fiddler-code", prompt, prompts=[19], cache={"experts": 1}, hardware_set=PAGEABLE)
    assert played.log == ["cpu 0.0 200-600", "fetch 0.1 200-1200", "run 0.1 1200-1300"]


def test_ktransformers_static() -> None:
    """E0 and E1 of each layer are on the GPU; the layer ends when the CPU's results are back.

    Layer 1 of the first token: E1 600-700 beside E2 on the CPU until 1000 + 20, so the GPU waits 320.
    """
    played = play("ktransformers-static", [[[0, 1], [2, 1]], [[3, 0], [0, 1]]], cache={"experts": 4})
    assert played.log == [
        "run 0.0 200-300",
        "run 0.1 300-400",
        "run 1.1 600-700",
        "cpu 1.2 600-1000",
        "run 0.0 1270-1370",
        "cpu 0.3 1270-1670",
        "run 1.0 1890-1990",
        "run 1.1 1990-2090",
    ]
    assert played.attribution_us["exposed_cpu_expert"] == 320 + 320


def test_ktransformers_deferral() -> None:
    """The second of two experts may finish a layer later. E0 and E1 are on the GPU, in three layers.

    Layer 0: E3 on the CPU until 620 is waited for; E2, deferred, runs 600-1000 and is back at 1020. Layer 1: E0 820-920, its
    own E2 deferred, 1000-1400; the layer ends at 1020. Layer 2: gate at 1220, two residents until 1420, and layer 1's E2 is
    back at 1420 as well: no wait.
    """
    tokens: Sequence[Token] = [[[3, 2], [0, 2], [0, 1]]]
    played = play("ktransformers-deferral", tokens, cache={"experts": 6}, weights=[0.7, 0.3])
    assert played.log == [
        "cpu 0.3 200-600",
        "cpu 0.2 600-1000",
        "run 1.0 820-920",
        "cpu 1.2 1000-1400",
        "run 2.0 1220-1320",
        "run 2.1 1320-1420",
    ]
    assert played.attribution_us["exposed_cpu_expert"] == 420 + 100
    assert played.loss["deferred_mass_frac"] == pytest.approx(2 * 0.3 / 3, abs=1e-3)
    at_once = play("ktransformers-static", tokens, cache={"experts": 6})
    assert at_once.summary["makespan_ns"] == 1000 * (200 + 840 + 200 + 420 + 200 + 200 + 50)


TRAINED: Sequence[Token] = [[[0], [0]]]


@pytest.mark.parametrize(("num_tokens", "is_fetched"), [(511, False), (512, True)])
def test_ktransformers_dynamic(num_tokens: int, is_fetched: bool) -> None:
    """A prompt of 512 tokens brings its experts to the GPU, where decoding finds E3; one of 511 is left to the CPU."""
    run: Sequence[Token] = [*([[[3], [2]]] * num_tokens), [[3], [1]]]
    prompts = [0, num_tokens]
    played = play("ktransformers-dynamic", TRAINED, run, prompts=prompts, cache={"experts": 2}, fit={"sequences": 1})
    if is_fetched:
        assert played.log == [
            "fetch 0.3 200-1200",
            "run 0.3 1200-1300",
            "fetch 1.2 1500-2500",
            "run 1.2 2500-2600",
            "run 0.3 2850-2950",
            "cpu 1.1 3150-3550",
        ]
    else:
        assert played.keys("cpu") == ["0.3", "1.2", "0.3", "1.1"]
        assert not played.lines("fetch", "run")


@pytest.mark.parametrize(
    ("system", "num_tokens", "kinds"),
    [
        ("llama-cpp-n-cpu-moe", 31, "cpu run cpu run"),
        ("llama-cpp-n-cpu-moe", 32, "fetch run run run run"),
        ("ik-llama-cpp", 127, "cpu run cpu run"),
        ("ik-llama-cpp", 128, "fetch run run run run"),
    ],
)
def test_llama_cpp(system: str, num_tokens: int, kinds: str) -> None:
    """The last layer's four experts are on the GPU, and a fifth slot. The first layer's run on the CPU in short steps.

    A prompt of 32 tokens has its experts copied; in ik_llama.cpp of 32 per expert, 128 in all. In our run the copy stays,
    and decoding finds it.
    """
    tokens: Sequence[Token] = [*([[[3], [2]]] * num_tokens), [[3], [1]]]
    played = play(system, tokens, prompts=[num_tokens], cache={"experts": 5})
    assert [line.split()[0] for line in played.log] == kinds.split()


def test_daop() -> None:
    """Six layers, E0 and E1 of each on the GPU. From layer 4 on the CPU begins when the layer before has been predicted.

    First token: layer 5's E2, missing, begins at layer 4's gate (1800) and is back at 2220, while layer 5 computes E1 until
    2300: nothing waits. Second token: layer 4 wants E2 and E3, both missing: E2 begins at layer 3's gate, E3 gives way to
    E0, the more popular of the residents by its number.
    """
    usual: Token = [[0, 1]] * 4
    played = play(
        "daop",
        [[*usual, [0, 1], [1, 2]], [*usual, [2, 3], [0, 1]]],
        cache={"experts": 12},
        weights=[0.7, 0.3],
        lookahead={"recall": [1.0]},
    )
    assert played.lines("cpu") == ["cpu 5.2 1800-2200", "cpu 4.2 3750-4150"]
    assert [line for line in played.lines("run") if line[4:7] in ("4.0", "5.1")] == [
        "run 4.0 1800-1900",
        "run 5.1 2200-2300",
        "run 4.0 4150-4250",
        "run 5.1 4550-4650",
    ]
    assert "exposed_cpu_expert" not in played.attribution_us
    assert played.loss["substituted_mass_frac"] == pytest.approx(0.3 / 12, abs=1e-4)


def test_hybrimoe_divides_a_layer() -> None:
    """Loads 4, 2 and 1, all missing: the CPU takes the lightest first, the link the heaviest, and both are done with three.

    The CPU's two are back at 1000 + 3 * 20, before the one that is fetched has been computed, at 1300.
    """
    prompt: Sequence[Token] = [[[0]]] * 4 + [[[1]]] * 2 + [[[2]]]
    played = play("hybrimoe", prompt, prompts=[7], cache={"experts": 3}, weights=[1.0])
    assert played.lines("fetch", "run") == ["fetch 0.0 200-1200", "run 0.0 1200-1300"]
    assert sorted(played.keys("cpu")) == ["0.1", "0.2"]
    assert played.summary["makespan_ns"] == 1_350_000


def test_hybrimoe_prefetches_what_saves_most() -> None:
    """Layer 1 is to need E0, 420 on the CPU but 100 on the GPU: the link brings it beside layer 0's CPU work."""
    played = play("hybrimoe", [[[0], [0]]], cache={"experts": 4}, weights=[1.0], lookahead={"recall": [1.0]})
    assert played.log == ["cpu 0.0 200-600", "prefetch 1.0 200-1200", "run 1.0 1200-1300"]


def test_hybrimoe_code() -> None:
    """What layer 1 has scored of late is prefetched at layer 0's gate, whatever comes: at the second token E0 and E1."""
    settings: Mapping[str, object] = {"cache": {"experts": 8}, "weights": [0.7, 0.3]}
    played = play("hybrimoe-code", [[[0, 1], [0, 1]], [[0, 1], [2, 3]]], **settings)  # type: ignore[arg-type]
    assert played.keys("prefetch") == ["1.0", "1.1"]
    assert played.lines("prefetch")[0] == "prefetch 1.0 2330-3330"
