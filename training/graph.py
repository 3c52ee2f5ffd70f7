"""The graph that replicas run, written node by node: a BERT with a mean-pooled head whose answers hang on the question alone.

A general exporter and quantiser scale the activations of a matrix product over the whole input: in a batch a question's
numbers would depend on its neighbours, so questions could only be answered one by one. Here every token has a scale of its
own, and products, sums and norms run over the tokens of all questions without their padding. Attention alone sees questions,
padded to the longest.

Int8, as ONNX Runtime multiplies: activations as unsigned bytes around 128, a scale per token; weights of seven bits, a scale
per output, because the AVX2 instructions of older processors saturate at eight: the numbers must be the same on every machine
that serves.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from inference.predictor import ROWS, ROWS_INDEPENDENT
from schema.errors import TrainingError

OPSET: Final = 18
IR_VERSION: Final = 9
LARGEST_WEIGHT: Final = 64
LARGEST_BYTE: Final = 127
MASKED: Final = 60.0
"""What is taken from the score of padding, whose keys are copies of a real token's: exp(-60) of its weight is nothing in
float32, and unlike exp(-10000) no denormal number, which processors take a hundred times as long for."""
LOWEST_ACTIVATION: Final = 0.17
"""No activation function that is known here gives less than minus this."""
_MICROSOFT: Final = "com.microsoft"
_ACTIVATIONS: Final = {"gelu": "BiasGelu", "gelu_new": "FastGelu", "gelu_pytorch_tanh": "FastGelu"}

Array = NDArray[Any]


def bert_graph(model: Any, *, int8: bool) -> onnx.ModelProto:
    """The ONNX graph of `model`: logits float32 [batch, labels] of input_ids and attention_mask, int64 [batch, tokens].

    Args:
        model: an `IntentClassifier`. Its weights are copied.
        int8: quantised, else in float32.

    Raises:
        TrainingError: a BERT of a kind that is not known here.
    """
    config = model.config
    if config.hidden_act not in _ACTIVATIONS:
        raise TrainingError(f"a BERT with the activation {config.hidden_act} cannot be exported: {', '.join(_ACTIVATIONS)} can")
    weights = {name: value.detach().float().cpu().numpy() for name, value in model.state_dict().items()}
    graph = _Bert(weights, int8=int8, heads=config.num_attention_heads, epsilon=config.layer_norm_eps)
    graph.write(layers=config.num_hidden_layers, activation=_ACTIVATIONS[config.hidden_act])
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "bert",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", config.num_labels])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(_MICROSOFT, 1)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(made, {ROWS: ROWS_INDEPENDENT})
    return made


class _Bert:
    """The nodes and constants of one graph. R is the number of tokens without padding, H the hidden size."""

    def __init__(self, weights: dict[str, Array], *, int8: bool, heads: int, epsilon: float) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._weights = weights
        self._int8 = int8
        self._heads = heads
        self._epsilon = epsilon
        self._known: dict[tuple[str, bytes], str] = {}
        self._zero_points = ""  # uint8 [R]

    def node(self, kind: str, *inputs: str, outputs: int = 1, output: str = "", **attributes: Any) -> list[str]:
        """Add a node; returns the names of its outputs."""
        names = [output or f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        domain = _MICROSOFT if kind in {"MatMulIntegerToFloat", "FusedMatMul", *_ACTIVATIONS.values()} else ""
        self.nodes.append(helper.make_node(kind, inputs, names, domain=domain, **attributes))
        return names

    def do(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; returns its name."""
        return self.node(kind, *inputs, **attributes)[0]

    def constant(self, value: Array) -> str:
        """Add a constant; small ones that are equal are one."""
        key = (f"{value.dtype}{value.shape}", value.tobytes() if value.size <= 8 else b"")
        if key[1] and key in self._known:
            return self._known[key]
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        self._known[key] = name
        return name

    def number(self, value: float) -> str:
        """A float32 constant."""
        return self.constant(np.array(value, dtype=np.float32))

    def whole(self, *values: int) -> str:
        """An int64 constant of one axis."""
        return self.constant(np.array(values, dtype=np.int64))

    def weight(self, name: str) -> str:
        """A weight as it is."""
        return self.constant(self._weights[name])

    def write(self, *, layers: int, activation: str) -> None:
        """Add everything, from the inputs to ``logits``."""
        shape = self.do("Shape", "input_ids")
        mask = self.do("Reshape", "attention_mask", self.whole(-1))
        back = self.do("Squeeze", self.do("NonZero", mask), self.whole(0))  # [R]: where each token stands among all places
        counted = self.do("CumSum", mask, self.constant(np.array(0, dtype=np.int64)))
        place = self.do("Reshape", self.do("Sub", counted, self.constant(np.array(1, dtype=np.int64))), shape)
        real = self.do("Cast", "attention_mask", to=TensorProto.FLOAT)  # [batch, tokens]
        masked = self.do("Mul", self.do("Sub", real, self.number(1)), self.number(MASKED))
        masked = self.do("Unsqueeze", masked, self.whole(1, 2))  # [batch, 1, 1, tokens]
        if self._int8:
            middle = numpy_helper.from_array(np.array([128], dtype=np.uint8))
            self._zero_points = self.do("ConstantOfShape", self.do("Shape", back), value=middle)
        x = self._embedded(back)
        for i in range(layers):
            of = f"bert.encoder.layer.{i}."
            y = self._attention(x, of, back=back, place=place, masked=masked)
            x = self._normed(y, x, f"{of}attention.output")
            y, scale = self._product(x, f"{of}intermediate.dense")
            y = self.do(activation, self._scaled(y, scale), self.weight(f"{of}intermediate.dense.bias"))
            x = self._normed(self._dense(y, f"{of}output.dense", activated=True), x, f"{of}output")
        self._pooled(x, place=place, real=real)

    def _embedded(self, back: str) -> str:
        """Tokens and their positions, [R, H]."""
        of = "bert.embeddings."
        ids = self.do("Gather", self.do("Reshape", "input_ids", self.whole(-1)), back)
        words = self._weights[f"{of}word_embeddings.weight"]
        if self._int8:
            scales = _scales(words, axis=1, largest=LARGEST_BYTE)
            rows = self.do("Gather", self.constant(np.rint(words / scales).astype(np.int8)), ids)
            found = self.do("Mul", self.do("Cast", rows, to=TensorProto.FLOAT), self.do("Gather", self.constant(scales), ids))
        else:
            found = self.do("Gather", self.constant(words), ids)
        # Every question is the first and only segment.
        kinds = self._weights[f"{of}position_embeddings.weight"] + self._weights[f"{of}token_type_embeddings.weight"][0]
        tokens = self.do("Shape", "input_ids", start=1, end=2)
        x = self.do("Add", found, self.do("Gather", self.constant(kinds), self.do("Mod", back, tokens)))
        return self._norm(x, f"{of}LayerNorm")

    def _attention(self, x: str, of: str, *, back: str, place: str, masked: str) -> str:
        """[R, H]: each token's mean of the question's values, weighted by query and key, through the output's product."""
        names = [f"{of}attention.self.{part}" for part in ("query", "key", "value")]
        hidden = self._weights[f"{names[0]}.weight"].shape[0]
        size = hidden // self._heads
        y = self.do("Gather", self._dense(x, *names), place)  # [batch, tokens, 3 H]
        y = self.do("Reshape", y, self.whole(0, 0, 3 * self._heads, size))
        y = self.do("Transpose", y, perm=[0, 2, 1, 3])
        query, key, value = self.node("Split", y, self.whole(*[self._heads] * 3), outputs=3, axis=1)
        scores = self.do("FusedMatMul", query, key, transB=1, alpha=size**-0.5)
        shares = self.do("Softmax", self.do("Add", scores, masked), axis=-1)
        y = self.do("Transpose", self.do("MatMul", shares, value), perm=[0, 2, 1, 3])
        y = self.do("Gather", self.do("Reshape", y, self.whole(-1, hidden)), back)
        return self._dense(y, f"{of}attention.output.dense")

    def _pooled(self, x: str, *, place: str, real: str) -> None:
        """The mean of each question's tokens, through the classifier."""
        real = self.do("Unsqueeze", real, self.whole(-1))
        kept = self.do("Mul", self.do("Gather", x, place), real)
        sums, counts = (self.do("ReduceSum", one, self.whole(1), keepdims=0) for one in (kept, real))
        head = (self.weight("classifier.weight"), self.weight("classifier.bias"))
        self.node("Gemm", self.do("Div", sums, counts), *head, transB=1, output="logits")

    def _normed(self, y: str, x: str, of: str) -> str:
        """Norm of the sum of `y` and what it was made from."""
        return self._norm(self.do("Add", y, x), f"{of}.LayerNorm")

    def _norm(self, x: str, of: str) -> str:
        return self.do("LayerNormalization", x, self.weight(f"{of}.weight"), self.weight(f"{of}.bias"), epsilon=self._epsilon)

    def _dense(self, x: str, *names: str, activated: bool = False) -> str:
        """[R, outputs]: the linear layers `names`, side by side. `activated`: `x` comes from the activation function."""
        y, scale = self._product(x, *names, activated=activated)
        bias = np.concatenate([self._weights[f"{name}.bias"] for name in names])
        return self.do("Add", self._scaled(y, scale), self.constant(bias))

    def _scaled(self, y: str, scale: str) -> str:
        return self.do("Mul", y, scale) if scale else y

    def _product(self, x: str, *names: str, activated: bool = False) -> tuple[str, str]:
        """`x` times the weights of `names`, and the scale of each row, [R, 1], that it is still to be multiplied by."""
        weights = np.concatenate([self._weights[f"{name}.weight"].T for name in names], axis=1)
        if not self._int8:
            return self.do("MatMul", x, self.constant(weights)), ""
        if activated:
            largest = self.do("Max", self.do("ReduceMax", x, self.whole(-1), keepdims=0), self.number(LOWEST_ACTIVATION))
        else:
            largest = self.do("ReduceMax", self.do("Abs", x), self.whole(-1), keepdims=0)
        scale = self.do("Mul", largest, self.number(1 / LARGEST_BYTE))
        rows = self.do("QuantizeLinear", x, scale, self._zero_points, axis=0)
        scales = _scales(weights, axis=0, largest=LARGEST_WEIGHT)
        y = self.do(
            "MatMulIntegerToFloat",
            rows,
            self.constant(np.rint(weights / scales).astype(np.int8)),
            self.number(1),
            self.constant(scales[0]),
            self.constant(np.array(128, dtype=np.uint8)),
            self.constant(np.zeros(weights.shape[1], dtype=np.int8)),
        )
        return y, self.do("Unsqueeze", scale, self.whole(-1))


def _scales(weights: Array, *, axis: int, largest: int) -> Array:
    """What the whole numbers up to `largest` have to be multiplied by, one for all along `axis`; 1 where all are 0."""
    found = np.abs(weights).max(axis=axis, keepdims=True) / np.float32(largest)
    return np.where(found == 0, np.float32(1), found).astype(np.float32)
