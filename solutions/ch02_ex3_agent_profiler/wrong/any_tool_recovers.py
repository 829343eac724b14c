# mistake: lets any tool that works recover the error of another
# killed_by: errors-are-recovered

# %% nbgrader={"grade_id": "tools"}
def tools(events: list[Event]) -> dict[str, float | None]:
    """Returns `success` and `recovery`: see the contract."""
    worked = executed = recovered = errors = 0
    for own in tidy(events).values():
        failing: dict[str, bool] = {}
        for event in own:
            if event[OPERATION] != "execute_tool":
                continue
            failed, before = ERROR in event, failing.get("", False)
            executed, worked = executed + 1, worked + (not failed)
            errors, recovered = (
                errors + (failed and not before),
                recovered + (before and not failed),
            )
            failing[""] = failed
    return {
        "success": worked / executed if executed else None,
        "recovery": recovered / errors if errors else None,
    }
