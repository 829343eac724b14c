# mistake: takes the workbook's own memory
# killed_by: names-come-from-contents

# %% nbgrader={"grade_id": "store"}
class Store:
    """The workbook's memory in a folder of its own."""

    def __init__(self, write, read):
        import tempfile
        from pathlib import Path

        from workbook.context.memory import Memory
        from workbook.context.retrieval import Retrieval

        self.memory = Memory(Path(tempfile.mkdtemp()))
        self._retrieval = Retrieval(self.memory)

    def put(self, obs):
        return self.memory.put(obs).name

    def restore(self, ref):
        return self.memory.read(ref)

    def retrieve(self, ref, contains):
        return self._retrieval.run({"ref": ref, "contains": contains})
