"""
Simulates people who use the site. locust runs this file, and `manage.py bench --only load` starts
locust.

There is no Django here. Everything comes from the environment: BENCH_COOKIES (a JSON list with one
cookie per signed-in user), BENCH_ANSWERS (the file for the measurements) and the numbers of people.
"""

import itertools
import json
import os
import random
import re
import time
from html import unescape
from pathlib import Path

from locust import HttpUser, between, constant, events, task
from requests import RequestException

LIST = "/conversations/"
HTMX = {"HX-Request": "true", "HX-Target": "main#browse"}
FRAGMENT = {"HX-Request": "true"}
CONVERSATION = re.compile(r'<a class="row [^"]*" href="([^"]+)"')
RUN = re.compile(r'href="(/conversations/[0-9a-f-]+/runs/[0-9a-f-]+/)')
OLDER = re.compile(r'rel="next" href="([^"]+)"')
NEW = re.compile(r'data-watch="([^"]+)"')
AGENT = re.compile(r'<option value="([0-9a-f-]{36})"')
PROBLEMS = ("any", "failed", "interrupted", "tool_error", "model_error", "task_error")

cookies = itertools.cycle(json.loads(os.environ["BENCH_COOKIES"]))
answers = []


def people(role: str) -> int:
    return int(os.environ.get(f"BENCH_{role}", "0"))


@events.request.add_listener
def remember(request_type, name, response_time, exception, start_time, **others):
    answers.append((name, start_time, response_time, str(exception) if exception else ""))


@events.quitting.add_listener
def write(environment, **others):
    Path(os.environ["BENCH_ANSWERS"]).write_text(json.dumps(answers))


class Person(HttpUser):
    abstract = True

    def on_start(self):
        self.client.headers["Cookie"] = next(cookies)
        # A proxy closes idle connections soon, too.
        self.client.headers["Connection"] = "close"

    def ask(self, name: str, path: str, headers=None) -> str:
        return self.client.get(path, name=name, headers=headers).text

    def fragment(self, name: str, path: str, headers=FRAGMENT) -> str:
        return self.ask(f"{name} (fragment)", path, headers)


class Reader(Person):
    """Looks for conversations and reads them, with a few seconds between two clicks."""

    fixed_count = people("READERS")
    wait_time = between(2, 6) if fixed_count > 1 else constant(0.1)
    body = ""
    agents = ()

    def open_list(self, name: str, query: str = ""):
        path = f"{LIST}?{query}" if query else LIST
        self.body = self.ask(name, path)
        self.agents = AGENT.findall(self.body) or self.agents
        # The browser requests this once it shows the list.
        self.fragment("counts", f"{LIST}counts/?{query}")

    def open_one(self) -> str:
        """Open one of the conversations on the page seen last."""
        if not CONVERSATION.search(self.body):
            self.open_list("list")
        path = random.choice(CONVERSATION.findall(self.body))  # noqa: S311
        return self.ask("conversation", unescape(path).partition("#")[0])

    @task(4)
    def newest(self):
        self.open_list("list")

    @task(3)
    def older(self):
        link = OLDER.search(self.body)
        if link:
            query = unescape(link[1]).removeprefix("?")
            self.body = self.fragment("older", f"{LIST}?{query}", HTMX)
        else:
            self.open_list("list")

    @task(3)
    def problems(self):
        self.open_list("list: problem", f"problem={random.choice(PROBLEMS)}")  # noqa: S311

    @task(2)
    def one_agent(self):
        if not self.agents:
            self.open_list("list")
        self.open_list("list: agent", f"agent={random.choice(self.agents)}")  # noqa: S311

    @task(2)
    def words(self):
        self.open_list("list: search", f"search={os.environ['BENCH_COMMON']}&go=0")

    @task(8)
    def conversation(self):
        self.open_one()

    @task(3)
    def one_run(self):
        path = RUN.search(self.open_one())
        if path:
            self.ask("run", path[1])

    @task(1)
    def errors(self):
        self.ask("errors", f"{LIST}errors/")

    @task(2)
    def new(self):
        link = NEW.search(self.body)
        if link:
            self.fragment("new", unescape(link[1]))


class Searcher(Person):
    """Runs one search after another, for words that no index finds."""

    fixed_count = people("SEARCHERS")
    wait_time = constant(0.5)

    @task
    def two_letters(self):
        self.fragment("search storm", f"{LIST}?search={os.environ['BENCH_RARE']}&go=0", HTMX)

    @task
    def a_word(self):
        number = random.randrange(10**6)  # noqa: S311
        self.fragment("search storm", f"{LIST}?search=SN-{number}&scope=all&go=0", HTMX)


class Exporter(Person):
    """Downloads everything, again and again."""

    fixed_count = people("EXPORTERS")
    wait_time = constant(1)

    @task
    def everything(self):
        path = f"{LIST}export/conversations.csv"
        began = time.perf_counter()
        with self.client.get(path, name="export", stream=True, catch_response=True) as response:
            try:
                for _ in response.iter_content(65_536):
                    pass
            except RequestException as error:
                response.failure(error)
            # The time to the last byte, not to the first.
            response.request_meta["response_time"] = (time.perf_counter() - began) * 1000
