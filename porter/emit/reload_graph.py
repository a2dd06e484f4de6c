"""Run a frozen GraphDef as TensorFlow 1 did, in a process that knows nothing of porter.

Run as a script in a fresh interpreter: `python -I reload_graph.py GRAPH.pb INPUTS.npz OUTPUTS.npz
NAME=TENSOR…`. INPUTS holds `<sample>/<input name>`, OUTPUTS gets `<sample>/<output name>`.
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def main(graph_file: str, inputs: str, outputs: str, *pairs: str) -> None:
    import numpy as np
    import tensorflow as tf

    tensors = dict(pair.split("=", 1) for pair in pairs)
    definition = tf.compat.v1.GraphDef()
    with open(graph_file, "rb") as file:
        definition.ParseFromString(file.read())
    samples: dict[str, dict[str, object]] = {}
    with np.load(inputs, allow_pickle=False) as archive:
        for key in archive.files:
            sample, name = key.split("/", 1)
            samples.setdefault(sample, {})[f"{name}:0"] = archive[key]
    made = {}
    with tf.Graph().as_default() as graph:
        tf.compat.v1.import_graph_def(definition, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            for sample, fed in samples.items():
                for name, array in session.run(tensors, fed).items():
                    made[f"{sample}/{name}"] = array
    np.savez(outputs, **made)


if __name__ == "__main__":
    main(*sys.argv[1:])
