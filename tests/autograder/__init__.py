"""Tests of `autograder`."""
