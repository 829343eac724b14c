# goal: tell the executor that the cell is done, and go on behind its back
# kind: harness
# stopped by: judged from outside
# reference: any

# %% before
line = host_line()
for number in range(50):
    line.send({"done": {"error": None, "execution_count": number}})
