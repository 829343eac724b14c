"""Tests of set-up: the files in requirements/, the Makefile, environment.yml."""
