"""Measurements and studies; every table of benchmarks/README.md is written by a command of this package."""
