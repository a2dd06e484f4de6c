"""Train texture networks, continue from a port, and make textures.

modules.py     Torch modules as a `.t7` would hold them, with Torch's own initial weights
generators.py  texture_nets' generators: johnson, pyramid, skip_unpool
options.py     what `porter train` is asked, with the names and defaults of train.lua
photos.py which photos there are, and the crop of every sample
pipeline.py    tf.data: crops in batches, the same for one machine and for many
network.py     a module tree with trainable weights, and the weights back into the tree
criterion.py   content, style and pyramid losses over a descriptor
trainer.py     one step, distributed; the loop with checkpoints, samples and the NaN guard
checkpoints.py what is kept to continue exactly
session.py     one run from its options to its result
synthesize.py  `porter synthesize`
"""
