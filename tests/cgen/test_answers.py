"""What C makes of logits: the class, probabilities, and unknown below the threshold."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetl.cgen.tables import number
from edgetl.cgen.write import write_c


@pytest.fixture
def library(compiler: Any, graph: Callable[..., Any]) -> ctypes.CDLL:
    """Of a network with 12 classes, a temperature of 1.7 and a threshold of 0.6."""
    g = graph(1, size=8)
    x = g.coded(g.node("GlobalAveragePool", g.coded(g.conv(g.image(), 16))))
    model = g.model(g.head(x, 16, 12))
    write_c(model, g.preprocess, ["x"] * 12, compiler.folder, 1.7, 0.6)
    library: ctypes.CDLL = compiler.compiled()
    return library


def pointer(values: NDArray[np.float32]) -> Any:
    return values.ctypes.data_as(ctypes.c_void_p)


@pytest.mark.parametrize("spread", [0.0, 0.3, 5.0, 80.0, 1e4])
def test_probabilities_are_softmax_of_logits_over_the_temperature(library: ctypes.CDLL, spread: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        logits = rng.normal(0, spread, 12).astype(np.float32)
        found = np.zeros(12, np.float32)
        library.classifier_probabilities(pointer(logits), pointer(found))
        wanted = np.exp((logits.astype(float) - logits.max()) / np.float64(np.float32(1.7)))
        wanted /= wanted.sum()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
        assert library.classifier_class(pointer(logits)) == logits.argmax()
        assert library.classifier_answer(pointer(found)) == (found.argmax() if found.max() >= np.float32(0.6) else -1)


@pytest.mark.parametrize("value", [0.1, 1.0, -2.5, 3e-41, 3.4028234e38, 1 / 3])
def test_floats_are_written_to_the_last_bit(value: float) -> None:
    assert np.float32(float.fromhex(number(value).rstrip("f"))) == np.float32(value)
