"""A scenario on several GPUs, put together: homes, a cache and policies for each, and the ways between them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache, partial

from hardware_profiles.errors import InputError
from hardware_profiles.link_presets import resolve_link
from hardware_profiles.profile import HardwareProfile
from simulator.costs.exact import NS_PER_S, ceil_ns, exact
from simulator.engine import StepEnded
from simulator.gpus.affinity import by_affinity
from simulator.gpus.choice import GpusChoice
from simulator.gpus.exchange import ACTIVATION_BYTES, Exchange, Port
from simulator.gpus.gpu import Gpu
from simulator.gpus.homes import Homes, everywhere, replicated, round_robin
from simulator.gpus.lockstep import Lockstep
from simulator.gpus.machine import make_machines
from simulator.gpus.part import Part
from simulator.gpus.peers import Upstream
from simulator.gpus.refuse import refuse
from simulator.gpus.routes import Router
from simulator.gpus.shares import Shares
from simulator.gpus.summary import Facts, summarise_gpus
from simulator.gpus.transitions import count_transitions
from simulator.inputs import Inputs
from simulator.lay_out import popularity
from simulator.metrics.counters import Counters
from simulator.model.footprint import expert_bytes
from simulator.oracle import RecordedFuture
from simulator.prepare import UNKNOWN_FUTURE, Prepared, prepare
from simulator.resources.clock import Clock
from simulator.resources.host_memory import demand_bytes_per_s
from simulator.scenario import Scenario
from simulator.timeline import Timeline
from simulator.workload.closed_loop import ClosedLoop
from simulator.workload.step import Step, Wait
from traces.format import Trace


class Several:
    """What runs on several GPUs; it can be run once. `ready` is what `prepare` has made for each."""

    def __init__(self, scenario: Scenario, inputs: Inputs, source: str) -> None:
        """Put it together. Raises InputError for what is not carried out on several GPUs, or does not fit together."""
        assert scenario.gpus is not None
        self._choice = choice = scenario.gpus
        self._meets = choice.experts != "shared"
        refuse(scenario, inputs, source)
        if inputs.make_training is not None:
            inputs = replace(inputs, make_training=cache(inputs.make_training))
        self._inputs = inputs
        self._profile = profile = inputs.profile
        self._peer_port = _peer_port(choice, profile, source)
        self.homes = _homes(choice, inputs, source)
        of_one = replace(scenario, batch=-(-scenario.batch // choice.count))
        num_keys = inputs.trace.num_banks * inputs.trace.num_experts
        self.ready: list[Prepared] = []
        for gpu in range(choice.count):
            known = partial(recorded_future, inputs.trace, inputs.loop, self.homes, gpu, meets=self._meets)
            make_future = known if scenario.workload is None else _unknown_future
            part = Part(keys=self.homes.keys_of(gpu), num_keys=num_keys, make_future=make_future)
            self.ready.append(prepare(of_one, inputs, source, part=part))
        if any(getattr(one.policies.prefetch, "WHOLE_LAYERS", False) for one in self.ready):
            raise InputError(source, "prefetch: whole layers are not streamed to several GPUs; name another policy")
        costs = self.ready[0].costs
        bandwidth = int(profile.host.bandwidth.value)
        if profile.link.upstream is not None:
            bandwidth = min(bandwidth, int(profile.link.upstream.value))
        demand = demand_bytes_per_s(costs.expert_bytes, max(1, costs.transfer_ns))
        self._upstream = Upstream(bandwidth=bandwidth, demand=demand)
        self._lockstep: Lockstep | None = None

    def engine(self, steps: Iterable[Step | Wait], step_ended: StepEnded, timeline: Timeline | None) -> Lockstep:
        """Make what runs the steps."""
        env, ready, costs = Clock(), self.ready, self.ready[0].costs
        timelines: list[Timeline | None] = [timeline]
        timelines += [
            None if timeline is None else timeline.beside(process=gpu + 1, process_name=f"GPU {gpu}")
            for gpu in range(1, len(ready))
        ]
        machines = make_machines(
            env,
            costs,
            [one.cache for one in ready],
            upstream=self._upstream,
            peer_ends_ns=self._peer_ends_ns(),
            timelines=timelines,
        )
        gpus = [
            Gpu(
                env=env,
                machine=machine,
                costs=costs,
                cache=one.cache,
                view=one.view,
                policies=one.policies,
                timeline=of_gpu,
            )
            for one, machine, of_gpu in zip(ready, machines, timelines, strict=True)
        ]
        self._lockstep = Lockstep(
            env=env,
            steps=steps,
            gpus=gpus,
            router=Router(self.homes),
            exchange=self._exchange(),
            meets=self._meets,
            step_ended=step_ended,
        )
        return self._lockstep

    def summary(self, summary: Mapping[str, object], measured: Counters, *, is_warmed_up: bool) -> dict[str, object]:
        """Return a run's summary with what several GPUs add to it; `measured` was counted after the warm-up."""
        assert self._lockstep is not None
        at_warmup, each = self._lockstep.snapshots[0], self._lockstep.snapshots[-1]
        if is_warmed_up:
            each = [counts.minus(before) for counts, before in zip(each, at_warmup, strict=True)]
        facts = Facts(
            choice=self._choice,
            homes=self.homes,
            caches=[one.cache for one in self.ready],
            expert_bytes=expert_bytes(self._inputs.model),
            num_experts=self._inputs.trace.num_banks * self._inputs.trace.num_experts,
            upstream_bytes_per_s=self._upstream.bandwidth,
            warnings=[warning for one in self.ready for warning in one.warnings],
        )
        return summarise_gpus(summary, measured, each, facts)

    def _exchange(self) -> Exchange:
        """Make the way of tokens among GPUs."""
        token_bytes = ACTIVATION_BYTES * self._inputs.model.hidden_size
        if self._peer_port is not None:
            return Exchange(token_bytes, self._peer_port)
        link = self._profile.link
        to_host, from_host = (
            Port(bandwidth=exact(way.bandwidth.value), latency_ns=exact(way.latency.value) * NS_PER_S)
            for way in (resolve_link(link.d2h, "link.d2h"), resolve_link(link.h2d, "link.h2d"))
        )
        return Exchange(token_bytes, (to_host, from_host), self._upstream.bandwidth)

    def _peer_ends_ns(self) -> Sequence[int] | None:
        """Return the times of an expert's copy from another GPU, up to the end of each chunk."""
        port = self._peer_port
        if port is None:
            return None
        num_bytes = expert_bytes(self._inputs.model)
        chunk = resolve_link(self._profile.link.h2d, "link.h2d").chunk
        chunk_bytes = num_bytes if chunk is None else min(num_bytes, int(chunk.value))
        ends = [*range(chunk_bytes, num_bytes, chunk_bytes), num_bytes]
        return [ceil_ns(port.latency_ns + end * NS_PER_S / port.bandwidth) for end in ends]


