"""Measurements, each one command that prints its table. Ratios are taken within one run, on one machine."""
