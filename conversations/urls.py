from django.urls import path

from .access import reveal
from .changes import views as change_views
from .detail import downloads, outline_views, payload_views, print_views, run_views, views
from .errors import views as error_views
from .exports import views as export_views
from .listing import views as list_views

app_name = "conversations"
urlpatterns = [
    path("", list_views.ConversationListView.as_view(), name="list"),
    path("counts/", list_views.CountsView.as_view(), name="counts"),
    path("new/", list_views.NewArrivalsView.as_view(), name="new"),
    path("rows/", list_views.RowsView.as_view(), name="rows"),
    path("errors/", error_views.ErrorsView.as_view(), name="errors"),
    path("erase/", change_views.EraseAllView.as_view(), name="erase_all"),
    path("export/<str:name>.<str:form>", export_views.ExportView.as_view(), name="export"),
    path("<uuid:session_id>/", views.ConversationView.as_view(), name="detail"),
    path("<uuid:session_id>/print/", print_views.PrintView.as_view(), name="print"),
    path("<uuid:session_id>/reveal/", reveal.RevealView.as_view(), name="reveal"),
    path(
        "<uuid:session_id>/transcript.<str:form>",
        downloads.TranscriptView.as_view(),
        name="transcript",
    ),
    path(
        "<uuid:session_id>/conversation.json",
        downloads.ConversationJsonView.as_view(),
        name="json",
    ),
    path(
        "<uuid:session_id>/messages/<uuid:message_id>/",
        views.MessageView.as_view(),
        name="message",
    ),
    path(
        "<uuid:session_id>/messages/<uuid:message_id>/redact/",
        change_views.RedactView.as_view(),
        name="redact",
    ),
    path("<uuid:session_id>/erase/", change_views.EraseView.as_view(), name="erase"),
    path("<uuid:session_id>/runs/", outline_views.OutlineView.as_view(), name="runs"),
    path("<uuid:session_id>/runs/<uuid:run_id>/", run_views.RunView.as_view(), name="run"),
    path("<uuid:session_id>/tasks/<uuid:task_id>/", payload_views.TaskView.as_view(), name="task"),
    path(
        "<uuid:session_id>/<str:kind>/<uuid:row_id>/<str:field>/",
        payload_views.PayloadView.as_view(),
        name="payload",
    ),
    path(
        "<uuid:session_id>/<str:kind>/<uuid:row_id>/<str:field>/raw/",
        payload_views.PayloadFileView.as_view(),
        name="payload_file",
    ),
]
