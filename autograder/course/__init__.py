"""The workbook as an nbgrader course: releases exercises, reads submissions, and grades them into the gradebook."""
