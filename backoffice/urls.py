from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import include, path

from .csp_reports import csp_report


@login_not_required
def favicon(request):
    """For responses without a <head>, such as a raw payload."""
    return redirect(static("icon.svg"))


urlpatterns = [
    path("", include("overview.urls")),
    path("conversations/", include("conversations.urls")),
    path("model-calls/", include("conversations.model_call_urls")),
    path("accounts/", include("accounts.urls")),
    path("admin/", admin.site.urls),
    path("help/", include("help.urls")),
    path("favicon.ico", favicon, name="favicon"),
    path("csp-report/", csp_report, name="csp_report"),
]

handler400 = "backoffice.error_pages.bad_request"
handler403 = "backoffice.error_pages.permission_denied"
handler404 = "backoffice.error_pages.not_found"
handler500 = "backoffice.error_pages.server_error"
