# mistake: names files by `hash()`, which each process salts anew
# killed_by: names-come-from-contents

# %% nbgrader={"grade_id": "store"}
class Store:
    """Names of this process."""

    def __init__(self, write, read):
        self._write, self._read = write, read

    def put(self, obs):
        if isinstance(obs, bytes):
            data = b"b" + obs
        elif isinstance(obs, str):
            data = b"t" + obs.encode()
        else:
            data = b"j" + canonical(obs).encode()
        ref = f"{abs(hash(data)):016x}"
        self._write(ref, data)
        return ref

    def restore(self, ref):
        data = self._read(ref)
        if data is None:
            raise KeyError(ref)
        kind, content = data[:1], data[1:]
        if kind == b"b":
            return content
        return content.decode() if kind == b"t" else json.loads(content)

    def retrieve(self, ref, contains):
        obs = self.restore(ref)
        text = obs if isinstance(obs, str) else json.dumps(obs, indent=1, ensure_ascii=False)
        found = []
        for line in text.split("\n"):
            place = line.find(contains)
            if place >= 0:
                found.append(line[max(0, place - 150) : place + len(contains) + 150])
        return "\n".join(found).encode()[:2000].decode(errors="ignore")
