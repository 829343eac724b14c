"""Attacks on the grader."""
