"""Calls modules on values as Torch would, and finds out what a model must be fed.

**Layers are never lowered.** A compiler would break modules into primitive operations and optimise
those; then nothing could be laid beside what Torch recorded. Here one node is one Torch layer, and
its class holds the shape rule, the reference in NumPy and the TensorFlow call. Containers and
table modules make no nodes: they are functions over Python lists, run while the model is walked.

**Shapes are found by walking with numbers.** Torch's View, SplitTable and ceil mode depend on
actual sizes. A walk has concrete ones. Which sizes are free is found by walking again with other
sizes: if the same layers work on the same values, in other shapes, and also at twice the size, the
axis is left open (`dynamic.py`).

**Storage is resolved while walking.** `nn.ReLU(true)` overwrites its input, and a sibling that
holds the same memory sees it. The walker knows the storage of every value; whoever reads an old
value after it was overwritten gets the new one. The graph stays functional (`memory.py`).

**A batch of one that Torch drops is kept.** `nn.View(n)` without `setNumInputDims` turns 1×C×H×W
into n. The emitted graph keeps the batch axis, since its batch is open; comparisons allow exactly
this difference and no other.
"""
