"""Puts a text into every column that can hold one, so that tests can look for it afterwards."""

import json

from .factories import (
    NULL,
    Json,
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)


def plant_everywhere(text: str, document: dict):
    """A conversation with the text in every column, and with problems of every kind."""
    agent = make_agent(
        text,
        description=text,
        input_schema=Json(document),
        output_schema=Json(document),
        workflow=Json(document),
    )
    session = make_session(agent, external_id=text)
    make_session(agent, external_id=text)
    run = make_run(
        session, input_data=Json(document), output_data=Json(document), context=Json(document)
    )
    failed = make_run(session, output_data=NULL, input_data=Json([text]))
    for number, role in enumerate(("user", "assistant", text)):
        make_message(session, role, f"{text} {number}", run_id=run.id)
    make_message(session, "user", json.dumps(document))
    everything = {"inputs": Json(document), "output": Json(document), "errors": Json(document)}
    pieces = ("expr", "value", "taken", "args", "result", "query", "collection", "content")
    told_of = dict.fromkeys(pieces, text) | {"branches": [text, "b"]}
    kinds = ("llm", "switch", "parallel", "tool_call", "function", "rag_query", text)
    for owner in (run, failed):
        for number, kind in enumerate(kinds):
            values = everything if number % 2 else dict.fromkeys(everything, Json(told_of))
            make_task(
                owner,
                session,
                f"{text} {number}",
                kind,
                prompt=text,
                parent_task_name=text,
                tool_uri=f"python://{text}",
                seq=number,
                **values,
            )
        result = {"result": f"Error: {text}"}
        make_task(owner, session, text, "tool_call", seq=50, output=Json(result))
        large = {"truncated": True, "bytes": 5000, "preview": json.dumps(document)[:300]}
        make_task(owner, session, "large", "llm", seq=51, output=Json(large))
        make_task(owner, session, "listed", "llm", seq=52, errors=Json([text]))
        for code in (200, 500):
            make_model_call(
                session,
                owner,
                call_type=text,
                model=text,
                response_code=code,
                request_data=Json(json.dumps(document)),
                response_data=Json({"error": {"message": text}, **document}),
            )
    return session
