# goal: say of the graded cells that they are answers, and of the answers that they are graded
# kind: harness
# stopped by: restoration
# reference: keeps
# says: settings

# %% notebook
for cell in notebook["cells"]:
    about = cell["metadata"].get("nbgrader")
    if about:
        about["grade"], about["solution"], about["locked"] = about.get("solution"), about.get("grade"), False
