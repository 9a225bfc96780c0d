"""Whether a fleet can make a picture again: its weights and its software against those that the file names. Pure."""

from __future__ import annotations

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.fleet import AgentView
from polyrhythm.ids import AgentId
from polyrhythm_client.recipes.recipe import Recipe


def check_weights(recipe: Recipe, model: str, agents: tuple[AgentView, ...]) -> None:
    """Checks that the agents of the plan hold the weights that made the picture.

    Args:
        recipe: of the picture.
        model: that is asked for; empty for the only one of the fleet.
        agents: of the fleet.

    Raises:
        InvalidArgumentError: names ``plan``; one of them holds others.
    """
    changes = changed_weights(recipe, model, agents)
    if changes:
        message = f"its picture was made with other weights: {'; '.join(changes)}"
        hint = "for another picture by the same plan, take the one that `polyrhythm plan --plan FILE --json` prints"
        raise InvalidArgumentError.of("plan", f"{message}; {hint}")


def changed_weights(recipe: Recipe, model: str, agents: tuple[AgentView, ...]) -> tuple[str, ...]:
    """Agents of the plan that hold other weights than those that made the picture, a line each.

    Agents that are still loading are passed over, and so is everything where the file names no weights, as a bare plan,
    or where another model than the file's is asked for.

    Args:
        recipe: of the picture.
        model: that is asked for; empty for the only one of the fleet.
        agents: of the fleet.
    """
    name = recipe.request.model
    recorded = recipe.fingerprint
    if not recorded or model not in {"", name}:
        return ()
    held = {
        view.name: [facts.fingerprint for facts in view.models if facts.name == name]
        for view in _members(recipe, agents)
    }
    return tuple(
        f"{name} has the fingerprint {recorded} in the file, {', '.join(fingerprints)} on {agent}"
        for agent, fingerprints in held.items()
        if fingerprints and recorded not in fingerprints
    )


def changed_software(recipe: Recipe, agents: tuple[AgentView, ...]) -> tuple[str, ...]:
    """What differs from the software that made the picture, a line each; such a picture may differ in its last bits.

    So may one that is computed in another dtype, and in more of them.
    """
    found: list[str] = []
    records = {record.agent: record for record in recipe.agents}
    for view in _members(recipe, agents):
        record = records.get(view.name)
        if record is None:
            continue
        present = {each.name: each.version for each in view.software}
        compared = [(each.name, each.version, present.get(each.name, "none")) for each in record.software]
        dtypes = [facts.dtype for facts in view.models if facts.name == recipe.request.model]
        if dtypes:  # else it is still loading, or another model is asked for
            compared.append((f"dtype of {recipe.request.model}", record.dtype, dtypes[0]))
        found += [f"{name} {was} in the file, {now} on {view.name}" for name, was, now in compared if was != now]
    return tuple(found)


def recorded_dtypes(recipe: Recipe) -> dict[AgentId, str]:
    """Arithmetic in which each agent of the plan computed the picture, as far as the file says."""
    return {record.agent: record.dtype for record in recipe.agents if record.agent in recipe.plan.agents}


def _members(recipe: Recipe, agents: tuple[AgentView, ...]) -> tuple[AgentView, ...]:
    return tuple(view for view in agents if view.name in recipe.plan.agents)
