"""Substitute missing experts by resident ones that often serve the same tokens."""

from collections.abc import Collection, Sequence
from math import log

import numpy as np
from numpy.typing import NDArray

from simulator.miss.co_activation import co_activation
from simulator.miss.otherwise import action_otherwise
from simulator.miss.protocol import MissAction
from simulator.miss.tokens import mass_shares, missing_keys
from simulator.view import View


class Buddy:
    """Replace a missing expert by its best resident buddy, unless the token or the step is better off with the expert.

    Beforehand, from the view's training: q(j|i) is the share of expert i's co-activations that are with j, and i's buddies
    are the fewest j of highest q that make up `alpha` of it, `k_max` of them at most (ties to the lowest key).

    1. Token gate. TAE is the entropy of the token's normalised top-k weights over log k; at `tau` or less, the token
       is peaked and keeps its experts. With a `tau_percentile` above 0, tau is that percentile of each layer's TAE in the
       training instead.
    2. Distribution gate. If the share of the distinct experts asked for that are missing is `beta` or more, nothing of the
       visit is replaced.
    3. Each missing pick, by rank, takes the buddy of highest q(j|i) (1 + `eta` z(j)) that is resident and not used by the
       token; a token takes `rho` substitutes at most.
    4. What is still missing is handled as `otherwise` says.

    Likeness of a pair is q(j|i) over the largest q of i's buddies: 1 for the best buddy that i has.

    Source: BuddyMoE, arXiv 2511.10054: offline lists, section on TAE and the two gates, Psi. tau .95 and rho 3 are the
    paper's; alpha .9, k_max 16 and beta .6 those of a public re-implementation; eta was not found, and 1 is our default.

    Limits: z(j), the token's normalised router weight of j, is known of the top-k only, and an eligible buddy is never one
    of them; in its place stands what the token's picks suggest, the sum over them of share * q(j|pick). Psi's factor for
    the hops to another GPU is 1, as there is one GPU. Lists are searched to their end (the paper has a depth H), the
    entropy has no temperature, and co-activations are neither smoothed nor weighted. An expert in flight is neither
    missing nor a substitute.
    """

    def __init__(
        self,
        view: View,
        *,
        alpha: float = 0.9,
        k_max: int = 16,
        tau: float = 0.95,
        tau_percentile: float = 0.0,
        beta: float = 0.6,
        eta: float = 1.0,
        rho: int = 3,
        otherwise: str = "fetch",
    ) -> None:
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha is {alpha}; it should be a share above 0, up to 1")
        if k_max < 1:
            raise ValueError(f"k_max is {k_max}; it should be 1 buddy or more")
        if not 0 <= tau <= 1:
            raise ValueError(f"tau is {tau}; it should be an entropy from 0 to 1")
        if not 0 <= tau_percentile <= 100:
            raise ValueError(f"tau_percentile is {tau_percentile}; it should be 0 (tau is fixed) to 100")
        if beta <= 0:
            raise ValueError(f"beta is {beta}; it should be a share above 0 (above 1: the gate is always open)")
        if eta < 0:
            raise ValueError(f"eta is {eta}; it should be 0 or more")
        if rho < 1:
            raise ValueError(f"rho is {rho}; it should be 1 substitute per token or more")
        view.require_gate_weights()
        self._view = view
        self._beta, self._eta, self._rho = beta, eta, rho
        self._otherwise = action_otherwise(otherwise)
        self._together_LEE = co_activation(view.training)
        self._rows: dict[tuple[int, int], list[float]] = {}  # (layer, expert): q(.|expert)
        self._alpha, self._k_max = alpha, k_max
        self._buddies_of: dict[tuple[int, int], list[int]] = {}  # (layer, expert): experts, best first
        self._taus = [tau] * view.num_layers
        if tau_percentile:
            self._taus = _percentiles(view.training.weights_TLK().astype(np.float64), tau_percentile)

    def reroute(self) -> Sequence[Sequence[int]]:
        """Replace what is missing as far as the gates allow and buddies are resident."""
        view = self._view
        picks = view.picks()
        missing = missing_keys(view, picks)
        if not missing or len(missing) >= self._beta * len({key for token in picks for key in token}):
            return picks
        layer = view.visit % view.num_layers
        tau = self._taus[layer]
        result: list[Sequence[int]] = []
        for token, weights in zip(picks, view.weights(), strict=True):
            shares = mass_shares(weights)
            if missing.isdisjoint(token) or activation_entropy(shares) <= tau:
                result.append(token)
            else:
                result.append(self._replace(token, shares, missing, layer))
        return result

    def similarity(self, wanted: int, substitute: int) -> float:
        """Return the substitute's share of co-activations relative to that of the best buddy."""
        if wanted == substitute:
            return 1.0
        layer = self._view.visit % self._view.num_layers
        first_key = self._view.first_key(layer)
        row = self._row(layer, wanted - first_key)
        best = max(row)
        return row[substitute - first_key] / best if best else 0.0

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Handle what was not replaced."""
        del num_tokens
        return [self._otherwise] * len(keys)

    def _replace(
        self, token: Sequence[int], shares: Sequence[float], missing: Collection[int], layer: int
    ) -> Sequence[int]:
        first_key = self._view.first_key(layer)
        rows = [self._row(layer, key - first_key) for key in token]
        used = {key - first_key for key in token}
        replaced, num_replaced = list(token), 0
        for rank, key in enumerate(token):
            if key not in missing or num_replaced == self._rho:
                continue
            buddy = self._best(layer, key - first_key, used, shares, rows)
            if buddy is not None:
                used.add(buddy)
                replaced[rank] = first_key + buddy
                num_replaced += 1
        return replaced

    def _best(
        self, layer: int, expert: int, used: Collection[int], shares: Sequence[float], rows: Sequence[Sequence[float]]
    ) -> int | None:
        """Return the resident buddy of highest Psi, of equals the one of higher q, then the lowest key."""
        first_key, is_resident, eta = self._view.first_key(layer), self._view.is_resident, self._eta
        q_of = self._row(layer, expert)
        best, best_psi = None, 0.0
        for j in self._buddies(layer, expert):
            if q_of[j] * (1 + eta) <= best_psi:
                break  # no z is larger than 1, and no q to come larger than this one
            if j in used or not is_resident(first_key + j):
                continue
            psi = q_of[j]
            if eta:
                psi *= 1 + eta * sum(share * row[j] for share, row in zip(shares, rows, strict=True))
            if psi > best_psi:
                best, best_psi = j, psi
        return best

    def _row(self, layer: int, expert: int) -> Sequence[float]:
        """Return q(.|expert), worked out once."""
        at = (layer, expert)
        if at not in self._rows:
            counts = self._together_LEE[layer, expert]
            self._rows[at] = (counts / max(1, counts.sum())).tolist()
        return self._rows[at]

    def _buddies(self, layer: int, expert: int) -> list[int]:
        """Return an expert's buddies by falling q, worked out once."""
        at = (layer, expert)
        if at not in self._buddies_of:
            counts = self._together_LEE[layer, expert]
            ranked = np.argsort(-counts, kind="stable")[: self._k_max]
            before = np.cumsum(counts[ranked]) - counts[ranked]
            is_buddy = (before < self._alpha * counts.sum()) & (counts[ranked] > 0)
            self._buddies_of[at] = ranked[is_buddy].tolist()
        return self._buddies_of[at]


def activation_entropy(shares: Sequence[float]) -> float:
    """Return the TAE of a token: 0 if all gate mass lies on one of its experts (or it has but one), 1 if it is even."""
    if len(shares) < 2:
        return 0.0
    return -sum(share * log(share) for share in shares if share > 0) / log(len(shares))


def _percentiles(weights: NDArray[np.float64], percentile: float) -> list[float]:
    """Return the percentile of each layer's TAE; the lower of two neighbours where it falls between."""
    top_k = weights.shape[2]
    if top_k < 2:
        return [0.0] * weights.shape[1]
    total = weights.sum(axis=2, keepdims=True)
    shares = np.where(total > 0, weights / np.where(total > 0, total, 1), 1 / top_k)
    entropies = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=2) / log(top_k)
    return [float(tau) for tau in np.percentile(entropies, percentile, axis=0, method="lower")]
