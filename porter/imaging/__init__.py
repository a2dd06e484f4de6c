"""Images in, images out: pixel encodings, sizes, and image files.

presets.py     how uint8 images become a net's input, and its output an image or class scores
detect.py      the preset that a file implies
geometry.py    which sizes a net takes, and the size of its output
image_spec.py  preset and geometry of one model, checked against each other
pixels.py      the arithmetic in NumPy (emit/image_signature.py has it in TensorFlow)
photos.py      image files to arrays and back
files.py       input files, and their output files
"""
