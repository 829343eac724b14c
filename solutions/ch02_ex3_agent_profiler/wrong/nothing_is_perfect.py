# mistake: says 1 where there is nothing to count
# killed_by: tools-succeed-or-fail

# %% nbgrader={"grade_id": "tools"}
def tools(events: list[Event]) -> dict[str, float | None]:
    """Returns `success` and `recovery`: see the contract."""
    worked = executed = recovered = errors = 0
    for own in tidy(events).values():
        failing: dict[str, bool] = {}
        for event in own:
            if event[OPERATION] != "execute_tool":
                continue
            failed, before = ERROR in event, failing.get(event[TOOL], False)
            executed, worked = executed + 1, worked + (not failed)
            errors, recovered = (
                errors + (failed and not before),
                recovered + (before and not failed),
            )
            failing[event[TOOL]] = failed
    return {
        "success": worked / executed if executed else 1.0,
        "recovery": recovered / errors if errors else 1.0,
    }
