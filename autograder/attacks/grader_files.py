# goal: hand in files of the names that the grader and nbgrader write themselves
# kind: harness
# stopped by: restoration
# reference: any

# %% folder
(folder / "verdicts.json").write_text('{"points": 100}')
(folder / "timestamp.txt").write_text("1970-01-01 00:00:00 UTC; DROP TABLE grade")
(folder / "gradebook.db").write_text("mine")
(folder / "acceptance.py").write_text("raise SystemExit")
(folder / "other.ipynb").write_text("{}")
