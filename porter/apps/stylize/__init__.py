"""`porter stylize`: images through an image-to-image model.

loading.py   the net and its image spec, from a `.t7`, a converted folder, `.keras` or `.tflite`
memory.py    whether a picture fits
bands.py     one that does not, band by band
runners.py   one way to call a net, wherever it comes from
shards.py    images divided among several runs; ray_data.py by Ray
stylize.py   the run; terminal.py shows it
"""
