"""The library behind the chapters. Notebooks and `autograder` import it; it imports neither."""
