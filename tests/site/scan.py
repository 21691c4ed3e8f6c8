"""
`make scan`: runs sqlmap on every parameter, and wapiti, against the site as a deployment serves it,
with demo conversations in a database of its own. Prints what they find, and then exits with 1.
"""

import json
import os
import subprocess
import sys
from collections import Counter

import django

from ..support import environment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backoffice.settings")
django.setup()

from django.conf import settings  # noqa: E402

from demo import write_demo  # noqa: E402

from ..support.deployment import HOST, Deployment, deployment  # noqa: E402

FOLDER = settings.LOCAL_DATA_DIR
TOKEN = "a" * 32
ONE_OF_EACH = """
    SELECT r.session_id, r.id, t.id, m.id, s.agent_id, c.id, s.external_id
    FROM tasks t JOIN runs r ON r.id = t.run_id JOIN sessions s ON s.id = r.session_id
    JOIN chat_messages m ON m.session_id = s.id JOIN model_call_stats c ON c.run_id = r.id
    WHERE s.external_id IS NOT NULL LIMIT 1
"""
# Queries of the list. Each leads to a page that an injection would change.
FILTERS = (
    *("search=refund", "search=refund&scope=all", "external_id=a", "problem=any", "problem=failed"),
    *("start_date=2020-01-01", "end_date=2030-01-01", "evals=hidden", "error=x&problem=failed"),
    *("active_from=2020-01-01&tz=Europe/Kiev", "active_until=2030-01-01"),
    *("problem_from=2020-01-01&problem=any", "problem_until=2030-01-01"),
    *("node=a&step=failed", "tool=a&step_from=2020-01-01", "model=a&step_until=2030-01-01"),
    *("agent={agent}", "after=99999999999999.00000000000000000000000000000000"),
    "before=1.00000000000000000000000000000000",
)
PATHS = (
    *(f"/conversations/?{query}&go=0" for query in FILTERS),
    *(f"/conversations/counts/?{query}" for query in FILTERS[:4]),
    "/conversations/new/?since=1.00000000000000000000000000000000&external_id=a",
    "/conversations/errors/?agent={agent}&kind=failed",
    "/conversations/export/conversations.jsonl?search=refund&external_id=a",
    "/conversations/export/tasks.csv?payloads=1&agent={agent}",
    "/summaries.csv?by=week&period=last-7-days&agent={agent}&tz=UTC&separator=tab",
    "/conversations/{session}*/",
    "/conversations/{session}/?m={message}&run={run}&from=0&search=a&source=1",
    "/conversations/{session}*/runs/?from=0",
    "/conversations/{session}/runs/{run}*/?from=0",
    "/home/charts/?period=7d&tz=Asia/Kathmandu",
    "/slow/?period=7d&agent={agent}&nodes=p95&tools=-name&models=cost&tz=Asia/Kathmandu",
    "/slow/models.csv?agent={agent}&models=tokens",
    "/agents/?period=7d&sort=cost&page=1&tz=Asia/Kathmandu",
    "/agents/{agent}*/charts/?period=7d",
    "/agents/{agent}/workflow/?period=7d&tz=UTC",
    "/model-calls/?model=a&type=llm&status=429&slow=1&agent={agent}&run={run}",
    "/model-calls/totals/?conversation={session}&start_date=2020-01-01&tz=Europe/Kiev",
    "/monitor/?tz=UTC",
    "/conversations/{session}/tasks/{task}*/",
    "/conversations/{session}/messages/{message}*/?search=a",
    "/conversations/{session}/runs*/{run}/context*/raw/?download=1",
    "/conversations/{session}/transcript.txt*",
    "/conversations/erase/?external_id={external_id}",
    *(
        f"/admin/conversations/{table}/?q={{session}}&p=1&o=1&all=1&e=1"
        for table in ("agent", "session", "run", "task", "chatmessage", "modelcall")
    ),
    "/admin/conversations/session/{session}*/change/?_changelist_filters=a",
    "/admin/accounts/user/?q=a&is_active__exact=1&groups__id__exact=1",
    "/admin/audit/entry/?q=a&act__exact=viewed&at__gte=2026-01-01",
)
# (path, form) of each POST request.
FORMS = (
    ("/accounts/login/", "username=a&password=b&next=/"),
    ("/conversations/{session}/reveal/?m=1", "reason=because"),
    ("/conversations/{session}/messages/{message}/redact/", "words=zz&confirmation=a&preview="),
    ("/conversations/{session}/erase/", "confirmation=a"),
)
WAPITI_MODULES = (
    "backup,cookieflags,crlf,csp,csrf,exec,file,htaccess,http_headers,methods,permanentxss,redirect,"
    "sql,timesql,upload,xss"
)
# Findings of wapiti that are intended: {words of the finding: why}
MEANT = {}


def main() -> int:
    settings.LOCAL_POSTGRES.start()
    try:
        with deployment("scan", settings.LOCAL_POSTGRES) as site:
            write_demo(site.database)
            return scan(site)
    finally:
        settings.LOCAL_POSTGRES.stop()


