"""Tests of `workbook.serving`."""
