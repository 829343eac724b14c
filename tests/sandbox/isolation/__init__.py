"""Tests of the isolation layer."""
