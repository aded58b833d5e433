"""Writing machines: what is written is read back equal, whole, and over nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_profiles.errors import InputError
from hardware_profiles.figures import measured
from hardware_profiles.load import digest, load_profile, profile_names
from hardware_profiles.profile import (
    Constant,
    Cpu,
    Duration,
    Durations,
    DurationTable,
    Figure,
    Gpu,
    HardwareProfile,
    Host,
    Kind,
    Link,
    Links,
    Nvme,
    Power,
    PowerDraw,
    Price,
    Runtime,
)
from hardware_profiles.quantity import Dimension
from hardware_profiles.write import profile_yaml, write_profile

KINDS: list[Kind] = ["measured", "datasheet", "published", "assumed"]
texts = st.text(max_size=40)
sources = st.text(min_size=1, max_size=200).filter(lambda text: bool(text.strip()))
kinds = st.sampled_from(KINDS)
seconds = st.just(0.0) | st.floats(1e-15, 100)


@st.composite
def figures(draw: st.DrawFn, dimension: Dimension, smallest: float, largest: float) -> Figure:
    """Draw a figure of any float in a range, of any kind."""
    figure = measured(draw(st.floats(smallest, largest)), dimension, draw(sources))
    return replace(figure, kind=draw(kinds))


some_bytes = figures(Dimension.BYTES, 1, 1e15)
rates = figures(Dimension.BYTES_PER_S, 1, 1e15)
flops = st.dictionaries(st.sampled_from(["bf16", "fp32"]) | texts, figures(Dimension.FLOPS, 1, 1e18), max_size=3)
times = figures(Dimension.SECONDS, 0, 10)
shares = figures(Dimension.FRACTION, 1e-6, 1)
counts = st.integers(1, 1024).map(lambda number: measured(number, Dimension.COUNT, "counted"))
links = st.builds(
    Link,
    preset=st.none() | st.sampled_from(["gen4x16", "unified-orin"]),
    bandwidth=rates,
    latency=st.none() | times,
    chunk=st.none() | some_bytes,
)


@st.composite
def durations(draw: st.DrawFn, *, weights: float | None = None, of_bytes: bool = False) -> Duration:
    """Draw a constant or a table of up to forty points."""
    kind, source = draw(kinds), draw(sources)
    if draw(st.booleans()):
        return Constant(seconds=draw(seconds), kind=kind, source=source, weights_bytes=weights)
    amount = st.floats(1, 1e12) if of_bytes else st.integers(1, 10**9)
    amounts: list[float] = sorted(draw(st.sets(amount, min_size=1, max_size=40)))
    taken = sorted(draw(st.lists(seconds, min_size=len(amounts), max_size=len(amounts))))
    return DurationTable(amounts=tuple(amounts), seconds=tuple(taken), kind=kind, source=source, weights_bytes=weights)


@st.composite
def sized_durations(draw: st.DrawFn) -> Duration:
    """Draw a duration for weights of no, one or several sizes."""
    sizes = draw(st.lists(st.floats(1, 1e12), max_size=3, unique=True))
    if not sizes:
        return draw(durations())
    own, *others = sizes
    others_drawn = tuple(draw(durations(weights=one)) for one in sorted(others))
    return replace(draw(durations(weights=own)), other_weights=others_drawn)


watts = figures(Dimension.WATTS, 0, 1e5)
draws = st.just(PowerDraw()) | st.builds(PowerDraw, idle=watts, busy=watts)
dollars_per_hour = figures(Dimension.DOLLARS_PER_HOUR, 0, 1e4)
dollars, hours = figures(Dimension.DOLLARS, 0, 1e7), figures(Dimension.HOURS, 1e-3, 1e6)
weighed_durations = st.none() | sized_durations()
profiles = st.builds(
    HardwareProfile,
    name=texts,
    description=st.text(max_size=400),
    gpu=st.builds(
        Gpu,
        name=texts,
        memory=some_bytes,
        memory_reserve=some_bytes,
        bandwidth=rates,
        flops=flops,
        bandwidth_efficiency=shares,
        flops_efficiency=shares,
        launch=times,
    ),
    link=st.builds(Links, h2d=links, d2h=links, host_memory=st.sampled_from(["pinned", "pageable"])),
    cpu=st.builds(
        Cpu,
        name=texts,
        cores=counts,
        flops=flops,
        expert_bandwidth=rates,
        speed_probe=st.none() | figures(Dimension.SECONDS, 1e-9, 1),
    ),
    host=st.builds(Host, memory=some_bytes, bandwidth=rates, memory_reserve=st.none() | some_bytes),
    nvme=st.builds(
        Nvme,
        capacity=st.none() | some_bytes,
        bandwidth=st.none() | rates,
        latency=st.none() | times,
        chunk=st.none() | some_bytes,
    ),
    runtime=st.builds(
        Runtime,
        per_layer=times,
        per_step=times,
        expert_kernels=st.sampled_from(["per_expert", "grouped"]),
        cpu_workers=st.none() | counts,
    ),
    durations=st.builds(
        Durations,
        expert=weighed_durations,
        layer=sized_durations(),
        dense_layer=weighed_durations,
        context=st.none() | durations(),
        step=weighed_durations,
        transfer=st.none() | durations(of_bytes=True),
        nvme_read=st.none() | durations(of_bytes=True),
        cpu_expert=weighed_durations,
    ),
    power=st.builds(Power, gpu=draws, cpu=draws, host_memory=draws, link=draws, rest=st.none() | watts),
    price=st.just(Price())
    | st.builds(Price, per_hour=dollars_per_hour)
    | st.builds(Price, purchase=dollars, lifetime=hours),
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(profile=profiles)
def test_what_is_written_is_read_back_equal(tmp_path_factory: pytest.TempPathFactory, profile: HardwareProfile) -> None:
    """To the last bit of each float, whatever the texts hold, in lines that a terminal shows."""
    path = tmp_path_factory.mktemp("written") / "machine.yaml"
    write_profile(profile, path)
    found = load_profile(str(path))
    assert found == profile
    assert digest(found) == digest(profile)
    lists = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("      ")]
    assert all(len(line) <= 120 for line in lists if "source:" not in line and "value:" not in line)


@pytest.mark.parametrize("name", profile_names())
def test_the_machines_that_ship(name: str, tmp_path: Path) -> None:
    """Each is written and read back, texts as they stand."""
    profile = load_profile(name)
    write_profile(profile, tmp_path / "copy.yaml")
    assert load_profile(str(tmp_path / "copy.yaml")) == profile


def test_a_file_reads_well() -> None:
    """Units as people write them, tables as two lists, empty choices left out, a header of name and description."""
    table = DurationTable(
        amounts=(1, 64),
        seconds=(41e-6, 1.5e-3),
        kind="measured",
        source="a test",
        weights_bytes=17.3e6,
        other_weights=(Constant(seconds=8e-6, kind="assumed", source="a guess", weights_bytes=4.3e6),),
    )
    profile = replace(
        load_profile("t4"),
        name="mine",
        description="A box\nunder a desk.",
        durations=Durations(expert=table),
        power=Power(),
    )
    text = profile_yaml(profile)
    assert text.startswith(
        '# mine: A box under a desk.\n\nname: "mine"\ndescription: "A box\\nunder a desk."\n\ngpu:\n'
    )
    assert text.endswith(
        "\n\ndurations:\n"
        "  expert:\n"
        '    weights: "17.3 MB"\n'
        "    tokens: [1, 64]\n"
        '    time: ["41 us", "1.5 ms"]\n'
        "    kind: measured\n"
        '    source: "a test"\n'
        "    other_weights:\n"
        '      - weights: "4.3 MB"\n'
        '        constant: "8 us"\n'
        "        kind: assumed\n"
        '        source: "a guess"\n'
    )
    assert "cpu_workers" not in text
    assert "speed_probe" not in text
    assert "durations" not in profile_yaml(load_profile("t4"))


def test_nothing_is_written_over_unless_told(tmp_path: Path) -> None:
    """A file that is there stays as it is, and nothing is left beside it."""
    path = tmp_path / "machine.yaml"
    path.write_text("precious", encoding="utf-8")
    with pytest.raises(InputError, match="is there already"):
        write_profile(load_profile("t4"), path)
    assert path.read_text(encoding="utf-8") == "precious"
    write_profile(load_profile("t4"), path, overwrite=True)
    assert load_profile(str(path)) == load_profile("t4")
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that is not there, and a path that is a folder, are the user's faults, with the path."""
    for path, fault in ((tmp_path / "no" / "m.yaml", "cannot be written: No such file"), (tmp_path, "is a directory")):
        with pytest.raises(InputError, match=fault) as caught:
            write_profile(load_profile("t4"), path, overwrite=True)
        assert caught.value.source == str(path)


def test_what_would_not_come_back_is_refused(tmp_path: Path) -> None:
    """A text that does not say its value, half a token, a context without a layer: nothing is written."""
    profile = load_profile("t4")
    cores = replace(profile.cpu.cores, value=3.0)
    half = DurationTable(amounts=(1.5,), seconds=(1.0,), kind="measured", source="a test")
    context = Durations(context=Constant(seconds=1e-6, kind="measured", source="a test"))
    for wrong, error, said in (
        (replace(profile, cpu=replace(profile.cpu, cores=cores)), ValueError, "would not be read back"),
        (replace(profile, durations=Durations(expert=half)), ValueError, "1.5 tokens is not a whole number"),
        (replace(profile, durations=context), InputError, "durations.context: is added to durations.layer"),
    ):
        with pytest.raises(error, match=said):
            write_profile(wrong, tmp_path / "wrong.yaml")
    assert list(tmp_path.iterdir()) == []
