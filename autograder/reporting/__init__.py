"""Reports on a class: a page for teachers with tables as CSV and JSON beside it, and a feedback page a student."""
