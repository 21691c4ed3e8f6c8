from django.urls import path

from .agents import views as agents
from .home import views
from .monitor import views as monitor
from .slow import views as slow
from .summaries.views import SummariesView

urlpatterns = [
    path("", views.HomeView.as_view(), name="home"),
    path("summaries.<str:form>", SummariesView.as_view(), name="summaries"),
    path("home/figures/", views.FiguresView.as_view(), name="home_figures"),
    path("home/charts/", views.ChartsView.as_view(), name="home_charts"),
    path("home/rising/", views.RisingView.as_view(), name="home_rising"),
    path("home/now/", views.NowView.as_view(), name="home_now"),
    path("agents/", agents.AgentsView.as_view(), name="agents"),
    path("agents/<uuid:agent_id>/", agents.AgentView.as_view(), name="agent"),
    path("agents/<uuid:agent_id>/figures/", agents.FiguresView.as_view(), name="agent_figures"),
    path("agents/<uuid:agent_id>/workflow/", agents.WorkflowView.as_view(), name="agent_workflow"),
    path("agents/<uuid:agent_id>/changes/", agents.ChangesView.as_view(), name="agent_changes"),
    path("agents/<uuid:agent_id>/charts/", agents.ChartsView.as_view(), name="agent_charts"),
    path("slow/", slow.SlowView.as_view(), name="slow"),
    path("slow/<str:table>.<str:ending>", slow.SlowFileView.as_view(), name="slow_file"),
    path("monitor/", monitor.MonitorView.as_view(), name="monitor"),
    path("monitor/state/", monitor.StateView.as_view(), name="monitor_state"),
]
