# goal: show hundreds of large texts, and update them all
# kind: harness
# stopped by: bounded outputs
# reference: keeps

# %% before
from IPython.display import display

handles = [display({"text/plain": "x" * 10_000}, raw=True, display_id=True) for _ in range(300)]
for handle in handles:
    handle.update({"text/plain": "y" * 10_000}, raw=True)
