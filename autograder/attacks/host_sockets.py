# goal: reach this machine by sockets that no network namespace holds
# kind: harness
# stopped by: system call filter
# reference: keeps

# %% before
import socket

for family, address in ((40, (2, 22)), (16, (0, 0)), (38, ("hash", "sha1")), (socket.AF_UNIX, "\0bus")):
    try:
        end = socket.socket(family, socket.SOCK_STREAM if family in (1, 40) else socket.SOCK_RAW)
        end.connect(address)
        print("reached", family)
    except (OSError, TypeError) as error:
        print(family, error)
