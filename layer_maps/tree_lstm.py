"""Tai's tree LSTMs: a vector added to every row of a matrix.

Source: stanfordnlp/treelstm layers/CRowAddTable.lua.
"""

from __future__ import annotations

from typing import Any

from porter.maps import Array, LayerMap, OpContext, Shape, register


@register("treelstm.CRowAddTable", "nn.CRowAddTable")
class CRowAddTable(LayerMap):
    """{matrix N×M, vector M}: the vector added to every row."""

    def output_shape(self, matrix: Shape, vector: Shape) -> Shape:
        fits = len(matrix) == 2 and vector == matrix[1:]
        self.require(fits, "takes a matrix N×M and a vector M", matrix, vector)
        return matrix

    def reference(self, matrix: Array, vector: Array) -> Array:
        return matrix + vector

    def apply(self, tf: Any, matrix: Any, vector: Any, at: OpContext) -> Any:
        return tf.add(matrix, vector)
