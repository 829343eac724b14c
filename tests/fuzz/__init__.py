"""Fuzzing: hostile input for whatever reads what comes from a student's process or folder.

`pytest tests/fuzz` tries the same inputs each time: those in `corpus/`, and a few hundred that Hypothesis derives from
the code of the test. After a change of a reader, search for new ones:

    FUZZ_MINUTES=10 pytest tests/fuzz

shares ten minutes out among the tests, with inputs that differ each time, and prints how many were tried. What is found
gets a line in `corpus/`, or an `@example` where the input is large, before it is fixed.
"""
