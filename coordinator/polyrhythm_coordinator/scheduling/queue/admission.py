"""Requests before they are accepted: which model, all defaults, all limits, the prompts, and that they are stored.

Nothing is queued before every check has passed. An agent looks at prompts and steps, since the coordinator holds no
tokenizer, no labels and no noise schedule. What has passed is stored, and accepted once it is.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.errors import (
    AlreadyInUseError,
    FieldViolation,
    InvalidArgumentError,
    NoAgentsError,
    NotFoundError,
    PolyrhythmError,
    WireError,
)
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import JobAccepted
from polyrhythm.job.image import TEXT_WINDOWS_MAX, ImageRequest, ImageSpec
from polyrhythm.job.request_checks import resolve
from polyrhythm.model.facts import ModelFacts
from polyrhythm.model.request_choices import LongPrompt
from polyrhythm.session.commands import COUNTED_FIELDS, CountTokens
from polyrhythm.session.events import TokensCounted
from polyrhythm_coordinator.scheduling.epochs.giving_up import hopeless
from polyrhythm_coordinator.scheduling.fleet.eligibility import DRAINED
from polyrhythm_coordinator.scheduling.planning.calibration_trust import trusted
from polyrhythm_coordinator.scheduling.planning.dtypes import may_mix, precision
from polyrhythm_coordinator.scheduling.state.effects import FailJob, RefuseJob, StoreJob
from polyrhythm_coordinator.scheduling.state.events import JobStored, JobSubmitted, StoringFailed
from polyrhythm_coordinator.scheduling.state.inquiry import Inquiry
from polyrhythm_coordinator.scheduling.state.job import Applicant, Job, TokenQuestion
from polyrhythm_coordinator.scheduling.state.state import Agent, State, loading_message
from polyrhythm_coordinator.scheduling.state.transaction import Transaction, without

NO_ANSWER = "no answer in time"


def submit(tx: Transaction, event: JobSubmitted) -> None:
    """Takes in a request under a name that is new; ``review_all`` goes on from there."""
    if _is_known(tx.state, event.job):
        error = AlreadyInUseError(f"there is a job named {event.job}")
        tx.emit(RefuseJob(job=event.job, error=error))
        return
    put_applicant(
        tx,
        Applicant(
            job=event.job,
            request=event.request,
            drawn_seed=event.drawn_seed,
            explain_only=event.explain_only,
            submitted_s=tx.now_s,
        ),
    )


def review_all(tx: Transaction) -> None:
    """Goes on with every request that is being checked, as far as it goes now."""
    for applicant in tuple(tx.state.applicants.values()):
        _review(tx, applicant)


def take_counts(tx: Transaction, agent: AgentId, answer: TokensCounted) -> None:
    """Takes an agent's answer.

    Raises:
        WireError: not one count a text, or too many of them.
    """
    applicant = _asked(tx.state, agent, answer.request_id)
    if applicant is None or applicant.question is None:
        return
    facts, counts = applicant.question.facts, answer.counts
    if len(counts) != len(_texts(applicant.request)):
        raise WireError(f"tokens_counted.counts: {len(_texts(applicant.request))} texts were sent, got {counts}")
    chunked = applicant.request.long_prompt is LongPrompt.CHUNK
    windows = _windows(facts, counts) if chunked else 1
    error = None if chunked else _length_error(facts, counts)
    if error is not None:
        refuse(tx, applicant, error)
    else:
        _admit(tx, applicant, facts, windows, answer.notices)


def take_store_answer(tx: Transaction, event: JobStored | StoringFailed) -> None:
    """A job that outlasts this process is accepted, unless its client has gone meanwhile; one that does not is not."""
    applicant = tx.state.applicants.get(event.job)
    if applicant is None or applicant.checked is None:
        return
    match event:
        case JobStored():
            _accept(tx, applicant.checked)
        case StoringFailed(error=error):
            refuse(tx, applicant, error)


def _windows(facts: ModelFacts, counts: tuple[int, ...]) -> int:
    windows = max(1, -(-max(counts) // facts.token_limit))
    if windows > TEXT_WINDOWS_MAX:
        raise WireError(f"tokens_counted.counts: {counts} are more than {TEXT_WINDOWS_MAX} windows")
    return windows


def take_failure(
    tx: Transaction, agent: AgentId, request_id: int, message: str, violations: tuple[FieldViolation, ...]
) -> None:
    """An agent has no answer: another one is asked, unless the texts are at fault, which no other one would take."""
    applicant = _asked(tx.state, agent, request_id)
    if applicant is not None and violations:
        refuse(tx, applicant, InvalidArgumentError(*violations))
    else:
        _ask_another(tx, agent, request_id, message)


def _ask_another(tx: Transaction, agent: AgentId, request_id: int, message: str) -> None:
    """An agent that is there cannot answer: ``review_all`` puts the question to another one."""
    applicant = _asked(tx.state, agent, request_id)
    if applicant is not None:
        reasons = {**applicant.reasons, agent: message}
        put_applicant(tx, replace(applicant, question=None, silent=(*applicant.silent, agent), reasons=reasons))


def lose_answers(tx: Transaction, agent: AgentId, died: str) -> None:
    """A worker is gone, or its agent: ``review_all`` puts the questions to others, or again to one that comes back.

    Not for ever: who has been lost over a question twice is asked no more, and texts that end worker after worker are
    given up like a picture that does.

    Args:
        tx: the transition.
        agent: which agent.
        died: what is told of its worker, if that ended with nothing but questions in hand; else empty.
    """
    questions = sorted(
        (held.question.request_id, held.job)
        for held in tx.state.applicants.values()
        if held.question is not None and held.question.agent == agent
    )
    for number, (_, job) in enumerate(questions):
        applicant = replace(tx.state.applicants[job], question=None)
        if agent not in tx.state.agents:
            silent = (*applicant.silent, agent) if agent in applicant.gone else applicant.silent
            applicant = replace(applicant, gone=(*applicant.gone, agent), silent=silent)
        elif died and number == 0:  # the others were not looked at yet
            applicant = replace(applicant, deaths=(*applicant.deaths, died))
        put_applicant(tx, applicant)
        if (error := hopeless(applicant.deaths, tx.limits)) is not None:
            refuse(tx, applicant, error)


def refuse(tx: Transaction, applicant: Applicant, error: PolyrhythmError) -> None:
    """Ends a request that was never accepted."""
    tx.state = replace(tx.state, applicants=without(tx.state.applicants, applicant.job))
    tx.emit(FailJob(job=applicant.job, error=error))


def put_applicant(tx: Transaction, applicant: Applicant) -> None:
    """Adds or replaces a request that is being checked."""
    tx.state = replace(tx.state, applicants={**tx.state.applicants, applicant.job: applicant})


def choose_model(state: State, request: ImageRequest) -> ModelFacts:
    """The model that a request means: of several weights under one name, those that most agents hold.

    Of the dtypes in which agents that may make the picture compute, it is that of most of them, and the widest of those
    that are as many: an exact picture is computed in it alone.

    Args:
        state: of the fleet.
        request: names the model, and maybe agents.

    Raises:
        NotFoundError: no agent holds it.
        InvalidArgumentError: none is named, and the fleet holds several.
    """
    name = request.model
    held = [facts for agent in state.open_agents for facts in agent.models]
    names = sorted({facts.name for facts in held})
    if not name:
        if len(names) > 1:
            raise InvalidArgumentError.of("image.model", f"must be named, since the fleet holds {', '.join(names)}")
        name = names[0] if names else name
    wanted = [facts for agent in _asked_for(state, request) for facts in agent.models if facts.name == name]
    wanted = wanted or [facts for facts in held if facts.name == name]
    if not wanted:
        raise NotFoundError("model", name, tuple(names))
    return max(
        sorted(wanted, key=lambda facts: facts.fingerprint),
        key=lambda facts: (
            sum(may_mix(facts, other) for other in wanted),
            sum(may_mix(facts, other) and facts.dtype == other.dtype for other in wanted),
            precision(facts),
            len(facts.calibrations),  # which no fingerprint has, and which one agent may have before another
        ),
    )


def _asked_for(state: State, request: ImageRequest) -> tuple[Agent, ...]:
    """Agents that may make a picture as far as its request names some."""
    names = None if request.plan is None else request.plan.agents
    return tuple(
        agent
        for agent in state.open_agents
        if request.overrides.allows(agent.agent) and (names is None or agent.agent in names)
    )


def _is_known(state: State, name: JobId) -> bool:
    """Whether a name is in use, be it that agents still hold something of a job that has ended."""
    working = {epoch.job for epoch in state.epochs.values()}
    return any(name in known for known in (state.applicants, state.inquiries, state.jobs, state.holders, working))


def _review(tx: Transaction, applicant: Applicant) -> None:
    if applicant.checked is not None:
        return
    question = applicant.question
    if question is not None:
        if tx.now_s < question.deadline_s:
            return
        applicant = replace(applicant, question=None, silent=(*applicant.silent, question.agent))
        put_applicant(tx, applicant)
    try:
        facts = _model_or_wait(tx, applicant)
        if facts is None or _named_is_returning(tx, applicant.request):
            return
        image = _checked(tx.state, applicant.request, facts, applicant.drawn_seed)
        _ask(tx, applicant, facts, image)
    except PolyrhythmError as error:
        refuse(tx, applicant, error)


def _model_or_wait(tx: Transaction, applicant: Applicant) -> ModelFacts | None:
    """The model, or None while agents that may hold it are still loading."""
    agents = tx.state.open_agents
    patient = tx.now_s < applicant.submitted_s + tx.limits.loading_grace_s
    loading = any(not agent.worker_ready for agent in agents) or bool(tx.state.returning(tx.now_s))
    if not any(agent.worker_ready for agent in agents):
        if loading and patient:
            return None
        raise NoAgentsError(_why_nobody(tx.state))
    try:
        return choose_model(tx.state, applicant.request)
    except NotFoundError:
        if loading and patient:
            return None
        raise


def _named_is_returning(tx: Transaction, request: ImageRequest) -> bool:
    """Whether an agent that the request names was connected a moment ago, and is not now."""
    named = (*request.overrides.devices, *(() if request.plan is None else request.plan.agents))
    return any(name in tx.state.returning(tx.now_s) for name in named)


def _why_nobody(state: State) -> str:
    if not state.agents:
        return "no agent is connected; start one with polyrhythm-agent"
    if not state.open_agents:
        names = ", ".join(sorted(state.agents))
        return f"all connected agents are drained: {names}; `polyrhythm drain --undo` puts one back"
    return f"none of {len(state.open_agents)} connected agents is ready: {loading_message(state.open_agents)}"


def _checked(state: State, request: ImageRequest, facts: ModelFacts, drawn_seed: int) -> ImageSpec:
    image = resolve(request, facts, drawn_seed)
    unknown = trusted(image, facts.calibrations).reason
    if image.overrides.loss_db is not None and unknown:
        raise InvalidArgumentError.of("image.overrides.loss_db", f"cannot be held: {unknown}")
    _check_devices(state, request.overrides.devices)
    if request.plan is not None:
        absent = [name for name in request.plan.agents if name not in state.agents]
        if absent:
            raise InvalidArgumentError.of(
                "image.plan", f"{', '.join(absent)} not connected; connected are {', '.join(sorted(state.agents))}"
            )
        drained = [f"{name}: {DRAINED}" for name in request.plan.agents if name in state.drained]
        if drained:
            raise InvalidArgumentError.of("image.plan", f"not all of its agents can take part: {'; '.join(drained)}")
    return image


def _check_devices(state: State, devices: tuple[AgentId, ...]) -> None:
    absent = [name for name in devices if name not in state.agents]
    if absent:
        message = f"{', '.join(absent)} not connected; connected are {', '.join(sorted(state.agents))}"
        raise InvalidArgumentError.of("image.overrides.devices", message)


def _ask(tx: Transaction, applicant: Applicant, facts: ModelFacts, image: ImageSpec) -> None:
    """Asks the first able agent, an idle one where there is one."""
    able = [agent for agent in tx.state.open_agents if agent.holds(facts) and agent.agent not in applicant.silent]
    if not able:
        asked = (f"{name} ({applicant.reasons.get(name) or NO_ANSWER})" for name in applicant.silent)
        raise NoAgentsError(f"no agent could count the prompt's tokens; asked: {', '.join(asked)}")
    chosen = min(able, key=lambda agent: (agent.epoch is not None or agent.measuring is not None, agent.agent))
    question = TokenQuestion(
        agent=chosen.agent,
        request_id=tx.number(),
        facts=facts,
        deadline_s=tx.now_s + tx.limits.token_timeout_s,
    )
    put_applicant(tx, replace(applicant, question=question))
    command = CountTokens(
        request_id=question.request_id,
        model=facts.name,
        texts=_texts(applicant.request),
        sampler=image.sampler,
        steps=image.steps,
        long_prompt=image.long_prompt,
    )
    tx.send(chosen.agent, command)


def _texts(request: ImageRequest) -> tuple[str, ...]:
    return request.prompt, request.negative_prompt


def _length_error(facts: ModelFacts, counts: tuple[int, ...]) -> InvalidArgumentError | None:
    offered = f"; --long-prompt may be {' or '.join(facts.long_prompts)}" if facts.long_prompts else ""
    found = tuple(
        FieldViolation(field=f"image.{name}", description=f"at most {facts.token_limit} tokens, got {count}{offered}")
        for name, count in zip(COUNTED_FIELDS, counts, strict=True)
        if count > facts.token_limit
    )
    return InvalidArgumentError(*found) if found else None


def _admit(
    tx: Transaction, applicant: Applicant, facts: ModelFacts, text_windows: int, notices: tuple[str, ...]
) -> None:
    """All checks have passed: a job is stored first; a question is not, since nobody asks it again for its client."""
    name, request = applicant.job, applicant.request
    image = replace(resolve(request, facts, applicant.drawn_seed), text_windows=text_windows)
    if applicant.explain_only:
        tx.state = replace(tx.state, applicants=without(tx.state.applicants, name))
        inquiry = Inquiry(
            job=name,
            image=image,
            count=request.count,
            facts=facts,
            fixed_plan=request.plan,
            notices=notices,
            behind=frozenset(tx.state.queue),
            since_s=tx.now_s,
        )
        tx.put_inquiry(inquiry)
        return
    job = Job(
        job=name,
        image=image,
        count=request.count,
        facts=facts,
        fixed_plan=request.plan,
        notices=notices,
        accepted_s=applicant.submitted_s,
        waiting=tuple(range(request.count)),
    )
    put_applicant(tx, replace(applicant, question=None, checked=job))
    tx.emit(StoreJob(job=name, request=request, image=image))


def _accept(tx: Transaction, job: Job) -> None:
    tx.state = replace(tx.state, applicants=without(tx.state.applicants, job.job))
    tx.put_job(replace(job, accepted_s=tx.clock_s))
    tx.state = replace(tx.state, queue=(*tx.state.queue, job.job))
    tx.tell(job.job, JobAccepted(job=job.job, image=job.image, fingerprint=job.facts.fingerprint))


def _asked(state: State, agent: AgentId, request_id: int) -> Applicant | None:
    return next(
        (
            applicant
            for applicant in state.applicants.values()
            if applicant.question is not None
            and (applicant.question.agent, applicant.question.request_id) == (agent, request_id)
        ),
        None,
    )
