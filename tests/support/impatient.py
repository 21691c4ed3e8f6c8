"""For gunicorn's --config: shortens what a deployment would wait half a minute for."""

wsgi_app = "backoffice.wsgi"
threads = 8
control_socket_disable = True


def post_worker_init(worker):
    from backoffice.databases.replica import base, lag

    base.ASK_AGAIN = 1
    lag.KEPT_SECONDS = lag.KEPT_WITHOUT_PRIMARY = 0.5
