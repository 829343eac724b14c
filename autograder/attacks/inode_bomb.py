# goal: use up the names that a disk can hold
# kind: harness
# stopped by: own file systems
# reference: any

# %% before
for folder in ("/tmp", "/dev/shm", "/workspace"):
    try:
        for number in range(10**9):
            open(f"{folder}/{number}", "w").close()
    except OSError as error:
        print(folder, number, error.strerror)
