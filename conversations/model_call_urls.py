from django.urls import path

from .exports.model_calls import ModelCallExportView
from .model_calls import views

urlpatterns = [
    path("", views.ModelCallsView.as_view(), name="model_calls"),
    path("totals/", views.TotalsView.as_view(), name="model_calls_totals"),
    path("export/model-calls.<str:form>", ModelCallExportView.as_view(), name="model_calls_export"),
]
