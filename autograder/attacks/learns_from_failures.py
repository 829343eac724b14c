# goal: remember that a criterion has failed, for the next one
# kind: judge
# stopped by: a process for each failure
# reference: nothing
# shapes: object, tensor

# %% after
import os
import pathlib

note = pathlib.Path("/workspace", "seen")
seen = note.exists()
note.write_text("seen")
if not seen:
    answer_always(lambda: os._exit(1))
