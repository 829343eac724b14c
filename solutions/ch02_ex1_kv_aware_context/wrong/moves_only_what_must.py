# mistake: moves what must be moved, and leaves all else
# killed_by: real-vllm-agrees

# %% nbgrader={"grade_id": "context"}
class KVContext(History):
    """As little as possible."""

    def __init__(self, system, tools, store):
        super().__init__(system, tools)
        self.store = store

    def add_observation(self, obs, tool, *, source, fields=()):
        full = None if isinstance(obs, bytes) else canonical({"tool": tool, "result": obs})
        if full is None or (len(canonical(obs).encode()) > 4000 and tool != "memory_retrieve"):
            values = {path: field(obs, path) for path in fields}
            moved = {"ref": self.store.put(obs), **source, "fields": values}
            full = canonical({"tool": tool, "moved": moved})
        self.append("tool", full)

    def retrieve(self, ref, contains):
        return self.store.retrieve(ref, contains)
