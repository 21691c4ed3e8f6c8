"""The Content-Security-Policy: what a page may load and do."""

DIRECTIVES = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    # app.js makes HTML for htmx under this policy; nothing else may.
    "require-trusted-types-for": "'script'",
    "trusted-types": "htmx",
    # Each browser supports one or the other.
    "report-to": "csp",
    "report-uri": "/csp-report/",
}


def content_policy(*, without: tuple[str, ...] = ()) -> str:
    """`without` these directives."""
    return "; ".join(f"{name} {value}" for name, value in DIRECTIVES.items() if name not in without)
