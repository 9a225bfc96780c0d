"""Whether a fleet can make a picture again: its weights and its software against those that the file names. Pure."""

from __future__ import annotations

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.fleet import AgentView
from polyrhythm.ids import AgentId
from polyrhythm_client.recipes.recipe import Recipe, dtype_key, weights_key


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
    recorded = dict(recipe.versions).get(weights_key(name))
    if recorded is None or model not in {"", name}:
        return ()
    held = {
        view.agent: [facts.fingerprint for facts in view.models if facts.model == name]
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
    for view in _members(recipe, agents):
        held = {dtype_key(facts.model): facts.dtype for facts in view.models}
        present = {**dict(view.software), **held}
        for name, version in _recorded_for(recipe, view.agent).items():
            if name.startswith(dtype_key("")) and name not in held:
                continue  # still loading, or another model is asked for
            if present.get(name) != version:
                found.append(f"{name} {version} in the file, {present.get(name, 'none')} on {view.agent}")
    return tuple(found)


def recorded_dtypes(recipe: Recipe) -> dict[AgentId, str]:
    """Arithmetic in which each agent of the plan computed the picture, as far as the file says."""
    key = dtype_key(recipe.request.model)
    recorded = {agent: _recorded_for(recipe, agent) for agent in recipe.plan.agents}
    return {agent: versions[key] for agent, versions in recorded.items() if key in versions}


def _members(recipe: Recipe, agents: tuple[AgentView, ...]) -> tuple[AgentView, ...]:
    return tuple(view for view in agents if view.agent in recipe.plan.agents)


def _recorded_for(recipe: Recipe, agent: AgentId) -> dict[str, str]:
    """The versions that an agent had: ``name``, or ``name@agent`` where agents differed; weights are left out.

    A model of the hub may have an ``@`` in its own name, with a revision behind it that is no agent.
    """
    model = recipe.request.model
    found: dict[str, str] = {}
    for key, version in recipe.versions:
        name, _, owner = key.rpartition("@")
        if key in {weights_key(model), dtype_key(model)} or owner not in recipe.plan.agents:
            name, owner = key, ""
        if owner in {"", agent} and not name.startswith(weights_key("")):
            found[name] = version
    return found
