# mistake: a function that calls torch, in the place of a kernel
# killed_by: triton-any-length

# %% nbgrader={"grade_id": "triton"}
class add:  # noqa: N801 - the name of the kernel
    """Looks like a kernel."""

    def __class_getitem__(cls, grid):
        """Returns what starts it."""
        return lambda x, y, z, *rest, block: z.copy_(x + y)
