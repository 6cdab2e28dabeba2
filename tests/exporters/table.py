"""What is expected of each classifier that the makers write: where its logits are, or why it has none."""

from typing import Final

MLP: Final = "/body/body.2/Gemm_output_0"
INNER: Final = "probability_tensor_logits"  # taken out of a node of ai.onnx.ml
BESIDE: Final = "probabilities_logits"  # put beside the two probabilities of a sigmoid

LOGITS: Final = {
    **{f"sklearn-logistic-{opset}": INNER for opset in range(9, 22)},
    "sklearn-logistic-zipmap": INNER,
    "sklearn-logistic-raw": "probabilities",
    "sklearn-logistic-binary": BESIDE,
    "sklearn-text": INNER,
    "sklearn-columns": BESIDE,
    "sklearn-double": "add_result1",
    "sklearn-mlp": "add_result1",
    "sklearn-mlp-binary": BESIDE,
    "sklearn-boosting": "proba_output_logits",
    "sklearn-boosting-binary": "proba_output_logits",
    "sklearn-bayes": "sum_result",
    "sklearn-svm": "probabilities",
    "lightgbm": INNER,
    "lightgbm-binary": INNER,
    "xgboost": BESIDE,
    "xgboost-binary": BESIDE,
    **{f"torch-logits-{opset}": "out" for opset in (7, 9, 11, 13, 15, 17, 18)},
    "torch-softmax": MLP,
    "torch-log-softmax": MLP,
    "torch-spelt-out": MLP,
    "torch-spelt-out-simply": MLP,
    "torch-reshaped": MLP,
    "torch-cast": "/Cast_output_0",
    "torch-half": "out",
    "torch-modern-18": "linear_1",
    "torch-modern-19": "out",
    "torch-modern-20": "linear_1",
    "torch-modern-21": "linear_1",
    "torch-cnn": "/body/body.6/Flatten_output_0",
    "torch-transformer": "out",
    "int8": "out",
    "int8-dynamic": "out",
    "keras": "/Cast_8_output_0",
    "optimum-bert": "logits",
    "magika": "jax2tf_get_logits_/pjit_get_logits_/MagikaV2/Dense_1/AddV2:0",
    "rapidocr_onnxruntime": "linear_1.tmp_1",
}
"""The tensor that is found without `--output`."""

PROBABILITIES: Final = ("sklearn-forest", "sklearn-neighbours", "sklearn-one-vs-rest", "sklearn-svm-probability")
"""Those that have none, and are served with `--from-probabilities`."""

SINGLE: Final = {
    "sklearn-mlp-labels": ["--output", "add_result1"],
    "sklearn-forest-labels": ["--from-probabilities"],
    "torch-sigmoid": ["--output", MLP],
    "torch-sigmoid-one": ["--output", "/body/body.1/Flatten_output_0"],
}
"""Those of single labels, which end in sigmoids: what a head of that family takes."""

REFUSED: Final = {
    "torch-fixed": "the classifier's input x has a batch dimension fixed at 2: export the classifier again",
    "torch-state": "the classifier's input state has a batch dimension fixed at 1",
    "torch-tagger": "the output out is float32 [N, 8, 4], answers at several places; expected one a row: [N, K]",
}

NEAR: Final = 2e-6  # of probabilities
NEAR_HALF: Final = 2e-5  # where a logit lies between two float16, another order of sums rounds it to the other one
NEAR_ALONE: Final = {"int8-dynamic": 0.05, "torch-half": NEAR_HALF}  # the scales of int8 depend on the rows beside

DOUBLED: Final = {
    "sklearn-logistic-15": ("probabilities", ["--output", INNER]),
    "sklearn-mlp": ("probabilities", ["--output", "add_result1"]),
    "sklearn-forest": ("probabilities", ["--from-probabilities"]),
    "magika": ("target_label", ["--output", LOGITS["magika"]]),
    "rapidocr_onnxruntime": ("save_infer_model/scale_0.tmp_1", ["--output", LOGITS["rapidocr_onnxruntime"]]),
    "torch-sigmoid": ("out", ["--family", "sigmoid", "--output", MLP]),
}
"""Outputs that hold no logits, whatever their nodes are called, and the options that are said to be right."""
