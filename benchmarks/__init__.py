"""Measurements, each run by a `make bench-…` and ended by its ratios: `ratio <median> [<quartile> <quartile>]`."""
