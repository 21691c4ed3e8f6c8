"""The page Help and the documents, and that they show no other file on the disk."""

import re
from html import unescape
from urllib.parse import urljoin

import pytest
from django.conf import settings
from django.db import connections
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from conversations.problems import kinds
from conversations.selection.filters import ConversationFilter
from help import documents

from ..support.pages import LIST

pytestmark = pytest.mark.django_db
HELP = "/help/"
DOCUMENTS = [name for names in documents.SHELVES.values() for name in names]
ID = re.compile(r' id="([^"]+)"')
LINK = re.compile(r'<a [^>]*href="([^"]+)"')


@pytest.fixture(autouse=True)
def _fresh_documents():
    """Forget the documents before and after each test, because a process reads them once."""
    forget()
    yield
    forget()


def forget():
    documents.document.cache_clear()
    documents.shelves.cache_clear()
    documents.pictures.cache_clear()


def words(html: str) -> str:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    return unescape(text)


def main_of(client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, path
    return response.content.decode().partition("<main")[2].partition("</main>")[0]


def menu_of(page: str) -> list[str]:
    return LINK.findall(page.partition('<nav aria-label="Main">')[2].partition("</nav>")[0])


# The page Help


def test_every_page_links_to_help_for_signed_in_users_only(support_client, client):
    link = 'href="/help/"'
    for path in (LIST, "/accounts/", HELP, "/help/export/"):
        assert support_client.get(path).content.decode().count(link) >= 1, path
    support_client.logout()
    assert link not in client.get("/accounts/login/").content.decode()


def test_each_page_of_the_menu_is_explained_to_those_who_may_open_it(
    support_client, outsider_client
):
    page = support_client.get(HELP).content.decode()
    menu = menu_of(page)
    explained = page.partition('<h2 id="pages">')[2].partition("</section>")[0]
    assert LINK.findall(explained) == menu
    assert explained.count(".</dd>") == len(menu)
    for link in menu:
        assert support_client.get(link).status_code == 200, link
    assert "pages" not in ID.findall(main_of(outsider_client, HELP))


@pytest.mark.parametrize("number", ["0002", "0006"])
def test_each_kind_of_problem_that_this_database_records_is_explained(
    outsider_client, at_revision, number
):
    if number == "0002":
        at_revision(number)
    shown = words(main_of(outsider_client, HELP))
    known = kinds.known()
    assert len(known) == {"0002": 3, "0006": 6}[number]
    for kind in kinds.KINDS:
        assert kind.meaning.endswith("."), kind.name
        assert (f" {kind.label} {kind.meaning} " in shown) == (kind in known), kind.name


def test_each_filter_is_explained_by_its_own_help_text(viewer_client):
    shown = words(main_of(viewer_client, HELP))
    for name, each in ConversationFilter(QueryDict()).filters.items():
        assert each.extra.get("help_text", "").endswith("."), name
        assert f" {each.label} {each.extra['help_text']} " in shown, name


@pytest.mark.parametrize(("role", "exactly"), [("support", True), ("admin", False)])
def test_people_who_see_masked_data_read_how_to_find_external_ids(settings, request, role, exactly):
    settings.MASK_PERSONAL_DATA = True
    page = main_of(request.getfixturevalue(f"{role}_client"), HELP)
    assert ("with exactly this external id" in page) == exactly


def test_fields_of_the_list_have_no_dangling_descriptions(support_client):
    page = support_client.get(f"{LIST}?start_date=nonsense").content.decode()
    described = [name for names in re.findall(r'aria-describedby="([^"]*)"', page)
                 for name in names.split()]  # fmt: skip
    assert described == ["id_start_date_error", "total"]
    assert set(described) <= set(ID.findall(page))


def test_the_page_shows_the_projects_version(support_client):
    [version] = re.findall(
        r'^version = "(.+)"$', (settings.BASE_DIR / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert f"Conversation Desk {version}" in words(main_of(support_client, HELP))


def test_help_reads_no_conversations_and_costs_three_queries(support_client):
    support_client.get(HELP)
    for path in (HELP, "/help/operating/"):
        with (
            CaptureQueriesContext(connections["default"]) as own,
            CaptureQueriesContext(connections["agents"]) as agents,
        ):
            support_client.get(path)
        assert len(agents) == 0, path
        assert [each["sql"] for each in own if "conversations" in each["sql"]] == []
        assert len(own) <= 3, [each["sql"] for each in own]


# Documents


def test_every_document_is_on_one_shelf_and_opens_from_the_page_help(support_client):
    files = {path.stem for path in (settings.BASE_DIR / "docs").glob("*.md")}
    assert sorted(DOCUMENTS) == sorted({*files, "changelog"})
    page = main_of(support_client, HELP)
    for name in DOCUMENTS:
        assert f'href="/help/{name}/"' in page
        title = (settings.BASE_DIR / documents.PATHS[name]).read_text().splitlines()[0][2:]
        shown = main_of(support_client, f"/help/{name}/")
        assert re.findall(r"<h1>(.*?)</h1>", shown) == [title]


def test_every_link_and_anchor_of_every_document_leads_somewhere(support_client):
    pages = {f"/help/{name}/": main_of(support_client, f"/help/{name}/") for name in DOCUMENTS}
    pages[HELP] = main_of(support_client, HELP)
    pages["/accounts/"] = main_of(support_client, "/accounts/")
    menu = menu_of(support_client.get(HELP).content.decode())
    followed = set()
    for page, html in pages.items():
        for link in map(unescape, LINK.findall(html)):
            if page == "/accounts/" and not link.startswith(HELP):
                continue
            if link.startswith("https://") or (page == HELP and link in menu):
                continue
            path, _, anchor = urljoin(page, link).partition("#")
            assert path in pages, (page, link)
            assert not anchor or anchor in ID.findall(pages[path]), (page, link)
            followed.add((page, path, anchor))
    # Links inside a document, between documents, and to files outside docs/.
    assert ("/help/operating/", "/help/operating/", "from-time-to-time") in followed
    assert ("/help/scale/", "/help/operating/", "pgbouncer") in followed
    assert ("/help/operating/", "/help/changelog/", "") in followed


def test_files_only_in_the_repository_are_named_without_a_link(support_client):
    page = main_of(support_client, "/help/operating/")
    assert "examples for nginx (<code>deploy/nginx.conf</code>)" in page
    assert "<p>deploy/ has a unit" in page
    assert "nginx.conf)</code>" not in page
    assert ".env.example lists them" in words(page)


@pytest.mark.parametrize(
    "path",
    [
        *("nothing/", "README/", "CONTRIBUTING/", "operating.md/", ".env/", "docs/operating/"),
        *("../pyproject.toml", "..%2f..%2fetc%2fpasswd/", "%2e%2e/%2e%2e/etc/passwd", "Export/"),
        *("pictures/", "pictures/operating.md", "pictures/..%2fREADME.md", "pictures/%00"),
        *("pictures/LIST.png", "pictures/../list.png", "pictures/x.png"),
    ],
)
def test_no_address_reaches_another_file(support_client, monkeypatch, path):
    page = support_client.get(HELP + path)
    assert page.status_code == 404


def test_names_in_addresses_are_not_looked_up_on_the_disk(monkeypatch):
    def look(path):
        raise AssertionError(path)

    monkeypatch.setattr(documents.Path, "is_file", look)
    for name in ("README", "docs/operating", "../.env", "/etc/passwd"):
        assert documents.document(name) is None


def test_pictures_of_documents_are_shown(support_client):
    shown = documents.read("export", "# Title\n\n![The list](list.png) ![Gone](../list.png)\n")
    assert (
        shown.rendered.html == '<p><img src="/help/pictures/list.png" alt="The list" /> Gone</p>\n'
    )
    picture = support_client.get("/help/pictures/list.png")
    assert picture["Content-Type"] == "image/png"
    assert picture.content == (settings.BASE_DIR / "docs/list.png").read_bytes()


def test_headings_have_the_same_anchors_as_on_github():
    shown = documents.read(
        "export", "# Title\n\n## What `a_b` is?\n\n### Again\n\n## Again\n\n[up](#again-1)\n"
    )
    assert shown.rendered.sections == [("what-a_b-is", "What a_b is?"), ("again-1", "Again")]
    assert '<h3 id="again">' in shown.rendered.html


def test_a_document_has_no_raw_html_script_or_style():
    shown = documents.read(
        "export",
        "# <b>Title</b>\n\n<script>x</script> [x](javascript:x)\n\n| n |\n|--:|\n| 1 |\n",
    )
    assert not re.search(r"<(?!/?(p|div|table|thead|tbody|tr|th|td)\b)", shown.rendered.html)
    assert "style=" not in shown.rendered.html
    assert '<td class="number">1</td>' in shown.rendered.html
    assert "<b>" not in shown.rendered.html


def test_documents_are_read_once_per_process(support_client, monkeypatch):
    first = main_of(support_client, "/help/operating/")
    main_of(support_client, HELP)
    monkeypatch.setattr(documents, "read", None)
    monkeypatch.setattr(documents, "parser", None)
    assert main_of(support_client, "/help/operating/") == first
    main_of(support_client, HELP)


def test_help_works_if_the_documents_are_not_installed(support_client, monkeypatch, tmp_path):
    monkeypatch.setattr(documents.settings, "BASE_DIR", tmp_path)
    page = main_of(support_client, HELP)
    assert "Keyboard shortcuts" in page
    assert "/help/operating/" not in page
    assert support_client.get("/help/operating/").status_code == 404


def test_pages_are_compressed(support_client):
    for path in (HELP, "/help/operating/"):
        page = support_client.get(path, headers={"Accept-Encoding": "gzip"})
        assert page["Content-Encoding"] == "gzip"
        assert len(page.content) < 12_000, path


def test_no_anchor_collides_with_ids_used_by_styles_or_scripts():
    static = settings.BASE_DIR / "static"
    styles = re.sub(r"\{[^{}]*\}", "", (static / "app.css").read_text())
    known = set(re.findall(r"#([a-z-]+)", styles))
    for script in static.glob("*.js"):
        known |= set(re.findall(r'(?:"#|ById\(")([a-z-]+)', script.read_text()))
    assert {"browse", "filters", "freshness"} <= known
    page = (settings.BASE_DIR / "templates/help/help.html").read_text()
    anchors = set(ID.findall(page)) - {"browse"}
    for name in DOCUMENTS:
        anchors |= set(ID.findall(documents.document(name).rendered.html))
    assert not anchors & known
