# docker build -t conversation-desk .    (docs/operating.md lists the settings it needs)
FROM python:3.13-slim AS build
WORKDIR /srv/desk
RUN python -m venv /opt/desk
COPY requirements.txt .
RUN /opt/desk/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY . .
# Without SECRET_KEY this runs as on one computer, so no secret gets into the image.
RUN DESK_DATA_DIR=/tmp/desk STATIC_ROOT=/srv/static /opt/desk/bin/python manage.py collectstatic --no-input

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin desk
WORKDIR /srv/desk
COPY --from=build /opt/desk /opt/desk
COPY --from=build /srv/static /srv/static
COPY --from=build /srv/desk /srv/desk
ENV PATH=/opt/desk/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STATIC_ROOT=/srv/static
USER 10001
EXPOSE 8000
# Not /readyz: restarting this container would not help a database that is down.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez')"]
CMD ["gunicorn", "--bind", "0.0.0.0:8000"]