def recorded_future(trace: Trace, loop: ClosedLoop, homes: Homes, gpu: int, *, meets: bool) -> RecordedFuture:
    """Return what the gates of one GPU will ask for in a closed batch; `meets` as of the lockstep."""

    def asked() -> Iterator[Step]:
        shares, router = Shares(homes.num_gpus), Router(homes)
        for step in loop.steps():
            gpu_of_token = shares.divide(step).gpu_of_token
            if not meets and gpu not in gpu_of_token:
                continue
            router.step_started()
            layers = [router.routes(step.tokens, gpu_of_token, layer) for layer in range(trace.num_layers)]
            yield replace(step, tokens=[[list(routes.tokens_of[gpu]) for routes in layers]])  # as of one token

    return RecordedFuture(asked(), num_layers=trace.num_layers, num_keys=trace.num_banks * trace.num_experts)


def _unknown_future() -> RecordedFuture:
    raise ValueError(UNKNOWN_FUTURE)


def _homes(choice: GpusChoice, inputs: Inputs, source: str) -> Homes:
    """Find the home of each expert. Raises InputError where nothing says how tokens move."""
    trace, num_gpus = inputs.trace, choice.count
    num_keys = trace.num_banks * trace.num_experts
    if choice.experts == "shared":
        return everywhere(num_gpus=num_gpus, num_keys=num_keys)
    if choice.experts == "partitioned":
        return round_robin(num_gpus=num_gpus, num_keys=num_keys, num_experts=trace.num_experts)
    if choice.experts == "replicated":
        counts = (
            popularity(trace, inputs.loop.sequences)
            if inputs.make_training is None
            else inputs.make_training().popularity()
        )
        homes = replicated(counts, num_gpus=num_gpus, num_experts=trace.num_experts, replicas=choice.replicas)
        if inputs.make_training is not None:
            return homes
        return replace(homes, notes=["popular experts are known beforehand: counted on the very sequences of the run"])
    if inputs.make_training is None:
        raise InputError(
            source,
            "gpus.experts: affinity learns from recorded routing, and the scenario sets none apart for it; add "
            "fit.sequences, a number of the trace's first sequences, or fit.trace, another trace",
        )
    return by_affinity(count_transitions(inputs.make_training(), trace.banks), num_gpus)


def _peer_port(choice: GpusChoice, profile: HardwareProfile, source: str) -> Port | None:
    """Return a GPU's port to others, None where their way is through the host. Raises InputError if it is not known."""
    if choice.peers == "none":
        return None
    peer = profile.peers.nvlink if choice.peers == "nvlink" else profile.peers.pcie
    path = f"peers.{choice.peers}"
    if peer.bandwidth is None or peer.latency is None:
        missing = [f"{path}.{name}" for name in ("bandwidth", "latency") if getattr(peer, name) is None]
        raise InputError(
            source,
            f"gpus.peers: {choice.peers}, and {profile.name} gives no {' and no '.join(missing)}; "
            f'set it (--set {path}.bandwidth="50 GB/s" --set {path}.latency="10 us"), or use gpus.peers: none',
        )
    return Port(bandwidth=exact(peer.bandwidth.value), latency_ns=exact(peer.latency.value) * Fraction(NS_PER_S))
