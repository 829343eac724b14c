# mistake: declares no field that the observation lacks
# killed_by: references-say-where-and-what

# %% nbgrader={"grade_id": "context"}
class KVContext(History):
    """Fields that are there."""

    def __init__(self, system, tools, store):
        super().__init__(system, tools)
        self.store = store

    def add_observation(self, obs, tool, *, source, fields=()):
        full = None if isinstance(obs, bytes) else canonical({"tool": tool, "result": obs})
        if full is None or (len(full.encode()) > 400 and tool != "memory_retrieve"):
            values = {path: field(obs, path) for path in fields if field(obs, path)}
            moved = {"ref": self.store.put(obs), **source, "fields": values}
            full = canonical({"tool": tool, "moved": moved})
        self.append("tool", full)

    def retrieve(self, ref, contains):
        return self.store.retrieve(ref, contains)
