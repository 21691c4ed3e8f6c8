"""Pages for everyone who is signed in. They explain how the site works, and show no data."""

from django.conf import settings
from django.http import Http404, HttpResponse, QueryDict
from django.views.generic import TemplateView, View

from conversations.problems import kinds, outcomes
from conversations.selection.filters import ConversationFilter

from . import documents


class HelpView(TemplateView):
    template_name = "help/help.html"

    def get_context_data(self, **kwargs):
        return super().get_context_data(
            kinds=kinds.known(),
            outcomes=outcomes.known(),
            filters=ConversationFilter(QueryDict()).filters.values(),
            version=settings.VERSION,
            shelves=documents.shelves(),
            **kwargs,
        )


class DocumentView(TemplateView):
    template_name = "help/document.html"

    def get_context_data(self, **kwargs):
        document = documents.document(kwargs.pop("document"))
        if not document:
            raise Http404
        return super().get_context_data(document=document, **kwargs)


class PictureView(View):
    def get(self, request, picture):
        path = documents.pictures().get(picture)
        if not path:
            raise Http404
        return HttpResponse(path.read_bytes(), content_type="image/png")
