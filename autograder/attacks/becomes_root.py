# goal: take back the rights of the user who grades
# kind: harness
# stopped by: no capabilities
# reference: keeps

# %% before
import os
import shutil
import subprocess

if os.getuid() == 0:
    print("got", MARKER)
for call, arguments in ((os.setuid, [0]), (os.setgid, [0]), (os.setresuid, [0, 0, 0]), (os.setgroups, [[0]])):
    try:
        call(*arguments)
        print("got", MARKER)
    except OSError as error:
        print(error)
for program in ("sudo", "su", "pkexec"):
    if path := shutil.which(program):
        done = subprocess.run([path, "-n", "id"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=2)
        if "uid=0" in done.stdout:
            print("got", MARKER)
try:
    with open("/proc/sys/kernel/core_pattern", "w") as file:
        file.write("|/workspace/mine")
    print("got", MARKER)
except OSError as error:
    print(error)
