from django.urls import path

from . import views

app_name = "help"
urlpatterns = [
    path("", views.HelpView.as_view(), name="index"),
    path("<slug:document>/", views.DocumentView.as_view(), name="document"),
    path("pictures/<str:picture>", views.PictureView.as_view(), name="picture"),
]
