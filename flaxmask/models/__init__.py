"""Models over `Tokens`: each exposes its masks as formulas. Configurations import without jax."""
