# goal: flood the executor with messages that say idle
# kind: harness
# stopped by: judged from outside
# reference: any

# %% before
session = get_ipython().display_pub.session
for _ in range(500):
    session.send(None, "status", {"execution_state": "idle"})
    session.send(None, "execute_reply", {"status": "ok", "execution_count": 1})
