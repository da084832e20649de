"""All systems side by side on one machine: the same model file, the same prompts, taking turns.

See docs/benchmarks.md.
"""
