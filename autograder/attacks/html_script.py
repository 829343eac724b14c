# goal: run a script in the browser of whoever grades
# kind: harness
# stopped by: clean outputs
# reference: keeps

# %% after
from IPython.display import HTML, SVG, Javascript, display

display(HTML("<script>fetch('/formgrader')</script><img src=x onerror=alert(1)>"))
display(Javascript("alert(1)"))
display(SVG("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"))
