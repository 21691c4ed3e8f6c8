"""What the tests of reading a conversation share."""

import pytest

from ...support.factories import make_agent, make_message, make_run, make_session, make_task
from .transcript import MARKDOWN


@pytest.fixture
def new_context(new_context):
    """Screens too narrow for the list beside a conversation, which might load after the test."""
    viewport = {"width": 1200, "height": 900}
    return lambda cookie=None, **options: new_context(cookie, **{"viewport": viewport, **options})


@pytest.fixture
def conversation():
    session = make_session(make_agent("Shop"), external_id="ticket-7")
    run = make_run(session)
    make_message(session, "user", "Where is *my* order?", run_id=run.id)
    session.answer = make_message(session, "assistant", MARKDOWN, run_id=run.id)
    session.task = make_task(run, session, "look-up", seq=0)
    session.run = run
    return session


@pytest.fixture
def long_conversation():
    session = make_session()
    session.messages = [make_message(session, content=f"Message {n}.") for n in range(200)]
    return session


@pytest.fixture
def filtered():
    """Three conversations that match the search and, between them, two that do not."""
    made = {}
    for name in ("one", "other", "two", "another", "three"):
        made[name] = make_session(external_id=name)
        make_message(made[name], content="refund" if name in ("one", "two", "three") else "hello")
    return made
