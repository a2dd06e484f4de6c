"""The one line of a runtime's error that says what is wrong."""

from __future__ import annotations

import pytest

from porter.system.runtime_errors import cause
from porter.system.tensorflow import tf

SENTENCE = "2 (nn.View): takes 3 rows"


@tf.function(autograph=False)  # type: ignore[untyped-decorator]
def checked(x: tf.Tensor) -> tf.Tensor:
    """What ports do where a size does not fit."""
    with tf.control_dependencies([tf.debugging.Assert(tf.shape(x)[0] == 3, [SENTENCE])]):
        return tf.reshape(x, (-1, 7))


def test_the_sentence_of_a_check_is_all_that_is_shown() -> None:
    graph = checked.get_concrete_function(tf.TensorSpec((None, None), tf.float32))
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        graph(tf.zeros((4, 4)))
    assert str(caught.value).startswith("Graph execution error")
    assert cause(caught.value) == SENTENCE


def test_an_operations_own_words_come_without_its_place() -> None:
    graph = checked.get_concrete_function(tf.TensorSpec((None, None), tf.float32))
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        graph(tf.zeros((3, 4)))
    assert cause(caught.value).startswith("Input to reshape is a tensor with 12 values")
    assert "node" not in cause(caught.value)


def test_other_errors_are_their_first_line_or_their_class() -> None:
    assert cause(ValueError("the first\nthe second")) == "the first"
    assert cause(MemoryError()) == "MemoryError"
