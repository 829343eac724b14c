"""Tests of `workbook.attention`."""
