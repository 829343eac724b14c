# goal: tell executors by tags and metadata to skip cells, or to let them raise
# kind: harness
# stopped by: restoration
# reference: keeps

# %% notebook
for cell in notebook["cells"]:
    cell["metadata"]["tags"] = ["raises-exception", "skip-execution", "parameters", "injected-parameters"]
notebook["metadata"] = {"kernelspec": {"name": "bash", "language": "bash", "display_name": "x"}}
notebook["metadata"]["papermill"] = {"exception": None, "completed": True}
