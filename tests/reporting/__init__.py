"""Tests of `autograder.reporting`."""
