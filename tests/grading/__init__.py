"""What stands between students' submissions, the grader and nbgrader."""
