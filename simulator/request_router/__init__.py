"""Request routers by name."""

from collections.abc import Callable, Mapping

from simulator.request_router.at_random import AtRandom
from simulator.request_router.cache_affine import CacheAffine
from simulator.request_router.choices import Choices
from simulator.request_router.consistent_hash import ConsistentHash
from simulator.request_router.least_loaded import LeastLoaded
from simulator.request_router.protocol import RequestRouter
from simulator.request_router.round_robin import RoundRobin

REQUEST_ROUTER: Mapping[str, Callable[..., RequestRouter]] = {
    "round_robin": RoundRobin,
    "least_loaded": LeastLoaded,
    "cache_affine": CacheAffine,
    "random": AtRandom,
    "choices": Choices,
    "consistent_hash": ConsistentHash,
}
