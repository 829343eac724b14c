# goal: give numbers of objects and functions as if they were answers
# kind: judge
# stopped by: one answer a question
# reference: loses

# %% after
answer_always(lambda: [{"$handle": 1}, {"$callback": 0}, {"$tensor": {"dtype": "bool", "shape": [], "blob": 0}}])
