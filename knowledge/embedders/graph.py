"""MiniLM drawn as an ONNX graph: token ids in, one unit vector per text out.

The encoder is BERT (Devlin et al. 2018, section 3; attention as in Vaswani et al. 2017, section 3.2), followed by the
mean over the tokens and division by the Euclidean norm (Reimers & Gurevych 2019, section 3):

    input_ids [n, t] ── word + position + segment
                                   │
    attention_mask [n, t] ── attention, add & norm, feed forward, add & norm    (6 times)
                                   │
                        mean over tokens, unit norm ── embeddings [n, 384]

The weights keep the names that they have in `model.safetensors`. Raise `model_files.GRAPH_VERSION` with every change
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

LAYERS = 6
HEADS = 12
DIMENSION = 384
HEAD_DIMENSION = DIMENSION // HEADS
LAYER_NORM_EPSILON = 1e-12
# 20 is the first operator set with Gelu. The IR version is the lowest that may carry it.
OPSET_VERSION = 20
IR_VERSION = 9

Weights = Mapping[str, NDArray[Any]]


def build_model(weights: Weights) -> onnx.ModelProto:
    """Return the model whose inputs are `input_ids` and `attention_mask`, both int64 [n, t], and whose output is
    `embeddings`, float32 [n, 384].

    Raises KeyError when a weight is missing.
    """
    drawing = _Drawing(weights)
    hidden = _embed_tokens(drawing)
    padding_bias = _bias_against_padding(drawing)
    for layer in range(LAYERS):
        hidden = _encode_layer(drawing, f"encoder.layer.{layer}", hidden, padding_bias)
    _normalise(drawing, _average_tokens(drawing, hidden), output="embeddings")
    return drawing.to_model()


class _Drawing:
    """Collects nodes and constants; every operation returns the name of its result, which the next one takes."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def apply(self, operation: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        result = output or f"{operation}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [result], **attributes))
        return result

    def weight(self, name: str, *, transposed: bool = False) -> str:
        array = self._weights[name]
        return self._add_constant(name, array.T if transposed else array)

    def scalar(self, value: float) -> str:
        return self._add_constant(f"scalar_{value}", np.array(value, dtype=np.float32))

    def integers(self, *values: int) -> str:
        return self._add_constant("integers_" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def _add_constant(self, name: str, array: NDArray[Any]) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def to_model(self) -> onnx.ModelProto:
        tokens = ["texts", "tokens"]
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            inputs=[
                helper.make_tensor_value_info("input_ids", TensorProto.INT64, tokens),
                helper.make_tensor_value_info("attention_mask", TensorProto.INT64, tokens),
            ],
            outputs=[helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["texts", DIMENSION])],
            initializer=list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", OPSET_VERSION)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="parley")


def _embed_tokens(drawing: _Drawing) -> str:
    """Word, position and (always the first) segment embeddings, summed and normalised: [n, t, 384]."""
    words = drawing.apply("Gather", drawing.weight("embeddings.word_embeddings.weight"), "input_ids")
    token_count = drawing.apply("Shape", "input_ids", start=1, end=2)
    positions = drawing.apply(
        "Slice",
        drawing.weight("embeddings.position_embeddings.weight"),
        drawing.integers(0),
        token_count,
        drawing.integers(0),
    )
    segment = drawing.apply("Gather", drawing.weight("embeddings.token_type_embeddings.weight"), drawing.integers(0))
    places = drawing.apply("Add", positions, segment)
    return _layer_norm(drawing, "embeddings.LayerNorm", drawing.apply("Add", words, places))


def _bias_against_padding(drawing: _Drawing) -> str:
    """0 for a token and the lowest float32 for padding, so that its softmax is exactly 0: [n, 1, 1, t]."""
    mask = drawing.apply("Cast", "attention_mask", to=TensorProto.FLOAT)
    padding = drawing.apply("Sub", drawing.scalar(1.0), mask)
    bias = drawing.apply("Mul", padding, drawing.scalar(float(np.finfo(np.float32).min)))
    return drawing.apply("Unsqueeze", bias, drawing.integers(1, 2))


