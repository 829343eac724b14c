# goal: give tensors that hold no numbers: on the meta device, sparse, of another layout
# kind: judge
# stopped by: plain values
# reference: loses
# shapes: tensor

# %% after
import itertools
import torch

kinds = itertools.cycle([lambda t: t.to("meta"), lambda t: t.to_sparse(), lambda t: t.to(torch.complex64)])


def call(function, *arguments, **keywords):
    return next(kinds)(function(*arguments, **keywords))


wrap_calls(call)
