"""Questions how pictures would be made: from admission to the answer, beside the queue.

What is told is how an idle fleet would make them: agents that are busy count as free, so that a question about known
speeds waits for nobody. Where some have to be measured first, pictures that were asked for before it come first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from polyrhythm.errors import NoAgentsError, PolyrhythmError
from polyrhythm.ids import AgentId
from polyrhythm.job.events import ImagePlanned
from polyrhythm.plan.explanation import Explanation
from polyrhythm_coordinator.scheduling.fleet.agent_kinds import AgentKinds, agent_kinds
from polyrhythm_coordinator.scheduling.fleet.decision import missing_of, nobody, not_all
from polyrhythm_coordinator.scheduling.fleet.eligibility import Bar
from polyrhythm_coordinator.scheduling.fleet.measuring import ask_to_measure, due
from polyrhythm_coordinator.scheduling.planning.measured_profiles import workload_of
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask
from polyrhythm_coordinator.scheduling.queue.choice_messages import left_to_others, sharing_message, with_choice
from polyrhythm_coordinator.scheduling.queue.gang_or_singles import Fleet, Way, choose
from polyrhythm_coordinator.scheduling.queue.order import comes_first
from polyrhythm_coordinator.scheduling.queue.plan_tasks import for_gang, plan_task
from polyrhythm_coordinator.scheduling.queue.waiting import looked_at, wants_throughput
from polyrhythm_coordinator.scheduling.state.effects import ComputePlan, EndJob, FailJob, Tell
from polyrhythm_coordinator.scheduling.state.events import PlanComputed, PlanFailed
from polyrhythm_coordinator.scheduling.state.inquiry import AnswerAsked, GangAsked, Inquiry, NoPlan
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def go_on_with_inquiries(tx: Transaction) -> None:
    """Goes on with every question, as far as it goes now."""
    for inquiry in tuple(tx.state.inquiries.values()):
        if inquiry.asked is None:
            _go_on(tx, inquiry)


def take_plan_for_inquiry(tx: Transaction, event: PlanComputed | PlanFailed) -> bool:
    """Takes the planner's answer, if it is to a question.

    Returns:
        Whether it is.
    """
    for inquiry in tx.state.inquiries.values():
        if inquiry.asked is not None and inquiry.asked.number == event.number:
            _take_plan(tx, inquiry, inquiry.asked, event)
            return True
    return False


def fail_inquiry(tx: Transaction, inquiry: Inquiry, error: PolyrhythmError) -> None:
    """Ends a question that has no answer, or that nobody asks any more."""
    tx.end_inquiry(inquiry.job, FailJob(job=inquiry.job, error=error))


def _go_on(tx: Transaction, inquiry: Inquiry) -> None:
    """Waits for workers that are loading, measures what has to be known, or asks the planner."""
    picture, plan, without = inquiry.picture(0), inquiry.fixed_plan, inquiry.no_plan
    kinds = agent_kinds(tx.state, picture, tx.now_s)
    missing = missing_of(kinds, plan)
    kinds = kinds if plan is None else kinds.only(plan.agents)
    able, late = kinds.plannable, kinds.of(Bar.UNMEASURED, Bar.MEASURING, Bar.OCCUPIED)
    if without is not None and without.agents.issuperset(able):
        able = ()
    if missing or not (able or late):
        _wait_or_fail(tx, inquiry, kinds, missing)
    elif late:
        _measure(tx, inquiry, kinds)
    else:
        _ask(tx, inquiry, kinds, able)


def _wait_or_fail(tx: Transaction, inquiry: Inquiry, kinds: AgentKinds, missing: tuple[AgentId, ...]) -> None:
    comes = all(name in kinds.coming for name in missing) if missing else bool(kinds.coming)
    if comes and tx.now_s < inquiry.since_s + tx.limits.loading_grace_s:
        return
    if inquiry.no_plan is not None:
        error = inquiry.no_plan.error
    else:
        error = not_all(kinds, missing) if missing else nobody(inquiry.picture(0), kinds)
    fail_inquiry(tx, inquiry, error)


def _measure(tx: Transaction, inquiry: Inquiry, kinds: AgentKinds) -> None:
    """Patience with workers that are loading begins when nothing else is waited for."""
    if inquiry.since_s != tx.now_s:
        tx.put_inquiry(replace(inquiry, since_s=tx.now_s))
    if comes_first(tx.state, inquiry.behind):
        return
    unmeasured = kinds.of(Bar.UNMEASURED)
    measurements = due(tx.state, inquiry.picture(0), unmeasured, (*kinds.ready, *unmeasured), tx.now_s)
    ask_to_measure(tx, workload_of(inquiry.image), measurements)


def _ask(tx: Transaction, inquiry: Inquiry, kinds: AgentKinds, able: tuple[AgentId, ...]) -> None:
    """Asks for the plan that was given, or how all together would make the first picture."""
    exclusions = kinds.exclusions(but=able)
    task = plan_task(_at_rest(tx.state), inquiry.picture(0), able, exclusions, fixed_plan=inquiry.fixed_plan)
    if inquiry.fixed_plan is not None:
        _ask_planner(tx, inquiry, AnswerAsked(number=tx.number()), task)
        return
    asked = GangAsked(number=tx.number(), agents=frozenset(able), exclusions=exclusions)
    _ask_planner(tx, inquiry, asked, for_gang(task))


def _take_plan(
    tx: Transaction, inquiry: Inquiry, asked: GangAsked | AnswerAsked, event: PlanComputed | PlanFailed
) -> None:
    match event, asked:
        case PlanComputed(explanation=gang), GangAsked():
            _weigh(tx, inquiry, asked, gang)
        case PlanComputed(explanation=explanation), AnswerAsked(rival=rival, sharing=sharing):
            _answer(tx, inquiry, with_choice(explanation, rival, sharing))
        case PlanFailed(error=NoAgentsError() as error), GangAsked(agents=agents):  # others may come, or be measured
            no_plan = NoPlan(agents=agents, error=error)
            tx.put_inquiry(replace(inquiry, asked=None, no_plan=no_plan, since_s=tx.now_s))
        case PlanFailed(error=error), _:
            fail_inquiry(tx, inquiry, error)
        case _:
            assert_never(event)


def _weigh(tx: Transaction, inquiry: Inquiry, asked: GangAsked, gang: Explanation) -> None:
    """Weighs the gang against single devices, and asks for the plan of the first picture's if these are better."""
    idle = _at_rest(tx.state)
    waiting = looked_at(idle, map(inquiry.picture, range(inquiry.count)), gang, tx.now_s)
    if not waiting.entries:  # somebody has gone meanwhile
        tx.put_inquiry(replace(inquiry, asked=None))
        return
    first, able = waiting.pictures[0], waiting.entries[0].alone_s.keys()
    throughput = wants_throughput(first)
    fleet = Fleet(hosts={name: agent.host for name, agent in tx.state.agents.items()})
    choice = choose(waiting.entries, fleet, throughput=throughput)
    sharing = sharing_message(choice, len(waiting.pictures), gang, throughput=throughput)
    if choice.way is not Way.SINGLES:
        _answer(tx, inquiry, replace(gang, sharing=sharing))
        return
    starting = frozenset(agent for _, agent in choice.starts)
    agent = choice.starts[0][1]  # since nobody is busy, the first picture begins with the others
    exclusions = (*asked.exclusions, *left_to_others(able - {agent}, throughput=throughput))
    task = plan_task(idle, first, (agent,), exclusions, beside=starting - {agent})
    _ask_planner(tx, inquiry, AnswerAsked(number=tx.number(), rival=gang, sharing=sharing), task)


def _ask_planner(tx: Transaction, inquiry: Inquiry, asked: GangAsked | AnswerAsked, task: PlanTask) -> None:
    tx.put_inquiry(replace(inquiry, asked=asked))
    tx.emit(ComputePlan(job=inquiry.job, number=asked.number, task=task))


def _answer(tx: Transaction, inquiry: Inquiry, explanation: Explanation) -> None:
    planned = ImagePlanned(image_index=0, explanation=explanation)
    tx.end_inquiry(inquiry.job, Tell(job=inquiry.job, fact=planned), EndJob(job=inquiry.job))


def _at_rest(state: State) -> State:
    """The same fleet as if no picture were being made."""
    agents = {name: replace(agent, epoch=None) for name, agent in state.agents.items()}
    return replace(state, agents=agents, jobs={}, queue=(), epochs={})
