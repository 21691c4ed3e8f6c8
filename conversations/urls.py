from django.urls import path

from . import views

app_name = "conversations"
urlpatterns = [
    path("", views.ConversationListView.as_view(), name="list"),
    path("<uuid:session_id>/", views.ConversationView.as_view(), name="detail"),
    path("<uuid:session_id>/runs/<uuid:run_id>/", views.RunView.as_view(), name="run"),
    path("<uuid:session_id>/tasks/<uuid:task_id>/", views.TaskView.as_view(), name="task"),
    path(
        "<uuid:session_id>/<str:kind>/<uuid:row_id>/<str:field>/",
        views.PayloadView.as_view(),
        name="payload",
    ),
    path(
        "<uuid:session_id>/<str:kind>/<uuid:row_id>/<str:field>/raw/",
        views.PayloadFileView.as_view(),
        name="payload_file",
    ),
]
