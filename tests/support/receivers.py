"""A mail server and a web server that keep what they receive."""

import json
import socketserver
import threading
from contextlib import contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class MailHandler(socketserver.StreamRequestHandler):
    """As much of SMTP as Django's mail needs."""

    def handle(self):
        self.say("220 ready")
        while line := self.rfile.readline().decode().strip():
            command = line.split()[0].upper()
            if command == "QUIT":
                self.say("221 bye")
                return
            if command == "MAIL" and self.server.refuses:
                self.say("451 not now, says kingfisher")
            elif command == "DATA":
                self.say("354 go on")
                lines = []
                while (text := self.rfile.readline()) != b".\r\n":
                    lines.append(text.removeprefix(b"."))
                self.server.received.append(
                    message_from_bytes(b"".join(lines), policy=policy.default)
                )
                self.say("250 taken")
            else:
                self.say("250 go on")

    def say(self, text: str):
        self.wfile.write(f"{text}\r\n".encode())


class WebHandler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, self.headers, json.loads(body)))
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *arguments):
        pass


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    refuses = False


@contextmanager
def listening(server):
    server.received = []
    server.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def mail_server():
    return listening(MailServer(("127.0.0.1", 0), MailHandler))


@contextmanager
def web_server():
    with listening(ThreadingHTTPServer(("127.0.0.1", 0), WebHandler)) as server:
        server.status = 200
        yield server