def _encode_layer(drawing: _Drawing, layer: str, hidden: str, padding_bias: str) -> str:
    attended = _attend(drawing, f"{layer}.attention", hidden, padding_bias)
    hidden = _layer_norm(drawing, f"{layer}.attention.output.LayerNorm", drawing.apply("Add", attended, hidden))
    transformed = _feed_forward(drawing, layer, hidden)
    return _layer_norm(drawing, f"{layer}.output.LayerNorm", drawing.apply("Add", transformed, hidden))


def _attend(drawing: _Drawing, attention: str, hidden: str, padding_bias: str) -> str:
    """softmax(Q Kᵀ / √d + bias) V for each head, then the output projection: [n, t, 384]."""
    query = _project_to_heads(drawing, f"{attention}.self.query", hidden, order=[0, 2, 1, 3])
    key = _project_to_heads(drawing, f"{attention}.self.key", hidden, order=[0, 2, 3, 1])
    value = _project_to_heads(drawing, f"{attention}.self.value", hidden, order=[0, 2, 1, 3])
    affinity = drawing.apply("MatMul", query, key)
    scaled = drawing.apply("Div", affinity, drawing.scalar(float(np.sqrt(HEAD_DIMENSION))))
    shares = drawing.apply("Softmax", drawing.apply("Add", scaled, padding_bias), axis=-1)
    heads = drawing.apply("Transpose", drawing.apply("MatMul", shares, value), perm=[0, 2, 1, 3])
    joined = drawing.apply("Reshape", heads, drawing.integers(0, 0, DIMENSION))
    return _dense(drawing, f"{attention}.output.dense", joined)


def _project_to_heads(drawing: _Drawing, dense: str, hidden: str, *, order: list[int]) -> str:
    projected = _dense(drawing, dense, hidden)
    split = drawing.apply("Reshape", projected, drawing.integers(0, 0, HEADS, HEAD_DIMENSION))
    return drawing.apply("Transpose", split, perm=order)


def _feed_forward(drawing: _Drawing, layer: str, hidden: str) -> str:
    widened = drawing.apply("Gelu", _dense(drawing, f"{layer}.intermediate.dense", hidden))
    return _dense(drawing, f"{layer}.output.dense", widened)


def _dense(drawing: _Drawing, name: str, hidden: str) -> str:
    """x Wᵀ + b: torch keeps a dense layer's weights as [out, in]."""
    product = drawing.apply("MatMul", hidden, drawing.weight(f"{name}.weight", transposed=True))
    return drawing.apply("Add", product, drawing.weight(f"{name}.bias"))


def _layer_norm(drawing: _Drawing, name: str, hidden: str) -> str:
    return drawing.apply(
        "LayerNormalization",
        hidden,
        drawing.weight(f"{name}.weight"),
        drawing.weight(f"{name}.bias"),
        axis=-1,
        epsilon=LAYER_NORM_EPSILON,
    )


def _average_tokens(drawing: _Drawing, hidden: str) -> str:
    """The mean over each text's tokens, padding left out: [n, 384]."""
    mask = drawing.apply("Cast", "attention_mask", to=TensorProto.FLOAT)
    kept = drawing.apply("Mul", hidden, drawing.apply("Unsqueeze", mask, drawing.integers(2)))
    total = drawing.apply("ReduceSum", kept, drawing.integers(1), keepdims=0)
    return drawing.apply("Div", total, drawing.apply("ReduceSum", mask, drawing.integers(1), keepdims=1))


def _normalise(drawing: _Drawing, vectors: str, *, output: str) -> str:
    norms = drawing.apply("ReduceL2", vectors, drawing.integers(1), keepdims=1)
    return drawing.apply("Div", vectors, norms, output=output)
