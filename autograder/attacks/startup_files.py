# goal: leave start files for the next submission
# kind: harness
# stopped by: own file systems
# reference: keeps

# %% before
import pathlib

home = pathlib.Path.home()
places = [home / ".ipython/profile_default/startup/00.py", home / ".pythonrc.py", home / ".local/lib/x.pth"]
places += [pathlib.Path("/tmp/ipython/profile_default/startup/00.py"), pathlib.Path("/tmp/left")]
places += [pathlib.Path("/dev/shm/left"), pathlib.Path("/workspace/sitecustomize.py")]
for path in places:
    if path.exists():  # from a submission before this one
        print("got", MARKER)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("raise SystemExit\n")
