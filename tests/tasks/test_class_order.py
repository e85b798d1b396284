"""Laws of which output is which class."""

from __future__ import annotations

import pytest

from edgetl.core.errors import InputError
from edgetl.tasks.class_order import check_width, columns_of, order_of_folders


def test_whole_numbers_are_taken_in_natural_order_and_said() -> None:
    found = order_of_folders(["0", "1", "10", "11", "2"])
    assert found.classes == ("0", "1", "2", "10", "11") and found.others == ("0", "1", "10", "11", "2")
    assert found.said == "class order: 0, 1, 2, 10, 11 (the folders' names as numbers; --labels FILE says another)"


def test_other_names_are_taken_as_trainers_sort_them_and_the_natural_order_is_known() -> None:
    found = order_of_folders(["c2", "c10", "c1"])
    assert (found.classes, found.others) == (("c1", "c10", "c2"), ("c1", "c2", "c10"))
    assert found.said is not None and "class order: c1, c10, c2" in found.said


def test_where_both_orders_are_one_there_is_no_other() -> None:
    assert order_of_folders(["b", "a"]).others is None and order_of_folders(["0", "1", "9"]).others is None


def test_more_outputs_than_classes_ask_for_the_names() -> None:
    with pytest.raises(InputError, match=r"found 20 outputs of m.onnx and 10 classes .*--labels FILE with 20 class names"):
        check_width(20, [f"c{i}" for i in range(10)], "m.onnx")


def test_fewer_outputs_than_classes_are_refused() -> None:
    with pytest.raises(InputError, match=r"found 5 outputs of m.onnx and 10 classes"):
        check_width(5, [f"c{i}" for i in range(10)], "m.onnx")


def test_one_output_tells_two_classes_apart_and_no_more() -> None:
    check_width(1, ["blue", "red"], "m.onnx")
    with pytest.raises(InputError, match=r"found 1 output of m.onnx and 3 classes"):
        check_width(1, ["a", "b", "c"], "m.onnx")


def test_outputs_are_matched_by_the_names_of_their_classes() -> None:
    assert columns_of(["a", "b"], ["a", "b"], "m.onnx") is None
    assert columns_of(["a", "b", "c"], ["c", "a", "b"], "m.onnx") == (1, 2, 0)
    with pytest.raises(InputError, match=r"expected m.onnx to have the same 2 classes \(a, b\), found 2 \(a, c\)"):
        columns_of(["a", "b"], ["a", "c"], "m.onnx")
