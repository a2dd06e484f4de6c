"""Pictures in, pictures out: what a net's numbers mean, and the means to feed it photographs.

presets.py     how 8-bit pictures become a net's input, and its output a picture or labels
preset_file.py the same in a TOML file of the user's
detect.py      which preset a file tells by itself
geometry.py    which sizes a net takes, and what size it makes of them
meaning.py     preset and geometry of one model, checked against each other
pixels.py      the arithmetic in NumPy
signature.py   the arithmetic in TensorFlow: the SavedModel's signature `image`
proof.py       that both give the same pictures
opening.py     the net and its meaning, whatever is given
runners.py     one way to call a `.t7`, a converted folder, a `.keras` and a `.tflite`
photos.py      files to pictures and back
files.py       which files are read, and where their pictures go
shards.py      photos shared out among several runs
stylize.py     the command
"""
