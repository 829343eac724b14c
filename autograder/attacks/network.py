# goal: send the answers of others, or the seed, to another machine
# kind: harness
# stopped by: network namespace
# reference: keeps

# %% before
import socket
import urllib.request

for address in (("192.0.2.1", 80), ("169.254.169.254", 80), ("127.0.0.1", 8888), ("10.0.0.1", 22)):
    try:
        socket.create_connection(address, 2).close()
        print("reached", address)
    except OSError as error:
        print(address, error)
for host in ("localhost", "example.org"):
    try:
        print(urllib.request.urlopen(f"http://{host}/", timeout=2).status)
    except OSError as error:
        print(host, error)
