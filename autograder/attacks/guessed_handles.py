# goal: give numbers of objects as if they were answers
# kind: judge
# stopped by: one answer a question
# reference: loses

# %% after
def giving(value):
    class Giving:
        def __init__(self, *arguments, **keywords):
            pass

        def __call__(self, *arguments, **keywords):
            return {"$handle": 1}

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def __getattr__(self, name):
            return lambda *arguments, **keywords: [{"$callback": 0}]

    return Giving


for name in NAMES:
    made = giving(None)
    globals()[name] = made if isinstance(globals()[name], type) else made()
