# mistake: leaves the first 4,000 characters in the context, so that the model sees something
# killed_by: the-bill-shrinks

# %% nbgrader={"grade_id": "context"}
class KVContext(History):
    """References with a preview."""

    def __init__(self, system, tools, store):
        super().__init__(system, tools)
        self.store = store

    def add_observation(self, obs, tool, *, source, fields=()):
        full = None if isinstance(obs, bytes) else canonical({"tool": tool, "result": obs})
        if full is None or (len(full.encode()) > 400 and tool != "memory_retrieve"):
            values = {path: field(obs, path) for path in fields}
            moved = {
                "ref": self.store.put(obs),
                **source,
                "fields": values,
                "head": canonical(str(obs) if isinstance(obs, bytes) else obs)[:4000],
            }
            full = canonical({"tool": tool, "moved": moved})
        self.append("tool", full)

    def retrieve(self, ref, contains):
        return self.store.retrieve(ref, contains)
