"""How fast the emitted models are beside every other way to run the same net on the same weights.

python -m benchmarks --python OTHER=/path/to/python -o benchmarks/RESULTS.md
"""
