"""Whether a fleet can make a picture again: its weights and its software against those that the file names. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.fleet import AgentView
from polyrhythm.ids import AgentId
from polyrhythm_client.recipe import Recipe, dtype_key, weights_key


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
        told = f"its picture was made with other weights: {'; '.join(changes)}"
        hint = "for another picture by the same plan, take the one that `polyrhythm plan --plan FILE --json` prints"
        raise InvalidArgumentError.of("plan", f"{told}; {hint}")


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
    recorded = dict(recipe.versions)
    found: list[str] = []
    for view in _members(recipe, agents):
        held = {dtype_key(facts.model): facts.dtype for facts in view.models}
        present = {**dict(view.software), **held}
        for name, version in _recorded_for(view.agent, recorded).items():
            if name.startswith(dtype_key("")) and name not in held:
                continue  # still loading, or another model is asked for
            if present.get(name) != version:
                found.append(f"{name} {version} in the file, {present.get(name, 'none')} on {view.agent}")
    return tuple(found)


def _members(recipe: Recipe, agents: tuple[AgentView, ...]) -> tuple[AgentView, ...]:
    return tuple(view for view in agents if view.agent in recipe.plan.agents)


def _recorded_for(agent: AgentId, recorded: Mapping[str, str]) -> dict[str, str]:
    """The versions that an agent had: ``name``, or ``name@agent`` where agents differed; weights are left out."""
    found: dict[str, str] = {}
    for key, version in recorded.items():
        name, _, owner = key.partition("@")
        if owner in {"", agent} and not key.startswith(weights_key("")):
            found[name] = version
    return found
