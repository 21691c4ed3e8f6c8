import resource

from backoffice import wsgi


def leaf(number):
    return number


def calls_at(depth):
    if depth:
        return calls_at(depth - 1)
    for number in range(300):
        leaf(number)
    return []


def page_faults(environ, start_response):
    began = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for depth in range(250):
        calls_at(depth)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - began


def test_deep_calls_in_a_request_do_not_map_memory_repeatedly(monkeypatch):
    monkeypatch.setattr(wsgi, "django_application", page_faults)

    # Without our wrapper, one or two of these loops map memory for each of their 300 calls.
    assert page_faults({}, None) > 250
    assert wsgi.application({}, None) < 100
