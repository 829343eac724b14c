# goal: answer before the judge has asked, from a thread that goes on meanwhile
# kind: judge
# stopped by: one answer a question
# reference: any

# %% after
import threading
import time

line = host_line()


def forge():
    time.sleep(0.05)  # when the cell has ended, the judge asks
    for number in range(1, 50):
        for answer in ({"value": None}, {"value": True}, {"value": 6}, {"handle": number}):
            line.send({"id": number, **answer})


threading.Thread(target=forge, daemon=True).start()
