"""Compares a port with its oracle, layer by layer, and says why where they differ.

**The oracle is named in every row.** Strongest first: a recording by a real Torch7; outputs that
Torch left in the model file, where they agree (`saved_outputs.py` says why they may not); the NumPy
reference. A layer is compared isolated (fed the oracle's inputs: which layer is wrong) and
accumulated (fed the port's own: does it matter). The noise floor is what float32 rounding alone
does to the reference.

**No tolerance is widened for a net that amplifies; precision decides.** Nearly constant planes
under instance normalisation make two faithful float32 engines differ by 1e-4 to 5e-3. A fixed
wider bound would let wrong ports pass. `rounding.py` runs the chain again in float64, where
rounding shrinks by nine digits and a mistake does not.
"""
