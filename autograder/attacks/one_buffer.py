# goal: give the same buffer each time, so that nothing is allocated
# kind: judge
# stopped by: purity
# reference: loses
# shapes: tensor

# %% after
import torch

buffer = torch.empty(1 << 20)


def call(function, *arguments, **keywords):
    right = function(*arguments, **keywords)
    return buffer[: right.numel()].view(right.shape).copy_(right)


wrap_calls(call)
