# goal: call functions of the judge's that were never lent, without end
# kind: judge
# stopped by: criteria end
# reference: loses

# %% after
line = host_line()


def flood():
    while True:
        line.send({"callback": 0, "arguments": [], "keywords": {}})
        line.receive(None)


answer_always(flood)
