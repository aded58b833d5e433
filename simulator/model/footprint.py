"""How many parameters and bytes the parts of a model have. Exact integers; bytes are rounded up, once.

Letters in the formulas: h hidden size, f feed-forward width, H heads, G KV heads, d head width, V vocabulary.
Source: the layers' definitions in the model papers; the totals agree with the published counts (docs/models.md).

Limits: biases of experts, of dense blocks and of norms are not counted (gpt-oss's experts: 0.03 % of them), nor
correction biases of routers, learned positions, attention compressors. Quantised tensors are taken to have the format
throughout, padding aside. Activations are not weights and not here.
"""

from fractions import Fraction

from simulator.model.quantisation import Quantisation, parse_quantisation
from simulator.model.spec import ModelSpec, attention_kind, is_moe_layer, linear_shape, moe_layers


def bytes_of(num_params: int, quantisation: Quantisation) -> int:
    """Return ceil(params * bits / 8)."""
    return _ceil(num_params * quantisation.bits_per_weight / 8)


def _ceil(value: Fraction | int) -> int:
    return -(-Fraction(value).numerator // Fraction(value).denominator)


def params_per_expert(spec: ModelSpec) -> int:
    """Return matrices * h * f."""
    return spec.expert_matrices * spec.hidden_size * spec.expert_intermediate_size


def expert_bytes(spec: ModelSpec, quantisation: Quantisation | None = None) -> int:
    """Return the bytes of one routed expert, in the format it was released in where none is given."""
    return bytes_of(params_per_expert(spec), quantisation or parse_quantisation(spec.expert_quantisation))


def num_routed_experts(spec: ModelSpec) -> int:
    """Return the number of routed experts of all layers: MoE layers * experts."""
    return len(moe_layers(spec)) * spec.num_experts


def all_experts_bytes(spec: ModelSpec, quantisation: Quantisation | None = None) -> int:
    """Return the bytes of all routed experts of all layers, each stored by itself."""
    return num_routed_experts(spec) * expert_bytes(spec, quantisation)


def attention_params(spec: ModelSpec, layer: int) -> int:
    """Return the parameters of a layer's attention: projections, biases, q/k norms, sinks.

    GQA: h H d + 2 h G d + H d h, a query gate counting as another h H d, a low rank r of the query replacing h H d by
    h r + r H d (and a norm of r), K and V in one tensor taking h G d once.
    MLA: queries h H (n + r) or via their rank, h (c + r) into the latent c and the rotary part r, c H (n + v) out of
    it, H v h for the output, norms of the ranks. Source: DeepSeek-V2 paper, 2.1.
    Linear (gated delta net): see `_linear_attention_params`. A decoder layer of an encoder-decoder has two of them.
    """
    if attention_kind(spec, layer) == "linear":
        return _linear_attention_params(spec)
    once = _latent_attention_params(spec) if spec.kv_lora_rank else _grouped_attention_params(spec)
    crosses = 0 < spec.num_encoder_layers <= layer
    return once * (2 if crosses else 1)


def _query_params(spec: ModelSpec, query_width: int) -> int:
    if spec.q_lora_rank is None:
        return spec.hidden_size * query_width
    return spec.hidden_size * spec.q_lora_rank + spec.q_lora_rank + spec.q_lora_rank * query_width


def _output_params(spec: ModelSpec, width: int) -> int:
    """Return width * h; low-rank in g groups of rank r: each output of the first half reads width / g inputs."""
    if spec.o_lora_rank is None:
        return width * spec.hidden_size
    return width * spec.o_lora_rank + spec.o_groups * spec.o_lora_rank * spec.hidden_size


def _grouped_attention_params(spec: ModelSpec) -> int:
    assert spec.head_dim is not None, f"{spec.name} has neither head_dim nor MLA"
    q, kv = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
    num_kv_tensors = 1 if spec.shared_key_value else 2
    weights = (
        _query_params(spec, q * (2 if spec.query_gate else 1))
        + num_kv_tensors * spec.hidden_size * kv
        + _output_params(spec, q)
    )
    biases = {"none": 0, "qkv": q + 2 * kv, "qkvo": q + 2 * kv + spec.hidden_size}[spec.attention_bias]
    norms = {"none": 0, "head": num_kv_tensors * spec.head_dim, "full": q + kv}[spec.qk_norm]
    return weights + biases + norms + (spec.num_heads if spec.attention_sinks else 0)


def _latent_attention_params(spec: ModelSpec) -> int:
    latent, rope, nope, v = _latent_shape(spec)
    heads = spec.num_heads
    return (
        _query_params(spec, heads * (nope + rope))
        + spec.hidden_size * (latent + rope)
        + latent
        + latent * heads * (nope + v)
        + _output_params(spec, heads * v)
    )


def _latent_shape(spec: ModelSpec) -> tuple[int, int, int, int]:
    """Return (latent, rotary, non-rotary, value) widths of MLA."""
    shape = (
        spec.kv_lora_rank or 0,
        spec.qk_rope_head_dim or 0,
        spec.qk_nope_head_dim or 0,
        spec.v_head_dim or 0,
    )
    assert all(shape), f"{spec.name} has MLA without its widths"
    return shape


def _linear_attention_params(spec: ModelSpec) -> int:
    """Return h (2 K + 2 U + 2 u) + U h + k (2 K + U) + 2 u + v.

    K is the width of all keys, U of all values, v of one value, u the number of value heads, k the kernel.
    The input makes queries and keys (K each), values and an output gate (U each), and two numbers per value head; a
    causal convolution runs over queries, keys and values; per value head there is a decay and a time step; one norm
    of the value head's width. Source: Gated DeltaNet (Yang et al. 2024) as Qwen3-Next has it.
    """
    key_heads, value_heads, key_dim, value_dim, kernel = linear_shape(spec)
    keys, values = key_heads * key_dim, value_heads * value_dim
    inputs = spec.hidden_size * (2 * keys + 2 * values + 2 * value_heads)
    return inputs + values * spec.hidden_size + kernel * (2 * keys + values) + 2 * value_heads + value_dim


def router_params(spec: ModelSpec) -> int:
    """Return h * experts, and a bias per expert where the model has one."""
    return spec.hidden_size * spec.num_experts + (spec.num_experts if spec.router_bias else 0)


def shared_expert_params(spec: ModelSpec) -> int:
    """Return matrices * h * width of a layer's shared experts, and h for the gate on them where there is one."""
    gate = spec.hidden_size if spec.shared_expert_gate else 0
    return spec.expert_matrices * spec.hidden_size * spec.shared_expert_intermediate_size + gate


def dense_mlp_params(spec: ModelSpec) -> int:
    """Return matrices * h * f of a dense layer's feed-forward block; its matrices are as many as an expert's."""
    return spec.expert_matrices * spec.hidden_size * spec.dense_intermediate_size


def embedding_params(spec: ModelSpec) -> int:
    """Return V * h."""
    return spec.vocab_size * spec.hidden_size


def lm_head_params(spec: ModelSpec) -> int:
    """Return V * h, or 0 where the head is the embedding table."""
    return 0 if spec.tied_embeddings else embedding_params(spec)


def output_head_params(spec: ModelSpec) -> int:
    """Return V * h of the matrix that makes the logits, be it the embedding table."""
    return lm_head_params(spec) or embedding_params(spec)


def norm_params(spec: ModelSpec, layer: int) -> int:
    """Return h per norm of a layer: one before each of its blocks, attention (cross-attention) and feed-forward."""
    crosses = 0 < spec.num_encoder_layers <= layer
    return spec.hidden_size * (3 if crosses else 2)


def final_norm_params(spec: ModelSpec) -> int:
    """Return h, for encoder and decoder each."""
    return spec.hidden_size * (2 if spec.num_encoder_layers else 1)


def non_expert_layer_params(spec: ModelSpec, layer: int) -> int:
    """Return what a layer has beside its routed experts: attention, norms, and router and shared experts or the MLP."""
    block = router_params(spec) + shared_expert_params(spec) if is_moe_layer(spec, layer) else dense_mlp_params(spec)
    return attention_params(spec, layer) + norm_params(spec, layer) + block


def non_expert_params(spec: ModelSpec) -> int:
    """Return all parameters but those of routed experts."""
    layers = sum(non_expert_layer_params(spec, layer) for layer in range(spec.num_layers))
    return layers + embedding_params(spec) + lm_head_params(spec) + final_norm_params(spec)


def _unquantised_params(spec: ModelSpec) -> int:
    """Return what releases keep unquantised when they quantise the rest: tables, head, norms of layers, routers."""
    norms = sum(norm_params(spec, layer) for layer in range(spec.num_layers)) + final_norm_params(spec)
    return embedding_params(spec) + lm_head_params(spec) + norms + len(moe_layers(spec)) * router_params(spec)


def non_expert_bytes(spec: ModelSpec, quantisation: Quantisation | None = None) -> int:
    """Return the bytes of all but the routed experts.

    With a format given, all of it has that format; without, attention, dense blocks and shared experts have
    `rest_quantisation`, and embedding table, head, norms and routers `embedding_quantisation`, as released.
    """
    if quantisation is not None:
        return bytes_of(non_expert_params(spec), quantisation)
    unquantised = _unquantised_params(spec)
    rest = non_expert_params(spec) - unquantised
    return _ceil(
        unquantised * parse_quantisation(spec.embedding_quantisation).bits_per_weight / 8
        + rest * parse_quantisation(spec.rest_quantisation).bits_per_weight / 8
    )


def total_params(spec: ModelSpec) -> int:
    """Return all parameters."""
    return non_expert_params(spec) + num_routed_experts(spec) * params_per_expert(spec)


def active_params(spec: ModelSpec, *, input_embedding: bool = True) -> int:
    """Return the parameters that one token uses: everything but the experts that it is not routed to.

    Publishers differ in whether the table that a token reads one row of counts; `input_embedding` says so. A table that
    is the head as well counts in any case.
    """
    active = non_expert_params(spec) + len(moe_layers(spec)) * spec.top_k * params_per_expert(spec)
    if input_embedding or spec.tied_embeddings:
        return active
    return active - embedding_params(spec)


def kv_bytes_per_token(spec: ModelSpec, layer: int, bytes_per_value: Fraction | int) -> int:
    """Return the bytes that one token adds to the KV cache of a layer.

    GQA: 2 G d values, or G d where one tensor is both. MLA: the latent and the rotary part, for all heads together
    (DeepSeek-V2 paper, 2.1.3). Linear attention: none, its state does not grow (`state_bytes`). An encoder's layers
    keep no cache.
    """
    if attention_kind(spec, layer) == "linear" or layer < spec.num_encoder_layers:
        return 0
    if spec.kv_lora_rank:
        latent, rope, _, _ = _latent_shape(spec)
        return _ceil((latent + rope) * Fraction(bytes_per_value))
    assert spec.head_dim is not None, f"{spec.name} has neither head_dim nor MLA"
    num_tensors = 1 if spec.shared_key_value else 2
    return _ceil(num_tensors * spec.num_kv_heads * spec.head_dim * Fraction(bytes_per_value))


def state_bytes(spec: ModelSpec, layer: int, bytes_per_value: Fraction | int) -> int:
    """Return the bytes of a sequence's state in a linear-attention layer, whatever its length; 0 for other layers.

    One matrix of key width * value width per value head, and the convolution's last k inputs.
    """
    if attention_kind(spec, layer) != "linear":
        return 0
    key_heads, value_heads, key_dim, value_dim, kernel = linear_shape(spec)
    recurrent = value_heads * key_dim * value_dim
    convolution = kernel * (2 * key_heads * key_dim + value_heads * value_dim)
    return _ceil((recurrent + convolution) * Fraction(bytes_per_value))


def attended_tokens(spec: ModelSpec, layer: int, context: int) -> int:
    """Return how many tokens the last of `context` tokens attends to in a layer, itself included.

    Full: all. Sliding: at most the window. Chunked: those of its own chunk. Linear: 0, the state stands for them.
    """
    kind = attention_kind(spec, layer)
    if context == 0 or kind == "linear":
        return 0
    if kind == "full":
        return context
    window = spec.attention_window
    assert window is not None, f"{spec.name} has {kind} layers without a window"
    return min(window, context) if kind == "sliding" else (context - 1) % window + 1
