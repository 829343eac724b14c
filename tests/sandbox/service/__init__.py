"""Tests of the sandbox as a service."""
