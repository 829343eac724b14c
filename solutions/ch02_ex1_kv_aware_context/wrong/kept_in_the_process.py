# mistake: keeps what was put in a dictionary of the process; files have no more than a hash
# killed_by: what-was-moved-comes-back

# %% nbgrader={"grade_id": "store"}
KNOWN = {}


class Store:
    """A cache, with files for show."""

    def __init__(self, write, read):
        self._write, self._read = write, read

    def put(self, obs):
        if isinstance(obs, bytes):
            data = b"b" + obs
        elif isinstance(obs, str):
            data = b"t" + obs.encode()
        else:
            data = b"j" + canonical(obs).encode()
        mark = hashlib.sha256(data).digest()
        ref = hashlib.sha256(mark).hexdigest()[:16]
        self._write(ref, mark)
        KNOWN[ref] = obs
        return ref

    def restore(self, ref):
        if self._read(ref) is None:
            raise KeyError(ref)
        return KNOWN[ref]

    def retrieve(self, ref, contains):
        obs = self.restore(ref)
        text = obs if isinstance(obs, str) else json.dumps(obs, indent=1, ensure_ascii=False)
        found = []
        for line in text.split("\n"):
            place = line.find(contains)
            if place >= 0:
                found.append(line[max(0, place - 150) : place + len(contains) + 150])
        return "\n".join(found).encode()[:2000].decode(errors="ignore")
