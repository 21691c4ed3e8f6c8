"""An OpenID Connect provider on loopback. It is honest unless a test makes it lie."""

import base64
import hashlib
import json
import secrets
import threading
import time
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT, SECRET = "desk", "the provider's secret"
START = "/accounts/login/provider/"


@cache
def make_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})


class Provider:
    def __init__(self, issuer):
        self.issuer = issuer
        self.key = make_key()
        self.codes = {}
        # The user who is signed in there.
        self.claims = {"sub": "1", "email": "ann@example.com", "email_verified": True}
        # False claims to put into its tokens.
        self.lies = {}
        self.signs_with = self.key
        self.sends_id_token = True
        # UserInfo's answer, or None if the provider has no UserInfo; and how often it was
        # requested.
        self.user_info = None
        self.asked = 0

    def metadata(self):
        more = {"userinfo_endpoint": f"{self.issuer}/me"} if self.user_info is not None else {}
        return more | {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def authorize(self, query) -> str:
        assert query["client_id"] == CLIENT
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        assert len(query["state"]) > 15
        assert len(query["nonce"]) > 15
        code = secrets.token_urlsafe()
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form, authorization) -> dict | None:
        asked = self.codes.pop(form.get("code"), None)
        expected = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if not asked or authorization != f"Basic {expected}":
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return None
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300}
        claims |= {"nonce": asked["nonce"], **self.claims, **self.lies}
        claims = {name: value for name, value in claims.items() if value is not None}
        token = {"access_token": secrets.token_urlsafe(), "token_type": "Bearer"}
        if self.sends_id_token:
            header = {"alg": "RS256", "kid": "one"}
            token["id_token"] = jwt.encode(header, claims, self.signs_with)
        return token


@contextmanager
def running():
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def answer(self, status, content=None, **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def do_GET(self):
            parts = urlsplit(self.path)
            if parts.path == "/.well-known/openid-configuration":
                self.answer(200, provider.metadata())
            elif parts.path == "/keys":
                self.answer(200, KeySet([provider.key]).as_dict(private=False))
            elif parts.path == "/authorize":
                query = {name: value for name, [value] in parse_qs(parts.query).items()}
                self.answer(302, Location=provider.authorize(query))
            elif parts.path == "/me" and (self.headers["Authorization"] or "").startswith(
                "Bearer "
            ):
                provider.asked += 1
                self.answer(200, provider.user_info)
            else:
                self.answer(404)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: value for name, [value] in parse_qs(body).items()}
            token = provider.token(form, self.headers.get("Authorization"))
            self.answer(*((200, token) if token else (400, {"error": "invalid_grant"})))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = Provider(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()


def go_there(client, next=""):
    """Go to the provider, which redirects back at once; return the address it redirects to."""
    location = client.get(START, {"next": next})["Location"]
    return requests.get(location, allow_redirects=False, timeout=10).headers["Location"]


def sign_in_there(client, next=""):
    return client.get(go_there(client, next).removeprefix("http://testserver"))