def scan(site: Deployment) -> int:
    certificate, key, access = FOLDER / "scan.crt", FOLDER / "scan.key", FOLDER / "access.log"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={HOST}"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    access.unlink(missing_ok=True)
    site.settings |= {
        "SECRET_KEY": settings.SECRET_KEY,
        "ALLOWED_HOSTS": HOST,
        "GUNICORN_CMD_ARGS": f"--certfile {certificate} --keyfile {key} "
        f"--capture-output --error-logfile {FOLDER / 'server.log'} "
        f"--access-logfile {access} --access-logformat '%(s)s %(m)s %(U)s'",
    }
    site.prepare()
    more = f"; __Host-csrftoken={TOKEN}; timezone=UTC"
    cookies = {"Support": site.cookie + more, "Admin": site.sign_in("Admin") + more}
    names = ("session", "run", "task", "message", "agent", "call", "external_id")
    row = site.database.execute(ONE_OF_EACH).fetchone()
    values = dict(zip(names, map(str, row), strict=True))
    with site.serving() as server:
        address = f"https://{HOST}:{server.port}"
        findings = sqlmap(address, cookies["Admin"], values) + wapiti(address, cookies["Support"])
    statuses = Counter(line.split(" ", 1)[0] for line in access.read_text().splitlines())
    failures = {line for line in access.read_text().splitlines() if line.startswith("500 ")}
    findings += [f"failure: {line}" for line in sorted(failures)]
    print(f"{sum(statuses.values())} requests, answered with {dict(sorted(statuses.items()))}")
    print("\n".join(findings) if findings else "No findings.")
    return 1 if findings else 0


def run(tool: str, *arguments: str) -> str:
    """Run a tool and return what it printed, which is also kept in a file."""
    result = subprocess.run(
        [FOLDER / tool / "bin" / tool, *arguments], capture_output=True, text=True, cwd=FOLDER
    )
    with open(FOLDER / f"{tool}.log", "a") as log:
        log.write(result.stdout + result.stderr)
    return result.stdout


def sqlmap(address: str, cookie: str, values: dict[str, str]) -> list[str]:
    urls = [address + path.format(**values) for path in PATHS]
    common = ["--batch", "--flush-session", "--disable-coloring", "--dbms=PostgreSQL"]
    # sqlmap mistakes a cursor for an injection, and asks about it.
    common += ["--answers=really sure=Y"]
    common += ["--ignore-code=*", "--drop-set-cookie", "--threads=2", "--timeout=60", "--retries=1"]
    common += [
        f"--cookie={cookie}",
        f"--referer={address}/",
        f"--output-dir={FOLDER / 'sqlmap.out'}",
    ]
    calls = [[f"--url={url}"] for url in urls]
    # Test cookies and headers only once.
    calls.append([f"--url={urls[0]}", "--level=3", "--param-filter=COOKIE,HEADER"])
    for path, form in FORMS:
        url = address + path.format(**values)
        names = ",".join(pair.split("=")[0] for pair in form.split("&"))
        form = f"{form}&csrfmiddlewaretoken={TOKEN}"
        calls.append([f"--url={url}", f"--data={form}", "-p", names])
    found, tested = [], 0
    for number, call in enumerate(calls, 1):
        print(f"sqlmap {number}/{len(calls)} {' '.join(call)}", flush=True)
        said = run("sqlmap", *call, *common)
        tested += said.count("does not seem to be injectable") + said.count("is vulnerable")
        if "is vulnerable" in said or "identified the following injection point" in said:
            found.append(f"sqlmap: {' '.join(call)}")
        elif "all tested parameters do not appear to be injectable" not in said:
            found.append(f"sqlmap did not get to its end: {' '.join(call)}\n{said[-500:]}")
    print(f"sqlmap: {tested} parameters")
    return found


def wapiti(address: str, cookie: str) -> list[str]:
    report = FOLDER / "wapiti.json"
    arguments = ["--url", f"{address}/conversations/", "--scope", "domain", "--flush-session"]
    arguments += ["--module", WAPITI_MODULES, "--header", f"Cookie: {cookie}"]
    arguments += ["--header", f"Referer: {address}/", "--exclude", f"{address}/accounts/logout/*"]
    arguments += ["--depth", "4", "--max-links-per-page", "30", "--max-files-per-dir", "40"]
    arguments += ["--max-scan-time", "900", "--max-attack-time", "120", "--tasks", "2"]
    arguments += ["--format", "json", "--output", str(report), "--no-bugreport"]
    arguments += ["--store-session", str(FOLDER / "wapiti.out")]
    print("wapiti", flush=True)
    report.unlink(missing_ok=True)
    run("wapiti", *arguments)
    if not report.exists():
        return ["wapiti did not get to its end"]
    told = json.loads(report.read_text())
    print(f"wapiti: {told['infos']['crawled_pages_nbr']} pages")
    found = []
    for kind, each in {**told["vulnerabilities"], **told["anomalies"]}.items():
        for one in each:
            line = f"wapiti: {kind}: {one['method']} {one['path']}: {one['info']}"
            reason = next((why for words, why in MEANT.items() if words in line), None)
            if reason:
                print(f"meant so ({reason}): {line}")
            else:
                found.append(line)
    return sorted(set(found))


if __name__ == "__main__":
    assert environment.BLANK
    sys.exit(main())
