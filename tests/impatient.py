"""For gunicorn's --config: what a deployment waits half a minute for, a test does not."""

wsgi_app = "backoffice.wsgi"
threads = 8
control_socket_disable = True


def post_worker_init(worker):
    from backoffice import replica
    from backoffice.replica import base

    base.ASK_AGAIN = 1
    replica.KEPT_SECONDS = replica.KEPT_WITHOUT_PRIMARY = 0.5
