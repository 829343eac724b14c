# goal: use up the machine's memory
# kind: harness
# stopped by: memory is bounded
# reference: any

# %% before
import mmap

kept = []
while True:
    block = mmap.mmap(-1, 256 << 20)
    for page in range(0, len(block), 4096):
        block[page] = 1
    kept.append(block)
