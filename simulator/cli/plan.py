"""`moesim plan`."""

import json as json_module
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from rich.console import Console

from hardware_profiles.errors import InputError
from simulator.cli.options import WholeNumber, command_line
from simulator.cli.progress import run_progress, work_progress
from simulator.cli.replications import jobs_or_cores
from simulator.cli.settings import apply_settings
from simulator.html_file import check_html, write_html
from simulator.plan.quick import plain, quick_plan
from simulator.plan.quick_question import Question, model_of, profile_of, read_format
from simulator.plan.quick_report import render_plan
from simulator.plan.quick_routing import DEFAULT_SKEW, DEFAULT_STICKINESS
from simulator.plan.search import num_choices, search_space
from simulator.plan.search_report import render_search, search_facts
from simulator.plan.search_space import read_space
from simulator.points.point import PointResult
from simulator.results import summary_json

_MACHINE = Group.create_ordered("Model and machine")
_USE = Group.create_ordered("How it is used")
_SPACE = Group.create_ordered("How a file is searched")
_OUTPUT = Group.create_ordered("What comes out")
_WIDTH_WITHOUT_TERMINAL = 200
_DEFAULT_GPU = "rtx-4090"


def plan(
    space: Path | None = None,
    /,
    *,
    model: Annotated[str | None, Parameter(group=_MACHINE)] = None,
    gpu: Annotated[str | None, Parameter(group=_MACHINE)] = None,
    vram: Annotated[str | None, Parameter(group=_MACHINE)] = None,
    ram: Annotated[str | None, Parameter(group=_MACHINE)] = None,
    pcie: Annotated[str | None, Parameter(group=_MACHINE)] = None,
    quant: Annotated[str | None, Parameter(group=_MACHINE)] = None,
    quant_experts: Annotated[str | None, Parameter(group=_MACHINE)] = None,
    context: Annotated[WholeNumber, Parameter(group=_USE)] = 4096,
    batch: Annotated[WholeNumber, Parameter(group=_USE)] = 1,
    trace: Annotated[Path | None, Parameter(group=_USE)] = None,
    skew: Annotated[float | None, Parameter(group=_USE, show_default=False)] = None,
    stickiness: Annotated[float | None, Parameter(group=_USE, show_default=False)] = None,
    seed: Annotated[WholeNumber, Parameter(group=_USE)] = 0,
    set_: Annotated[list[str] | None, Parameter(name="--set", group=_SPACE, negative="")] = None,
    jobs: Annotated[WholeNumber | None, Parameter(group=_SPACE)] = None,
    store: Annotated[Path | None, Parameter(group=_SPACE)] = None,
    json: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
    html: Annotated[Path | None, Parameter(group=_OUTPUT)] = None,
) -> None:
    """Say in seconds whether a model fits a machine, how fast it will be, and what to change first.

    With a file, search the machines and settings that it names for the cheapest that keeps a promise.

    Parameters
    ----------
    space
        A YAML file with a scenario, axes, prices and a promise; see docs/plan.md. It takes the place of all that describes
        a machine and its use.
    model
        A model that ships (see moesim models), a YAML spec, or a Hugging Face config.json.
    gpu
        The machine whose speeds are taken: one that ships (see moesim hardware list) or a YAML profile; rtx-4090 if
        left out.
    vram
        Memory of the GPU, "24GiB", in place of the machine's.
    ram
        Memory of the host, in place of the machine's.
    pcie
        Link between host and GPU, such as gen4x16 (see moesim hardware links).
    quant
        Format of all weights, such as q4_k_m or fp8; as released if left out.
    quant_experts
        Format of the experts alone.
    context
        Longest context of a sequence in tokens: what the KV cache has room for, and where decoding is timed.
    batch
        Sequences that decode together.
    trace
        Recorded routing of this model, in place of what is assumed of it.
    skew
        How fast popularity falls by rank in assumed routing: an exponent, 0.5 if left out.
    stickiness
        Correlation of scores at adjacent tokens in assumed routing, 0 to 0.7; 0.6 if left out.
    seed
        Seed of the routing that is drawn.
    set_
        Set any field of the file's scenario before it is varied, or any figure of its machine; may be repeated.
    jobs
        How many choices of a file to run at once; by default as many as there are processor cores.
    store
        Keep the result of every choice in this folder, and take those that are there: a search that was interrupted goes
        on.
    json
        Print the plan as JSON to stdout, and nothing else.
    html
        Write a page with plots to this file; it needs no network to be read. Of a file, all its choices can be explored.
    """
    described = {
        "--model": model,
        "--gpu": gpu,
        "--vram": vram,
        "--ram": ram,
        "--pcie": pcie,
        "--quant": quant,
        "--quant-experts": quant_experts,
        "--trace": trace,
        "--skew": skew,
        "--stickiness": stickiness,
    }
    if space is not None:
        _refuse(described, f"goes with the quick plan; say it in the scenario of {space}, or with --set")
        _search(space, set_ or [], jobs=jobs, store=store, json=json, html=html)
        return
    _refuse({"--set": set_, "--jobs": jobs, "--store": store}, "goes with a file that says what to search")
    if model is None:
        raise InputError(
            "moesim plan", "needs a --model; `moesim models` lists those that ship; or a file that says what to search"
        )
    for option, count in (("--context", context), ("--batch", batch)):
        if count < 1:
            raise InputError(option, f"{count} is too few; name 1 or more")
    if seed < 0:
        raise InputError("--seed", f"{seed} is negative; name 0 or more")
    if trace is not None and (skew is not None or stickiness is not None):
        raise InputError("--trace", "is routing as recorded; leave --skew and --stickiness out")
    if html is not None:
        check_html(html)
    assumed = []
    if gpu is None:
        assumed.append(
            f"speeds of the GPU, the CPU and the host's memory are those of {_DEFAULT_GPU}; name yours with --gpu"
        )
    formats: dict[str, str | None] = {"--quant": quant, "--quant-experts": quant_experts}
    for option, text in formats.items():
        if text is not None:
            formats[option], assumption = read_format(text, option)
            assumed += [] if assumption is None else [assumption]
    question = Question(
        model=model,
        gpu=gpu or _DEFAULT_GPU,
        vram=vram,
        ram=ram,
        pcie=pcie,
        context_tokens=context,
        batch=batch,
        experts_format=formats["--quant-experts"] or formats["--quant"],
        rest_format=formats["--quant"],
    )
    with work_progress() as done:
        found = quick_plan(
            question,
            trace=trace,
            skew=DEFAULT_SKEW if skew is None else skew,
            stickiness=DEFAULT_STICKINESS if stickiness is None else stickiness,
            seed=seed,
            assumed=assumed,
            done=done,
        )
    title = f"{model_of(question).name} on {profile_of(question).name}, {batch} x {context:,} tokens of context"
    if html is not None:
        from simulator.plan.page import plan_page

        options: dict[str, object] = {
            "model": model,
            "gpu": gpu,
            "vram": vram,
            "ram": ram,
            "pcie": pcie,
            "quant": quant,
            "quant_experts": quant_experts,
            "context": context,
            "batch": batch,
            "trace": trace,
            "skew": skew,
            "stickiness": stickiness,
            "seed": seed,
        }
        write_html(html, plan_page(found, title, command_line("plan", options)))
    if json:
        sys.stdout.write(json_module.dumps(plain(found), indent=1) + "\n")
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, markup=False, highlight=False)
    console.print(render_plan(found, title))
    if html is not None:
        console.print(f"page: {html}", soft_wrap=True)


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Raise InputError for the first option that was given."""
    for option, value in options.items():
        if value is not None:
            raise InputError(option, why)


def _search(
    path: Path, settings: list[str], *, jobs: int | None, store: Path | None, json: bool, html: Path | None
) -> None:
    """Search a space, and print the answer."""
    if html is not None:
        check_html(html)
    space = read_space(path)
    base = dict(space.sweep.base)
    apply_settings(base, settings)
    at_once = jobs_or_cores(jobs)
    with run_progress(num_choices(space, base), "choices") as bar:

        def ended(result: PointResult) -> None:
            if bar is not None:
                bar(", ".join(f"{path} {value}" for path, value in result.point.labels.items()))

        def probed(factor: float) -> None:
            if bar is not None:
                bar(f"the cheapest at {factor:g} times its load")

        found = search_space(space, base, jobs=at_once, store=store, progress=ended, probed=probed)
    if html is not None:
        from simulator.plan.search_page import search_page

        options: dict[str, object] = {"jobs": jobs, "store": store}
        write_html(html, search_page(found, settings, command_line("plan", options, str(path), settings=settings)))
    if json:
        sys.stdout.write(summary_json(search_facts(found, settings)))
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, markup=False, highlight=False)
    console.print(render_search(found, settings), soft_wrap=False)
    if html is not None:
        console.print(f"page: {html}", soft_wrap=True)
