"""Give experts up as soon as they have been computed: no cache at all."""

from collections.abc import Iterable, Sequence

from simulator.eviction.fifo import FIFO


class Release(FIFO):
    """Free the slots of all experts of a layer visit when they have been computed.

    What has a slot without having been computed was prefetched; where that is in the way, the first inserted goes.

    Source: systems that keep no expert beyond its use: R. Hwang et al.: "Pre-gated MoE", arXiv 2308.12066;
    R. Y. Aminabadi et al.: "DeepSpeed-Inference", arXiv 2207.00032 (ZeRO-Inference); Hugging Face accelerate's CPU offload.
    """

    def gives_up(self, keys: Iterable[int]) -> Sequence[int]:
        """Name all of them."""
        return list(keys)
