"""Runs chapters and, from the grader's side, exercises; reports what held and what did not."""
