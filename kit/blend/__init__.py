"""Ensembles: one answer out of several runs', everything about it chosen out of fold by nested cross-validation."""
