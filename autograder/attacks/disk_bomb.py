# goal: fill the disks
# kind: harness
# stopped by: own file systems
# reference: any

# %% before
for folder in ("/tmp", "/dev/shm", "/workspace"):
    try:
        with open(folder + "/" + MARKER, "wb") as file:
            while True:
                file.write(bytes(1 << 20))
    except OSError as error:
        print(folder, error.strerror)
