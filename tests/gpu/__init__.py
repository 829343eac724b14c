"""Tests of GPU code: run on a CPU, compiled, inspected."""
