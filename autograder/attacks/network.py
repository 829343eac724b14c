# goal: send the answers of others, or the seed, to another machine
# kind: harness
# stopped by: network namespace
# reference: keeps

# %% before
import socket

try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"x", ("192.0.2.1", 53))
    print("got", MARKER)
except OSError as error:
    print(error)
if [name for _, name in socket.if_nameindex() if name.startswith(("e", "w", "v", "d", "b"))]:
    print("got", MARKER)
for address in (("127.0.0.1", 22), ("127.0.0.1", 8888), ("169.254.169.254", 80), ("192.0.2.1", 80)):
    try:
        socket.create_connection(address, 0.5).close()
        print("got", MARKER)
    except OSError as error:
        print(address, error)
