# goal: reach this machine by sockets that no network namespace holds
# kind: harness
# stopped by: system call filter
# reference: keeps

# %% before
import socket

kinds = {40: socket.SOCK_STREAM, 38: socket.SOCK_SEQPACKET, 17: socket.SOCK_RAW, 31: socket.SOCK_RAW}
for family, kind in kinds.items():  # to the host of a virtual machine, kernel crypto, packets, Bluetooth
    try:
        socket.socket(family, kind).close()
        print("got", MARKER)
    except OSError as error:
        print(family, error)
