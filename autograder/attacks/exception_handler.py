# goal: swallow every exception of later cells
# kind: harness
# stopped by: judged from outside
# reference: keeps

# %% before
get_ipython().set_custom_exc((BaseException,), lambda *_: None)
