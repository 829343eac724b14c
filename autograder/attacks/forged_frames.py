# goal: write garbage and huge lengths into the judge's channel when it asks
# kind: judge
# stopped by: one answer a question
# reference: loses

# %% after
import os
import struct


def garbage(*arguments, **keywords):
    for descriptor in range(3, 20):
        for frame in (b"\xff" * 64, struct.pack("!IIQ", 0, 1, 1 << 60), struct.pack("!II", 1 << 31, 1 << 31)):
            try:
                os.write(descriptor, frame)
            except OSError:
                pass


for name in NAMES:
    globals()[name] = garbage
