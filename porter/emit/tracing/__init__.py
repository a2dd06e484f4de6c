"""Layer maps as programs: what the formats that write Python share.

namespace    a stand-in for `tf`, which hands its calls on
recorder     symbols in the place of tensors, and the expression that computes each
expression   Python expressions as trees
printer      trees as text, broken as formatters do
"""
