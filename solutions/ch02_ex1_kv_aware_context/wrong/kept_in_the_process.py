# mistake: keeps what was put in a dictionary of the process, and writes the files for show
# killed_by: what-was-moved-comes-back

# %% nbgrader={"grade_id": "store"}
class Store:
    """A cache without its files."""

    def __init__(self, write, read):
        self._write, self._read = write, read

    def put(self, obs):
        if isinstance(obs, bytes):
            data = b"b" + obs
        elif isinstance(obs, str):
            data = b"t" + obs.encode()
        else:
            data = b"j" + canonical(obs).encode()
        ref = hashlib.sha256(data).hexdigest()[:16]
        self._write(ref, data)
        self._known = {**getattr(self, "_known", {}), ref: obs}
        return ref

    def restore(self, ref):
        return getattr(self, "_known", {})[ref]

    def retrieve(self, ref, contains):
        obs = self.restore(ref)
        text = obs if isinstance(obs, str) else json.dumps(obs, indent=1, ensure_ascii=False)
        found = []
        for line in text.split("\n"):
            place = line.find(contains)
            if place >= 0:
                found.append(line[max(0, place - 150) : place + len(contains) + 150])
        return "\n".join(found).encode()[:2000].decode(errors="ignore")
