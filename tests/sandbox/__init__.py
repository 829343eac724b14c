"""Tests of `workbook.sandbox`."""
