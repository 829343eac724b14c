"""Attacks on the grader, run against it: what a submission tries, and what must come of it.

The attacks are files in `autograder/attacks/`. `attack` reads them, `ground` is a course with things worth stealing in
which they are submitted, and `run` grades them and holds what came of it against what must come, for `report`.
"""
