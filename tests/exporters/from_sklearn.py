"""Classifiers of scikit-learn, LightGBM and XGBoost, through skl2onnx and onnxmltools."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from lightgbm import LGBMClassifier
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as ToolsFloat
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from xgboost import XGBClassifier

from tests.exporters.saving import save

X, Y = (values.astype(kind) for values, kind in zip(load_digits(return_X_y=True), (np.float32, np.int64), strict=True))
X /= 16
TRAIN, HELD_OUT = slice(0, 600), slice(600, None)
BINARY = (Y >= 5).astype(np.int64)
LABELS_OF_ROW = np.stack([Y >= 5, Y % 2 == 0, Y % 3 == 0], axis=1).astype(np.int64)
FLOATS = [("X", FloatTensorType([None, X.shape[1]]))]
OPSETS = (*range(9, 22),)
PLAIN = {"zipmap": False}
WORDS = ("good", "bad", "late", "fast", "broken", "kind", "rude", "cheap")


def converted(
    model: Any, y: Any = Y, types: Any = None, options: Any = None, **more: Any
) -> tuple[Any, onnx.ModelProto]:
    """The model fitted on the first rows, and as ONNX."""
    model.fit(X[TRAIN], y[TRAIN])
    given = PLAIN if options is None else options
    return model, to_onnx(model, initial_types=types or FLOATS, options={id(model): given}, **more)


def make(folder: Path) -> None:
    """Write them all."""
    linear(folder)
    text(folder)
    columns(folder)
    boosted(folder)
    for name, model, y in (
        ("sklearn-logistic-binary", LogisticRegression(max_iter=300), BINARY),
        ("sklearn-one-vs-rest", OneVsRestClassifier(LogisticRegression()), Y),
        ("sklearn-mlp", MLPClassifier((16,), max_iter=40), Y),
        ("sklearn-mlp-binary", MLPClassifier((16,), max_iter=40), BINARY),
        ("sklearn-mlp-labels", MLPClassifier((16,), max_iter=40), LABELS_OF_ROW),
        ("sklearn-forest-labels", OneVsRestClassifier(RandomForestClassifier(5, random_state=0)), LABELS_OF_ROW),
        ("sklearn-forest", RandomForestClassifier(20, random_state=0), Y),
        ("sklearn-boosting", GradientBoostingClassifier(n_estimators=5, random_state=0), Y),
        ("sklearn-boosting-binary", GradientBoostingClassifier(n_estimators=5, random_state=0), BINARY),
        ("sklearn-bayes", GaussianNB(var_smoothing=1e-2), Y),
        ("sklearn-neighbours", KNeighborsClassifier(), Y),
        ("sklearn-svm-probability", SVC(probability=True, random_state=0), Y),
    ):
        fitted, file = converted(model, y)
        p = np.asarray(fitted.predict_proba(X[HELD_OUT]))
        save(folder, name, file, {"X": X[HELD_OUT]}, y[HELD_OUT], probabilities=p)


def linear(folder: Path) -> None:
    """Linear models: of every opset, as the converter has them by default, with raw scores, and of doubles."""
    held_out = {"X": X[HELD_OUT]}
    for opset in OPSETS:
        model, file = converted(LogisticRegression(max_iter=300), target_opset=opset)
        p = model.predict_proba(X[HELD_OUT])
        save(folder, f"sklearn-logistic-{opset}", file, held_out, Y[HELD_OUT], probabilities=p)
    _, zipped = converted(LogisticRegression(max_iter=300), options={})
    save(folder, "sklearn-logistic-zipmap", zipped, held_out, Y[HELD_OUT], probabilities=p)
    model, raw = converted(LogisticRegression(max_iter=300), options=PLAIN | {"raw_scores": True})
    save(folder, "sklearn-logistic-raw", raw, held_out, Y[HELD_OUT], logits=model.decision_function(X[HELD_OUT]))
    types = [("X", DoubleTensorType([None, X.shape[1]]))]
    model, double = converted(
        make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=40)), types=types, options={}
    )
    wide = X[HELD_OUT].astype(np.float64)
    save(folder, "sklearn-double", double, {"X": wide}, Y[HELD_OUT], probabilities=model.predict_proba(wide))
    model, svm = converted(SVC(random_state=0))
    save(folder, "sklearn-svm", svm, held_out, Y[HELD_OUT], logits=model.decision_function(X[HELD_OUT]))


def text(folder: Path) -> None:
    """A pipeline from strings, the commonest classifier there is."""
    rng = np.random.default_rng(0)
    words = rng.choice(WORDS, (3000, 6))
    weights = dict(zip(WORDS, rng.normal(size=(len(WORDS), 3)), strict=True))
    scores = np.array([sum(weights[word] for word in row) for row in words])
    y = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    rows = np.array([" ".join(row) for row in words])
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=1000)).fit(rows[:100], y[:100])
    types = [("text", StringTensorType([None, 1]))]
    file = to_onnx(model, initial_types=types, options={id(model): PLAIN})
    p = model.predict_proba(rows[HELD_OUT])
    save(folder, "sklearn-text", file, {"text": rows[HELD_OUT, None]}, y[HELD_OUT], probabilities=p)


def columns(folder: Path) -> None:
    """Several inputs, of strings and of numbers, as of a data frame's columns."""
    rng = np.random.default_rng(1)
    n = 900
    city, age = rng.choice(["Bern", "Köln", "Paris"], n), rng.normal(40, 10, n).astype(np.float32)
    y = (rng.normal(size=n) + (age > 40) + 2 * (city == "Bern") > 1).astype(np.int64)
    frame = pd.DataFrame({"city": city.astype(object), "age": age})
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["city"]), (StandardScaler(), ["age"])), LogisticRegression()
    ).fit(frame[TRAIN], y[TRAIN])
    types = [("city", StringTensorType([None, 1])), ("age", FloatTensorType([None, 1]))]
    file = to_onnx(model, initial_types=types, options={id(model): PLAIN})
    inputs = {"city": city[HELD_OUT, None], "age": age[HELD_OUT, None]}
    save(folder, "sklearn-columns", file, inputs, y[HELD_OUT], probabilities=model.predict_proba(frame[HELD_OUT]))


def boosted(folder: Path) -> None:
    """Trees of LightGBM and XGBoost, of several classes and of two; LightGBM's raw scores are its logits."""
    for name, y in (("", Y), ("-binary", BINARY)):
        types = [("X", ToolsFloat([None, X.shape[1]]))]
        light = LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(X[TRAIN], y[TRAIN])
        file = convert_lightgbm(light, initial_types=types, zipmap=False)
        p = np.asarray(light.predict_proba(X[HELD_OUT]))
        save(folder, f"lightgbm{name}", file, {"X": X[HELD_OUT]}, y[HELD_OUT], probabilities=p)
        extreme = XGBClassifier(n_estimators=5, max_depth=3, n_jobs=1).fit(X[TRAIN], y[TRAIN])
        file = convert_xgboost(extreme, initial_types=types)
        p = extreme.predict_proba(X[HELD_OUT])
        save(folder, f"xgboost{name}", file, {"X": X[HELD_OUT]}, y[HELD_OUT], probabilities=p)
