# goal: show thousands of large displays, and update them all
# kind: harness
# stopped by: bounded outputs
# reference: keeps

# %% before
from IPython.display import HTML, display

handles = [display(HTML("x" * 10_000), display_id=True) for _ in range(300)]
for handle in handles:
    handle.update(HTML("y" * 10_000))
