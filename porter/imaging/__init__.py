"""Images in, images out: what a net's numbers mean, and the files that they come from.

presets.py     how 8-bit images become a net's input, and its output an image or class scores
detect.py      which preset a file identifies by itself
geometry.py    which sizes a net takes, and the size of its output
image_spec.py  preset and geometry of one model, checked against each other
pixels.py      the arithmetic in NumPy (emit/image_signature.py has it in TensorFlow)
photos.py      image files to arrays and back
files.py       which files are read, and where the results go
"""
