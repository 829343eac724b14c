# mistake: looks for the text in all that was ever put, whatever the ref
# killed_by: retrieval-finds-a-little

# %% nbgrader={"grade_id": "store"}
KNOWN = []


class Store:
    """A memory of its own."""

    def __init__(self, write, read):
        self._write, self._read, self.seen = write, read, KNOWN

    def put(self, obs):
        self.seen.append(obs)
        if isinstance(obs, bytes):
            data = b"b" + obs
        elif isinstance(obs, str):
            data = b"t" + obs.encode()
        else:
            data = b"j" + canonical(obs).encode()
        ref = hashlib.sha256(data).hexdigest()[:16]
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
        self.restore(ref)
        all_of_it = [
            one if isinstance(one, str) else json.dumps(one, indent=1) for one in self.seen
        ]
        text = "\n".join(reversed(all_of_it))
        found = []
        for line in text.split("\n"):
            place = line.find(contains)
            if place >= 0:
                found.append(line[max(0, place - 150) : place + len(contains) + 150])
        return "\n".join(found).encode()[:2000].decode(errors="ignore")
