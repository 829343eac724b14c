"""Tests of `workbook.context`."""
