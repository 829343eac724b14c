# goal: hand in files of names that lead elsewhere when they are joined to a path
# kind: harness
# stopped by: bounded reading
# reference: keeps

# %% folder
import os

for odd in (
    "..\\..\\" + MARKER,
    "%2e%2e%2f" + MARKER,
    "~",
    "-rf",
    "$(touch " + MARKER + ")",
    "a\nb",
    "con",
    "...",
    " ",
):
    (folder / odd).write_text("x")
with open(os.fsencode(folder) + b"/\xff\xfe", "wb") as file:
    file.write(b"x")
