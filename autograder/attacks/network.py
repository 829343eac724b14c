# goal: send the answers of others, or the seed, to another machine
# kind: harness
# stopped by: network namespace
# reference: keeps

# %% before
import os
import socket

if set(os.listdir("/sys/class/net")) - {"lo"} if os.path.exists("/sys/class/net") else False:
    print("got", MARKER)
for address in (("192.0.2.1", 80), ("169.254.169.254", 80), ("127.0.0.1", 22), ("127.0.0.1", 8888), ("10.0.0.1", 22)):
    try:
        socket.create_connection(address, 2).close()
        print("got", MARKER)
    except OSError as error:
        print(address, error)
try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"x", ("192.0.2.1", 53))
    print("got", MARKER)
except OSError as error:
    print(error)
